/**
 * Bringing a whole image here: its manifest, all that it refers to, and all that those refer to.
 *
 * Children come before parents, so that what is recorded was complete at that moment, and a closure that was
 * interrupted goes on where it stopped: only what is missing is copied. Subjects and foreign layers are not part of
 * it, and a child of an index that nobody has was absent from the start (DESIGN.md, P3).
 */
import type { Digest } from '#domain/digest.ts';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { type ManifestReference, parseManifest } from '#domain/manifest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import type { ManifestRow, ManifestRows } from '#storage/metadata.ts';
import type { BlobUse } from './blob-use.ts';
import type { Fill } from './fill.ts';
import { inParallel } from './in-parallel.ts';
import type { ManifestFetch } from './manifest-fetch.ts';
import { orAborted } from './or-aborted.ts';
import type { Sources } from './upstream.ts';

export type ClosureDeps = {
  readonly blobs: Pick<BlobStore, 'stat'>;
  readonly use: BlobUse;
  readonly manifests: Pick<ManifestRows, 'find' | 'record' | 'isLinked'>;
  readonly manifestFetch: ManifestFetch;
  readonly fill: Fill;
  readonly sources: Sources;
};

export type ClosureConfig = {
  /** Blobs of one image that are filled at once. Default 4: fills a long link, and leaves the limit of all fills to others. */
  readonly fillsMax?: number;
};

/** `bytes` and `blobs` that were transferred for it; what was here counts nothing. */
export type Completed = { readonly bytes: number; readonly blobs: number };

type Walk = {
  readonly repository: RepositoryName;
  readonly context: RequestContext;
  readonly seen: Set<Digest>;
  bytes: number;
  blobs: number;
};

/** As deep as presence is counted; no client builds indexes of indexes of indexes deeper than that. */
const DEPTH_MAX = 8;

export class Closure {
  readonly #deps: ClosureDeps;
  readonly #config: Required<ClosureConfig>;

  constructor(deps: ClosureDeps, config: ClosureConfig = {}) {
    this.#deps = deps;
    this.#config = { fillsMax: 4, ...config };
  }

  /**
   * Resolves when all of it is durable here. Safe to repeat, and cheap when nothing is missing.
   * @throws RegistryError MANIFEST_UNKNOWN when nobody has the manifest; UnavailableError when a part of it could not
   * be had now; the reason of the context's signal.
   */
  async complete(repository: RepositoryName, digest: Digest, context: RequestContext): Promise<Completed> {
    const walk: Walk = { repository, context, seen: new Set(), bytes: 0, blobs: 0 };
    if (!(await this.#visit(digest, 0, walk))) {
      throw new RegistryError('MANIFEST_UNKNOWN', `nobody has manifest ${digest} of ${repository}`);
    }
    return { bytes: walk.bytes, blobs: walk.blobs };
  }

  /** False when nobody has this manifest. */
  async #visit(digest: Digest, depth: number, walk: Walk): Promise<boolean> {
    const { repository, context, seen } = walk;
    context.signal.throwIfAborted();
    if (seen.has(digest)) return true;
    seen.add(digest);
    const manifest = await this.#manifest(digest, walk);
    if (manifest === undefined) return false;
    const { references } = parseManifest(manifest.bytes, manifest.mediaType);
    for (const child of depth < DEPTH_MAX ? references : []) {
      if (child.kind === 'manifest') await this.#visit(child.digest, depth + 1, walk);
    }
    await inParallel(
      references.filter(({ kind }) => kind === 'blob'),
      (reference, signal) => this.#blob(reference, { ...context, signal }, walk),
      { limit: this.#config.fillsMax, signal: context.signal },
    );
    // Also when its bytes were here: they may have come with another repository.
    await this.#deps.manifests.record(repository, manifest);
    return true;
  }

  async #manifest(digest: Digest, { repository, context }: Walk): Promise<ManifestRow | undefined> {
    const { manifests, manifestFetch } = this.#deps;
    // Bytes that came with another repository say nothing of this one: an index that names them must not open them.
    const isOurs = await manifests.isLinked(repository, digest);
    const here = isOurs ? await manifests.find(digest) : undefined;
    return here ?? (await manifestFetch.fetch(repository, digest, context));
  }

  async #blob(reference: ManifestReference, context: RequestContext, walk: Walk): Promise<void> {
    const { digest, sizeBytes } = reference;
    const { repository, seen } = walk;
    if (seen.has(digest)) return;
    seen.add(digest);
    const { use, blobs, fill, sources } = this.#deps;
    if ((await use.keep(digest)) && (await blobs.stat(digest)) !== undefined) return;
    const filling = await fill.blob(
      { repository, digest, sizeBytes, sources: (asked) => sources.of(repository, digest, asked) },
      context,
    );
    if (filling === undefined) throw new UnavailableError(`nobody has blob ${digest} of ${repository}`);
    await orAborted(filling.done, context.signal);
    if (filling.source.kind === 'local') return;
    walk.bytes += filling.sizeBytes;
    walk.blobs += 1;
  }
}
