/** Another region that works and holds some content: a source for whole images. */
import type { Upstream, UpstreamBlob, UpstreamManifest, UpstreamRequest } from '#content/upstream.ts';
import type { Digest } from '#domain/digest.ts';
import type { Reference } from '#domain/name.ts';
import type { ManifestRow } from '#storage/metadata.ts';

export class RegionWith implements Upstream {
  readonly name: string;
  readonly kind = 'region';
  /** How often each blob was asked for and had. */
  readonly opened = new Map<Digest, number>();
  readonly #manifests: ReadonlyMap<Digest, ManifestRow>;
  readonly #blobs: ReadonlyMap<Digest, Uint8Array>;

  constructor(
    name: string,
    manifests: readonly ManifestRow[],
    blobs: readonly { readonly bytes: Uint8Array; readonly digest: Digest }[],
  ) {
    this.name = name;
    this.#manifests = new Map(manifests.map((manifest) => [manifest.digest, manifest]));
    this.#blobs = new Map(blobs.map(({ digest, bytes }) => [digest, bytes]));
  }

  async openBlob(request: {
    readonly digest: Digest;
    readonly offset: number;
  }): Promise<UpstreamBlob | undefined> {
    const bytes = this.#blobs.get(request.digest);
    if (bytes === undefined) return undefined;
    this.opened.set(request.digest, (this.opened.get(request.digest) ?? 0) + 1);
    return { sizeBytes: bytes.byteLength, body: piecesOf(bytes.subarray(request.offset)) };
  }

  async fetchManifest(
    request: UpstreamRequest & { readonly reference: Reference },
  ): Promise<UpstreamManifest | undefined> {
    return 'digest' in request.reference ? this.#manifests.get(request.reference.digest) : undefined;
  }
}

async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.byteLength; at += 16 * 1024) yield bytes.subarray(at, at + 16 * 1024);
}
