/**
 * A registry server over real sockets and real content: reader, writer and fill over a blob store in memory, a
 * metadata database, and the claims of a mesh of one region. For what the spec says of a push, a pull and a delete
 * together; how a single handler answers is tested over `memory-content.ts`.
 */
import { Agent, type Dispatcher, request } from 'undici';
import type { ClaimWriter } from '#content/claim-writer.ts';
import type { Upstream } from '#content/upstream.ts';
import type { ContentWriter } from '#content/writer.ts';
import { type Digest, type DigestAlgorithm, digestOf } from '#domain/digest.ts';
import type { RegistryServerConfig } from '#http/registry-server.ts';
import { systemClock } from '#runtime/clock.ts';
import { systemRandom } from '#runtime/random.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import type { ManifestRow, Metadata } from '#storage/metadata.ts';
import { openTemporaryMetadata } from '#test/storage/temporary.ts';
import { openContentServer } from './content-server.ts';
import type { CallOptions, Reply } from './registry-under-test.ts';

export type RegistryWithContent = AsyncDisposable & {
  readonly metadata: Metadata;
  readonly writer: ContentWriter;
  readonly claims: ClaimWriter;
  /** Whom a fill may ask, for everything. */
  upstreams: readonly Upstream[];
  call(method: Dispatcher.HttpMethod, path: string, options?: FixedBody): Promise<Reply>;
  /** A blob that is there, by the shortest way. */
  pushBlob(repository: string, content: string, algorithm?: DigestAlgorithm): Promise<Digest>;
  /** `reference` may have a query. */
  pushManifest(repository: string, reference: string, manifest: ManifestRow): Promise<Reply>;
  /** Status of a HEAD. */
  probe(path: string): Promise<number>;
};

type FixedBody = Pick<CallOptions, 'headers'> & { readonly body?: string | Uint8Array };

export async function openRegistryWithContent(
  config: Partial<RegistryServerConfig> = {},
): Promise<RegistryWithContent> {
  await using stack = new AsyncDisposableStack();
  const outside = { upstreams: [] as readonly Upstream[] };
  const metadata = stack.use(await openTemporaryMetadata());
  const { port, writer, claims } = stack.use(
    await openContentServer(
      {
        metadata,
        blobs: openMemoryBlobStore({ clock: systemClock, random: systemRandom }),
        sources: { of: async () => outside.upstreams },
        verdict: 'trusted',
      },
      { port: 0, ...config },
    ),
  );
  const agent = stack.adopt(new Agent({ connections: 4 }), (opened) => opened.destroy());
  const call = caller(port, agent);
  const owned = stack.move();
  return Object.assign(outside, {
    ...{ metadata, writer, claims, call },
    pushBlob: async (repository: string, content: string, algorithm: DigestAlgorithm = 'sha256') => {
      const digest = digestOf(content, algorithm);
      const path = `/v2/${repository}/blobs/uploads/?digest=${digest}`;
      const reply = await call('POST', path, { body: content });
      if (reply.status !== 201) throw new Error(`${reply.status} ${reply.bytes}`);
      return digest;
    },
    pushManifest: (repository: string, reference: string, { mediaType, bytes }: ManifestRow) =>
      call('PUT', `/v2/${repository}/manifests/${reference}`, {
        headers: { 'content-type': mediaType },
        body: bytes,
      }),
    probe: async (path: string) => (await call('HEAD', path)).status,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  });
}

function caller(port: number, agent: Agent): RegistryWithContent['call'] {
  return async (method, path, { headers = {}, body = null } = {}) => {
    const url = `http://127.0.0.1:${port}${path}`;
    const reply = await request(url, { method, dispatcher: agent, headers, body });
    const bytes = Buffer.from(await reply.body.arrayBuffer());
    return { status: reply.statusCode, headers: reply.headers, bytes };
  };
}
