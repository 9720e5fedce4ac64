/**
 * A registry server over the content room and the claims of a mesh of one region, as production code; the stores are
 * the caller's. In the test's own process over stores in memory (`registry-with-content.ts`), and as a process that can
 * be killed over a folder (`test/processes/registry-child.ts`), which starts in a tenth of a whole region's time.
 */
import { BlobUse } from '#content/blob-use.ts';
import type { ClaimWriter } from '#content/claim-writer.ts';
import { Closure } from '#content/closure.ts';
import { Deliverability } from '#content/deliverability.ts';
import { Fill } from '#content/fill.ts';
import { ManifestFetch } from '#content/manifest-fetch.ts';
import { ContentReader } from '#content/reader.ts';
import type { Sources } from '#content/upstream.ts';
import { ContentWriter } from '#content/writer.ts';
import { mintEpoch, parseRegionName, parseRegionNumber } from '#domain/region.ts';
import { openRegistryServer, type RegistryServerConfig } from '#http/registry-server.ts';
import { DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import { ClaimsDriver } from '#mesh/claims/driver.ts';
import type { MarkVerdict } from '#mesh/claims/mark-verdict.ts';
import { memoryMesh } from '#mesh/transport/transport-memory.ts';
import { systemClock } from '#runtime/clock.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openGate } from './open-gate.ts';

export type ContentServerDeps = {
  readonly metadata: Metadata;
  readonly blobs: BlobStore;
  /** Whom a fill may ask. */
  readonly sources: Sources;
  readonly verdict: MarkVerdict;
  /** Stands before the claims of the mesh. Default: nothing does. */
  readonly claimWriterOver?: (claims: ClaimWriter) => ClaimWriter;
};

export type ContentServer = AsyncDisposable & {
  readonly port: number;
  readonly writer: ContentWriter;
  readonly claims: ClaimWriter;
};

const REGION = parseRegionName('eu-west');

/** Serves until it is disposed; the stores stay open. */
export async function openContentServer(
  { metadata, blobs, sources, verdict, claimWriterOver = (claims) => claims }: ContentServerDeps,
  config: Partial<RegistryServerConfig>,
): Promise<ContentServer> {
  await using stack = new AsyncDisposableStack();
  const runtime = { clock: systemClock, random: systemRandom, log: silentLog, metrics: new Registry() };
  const transport = stack.use(memoryMesh([1]).transport(1));
  const driver = stack.use(
    await ClaimsDriver.open(
      {
        ...runtime,
        claims: metadata.claims,
        manifests: metadata.manifests,
        transport,
        mintEpoch: () => mintEpoch(systemClock.nowMs(), 0),
        nameOf: () => REGION,
      },
      { ...DEFAULT_CLAIMS_CONFIG, verdict, self: parseRegionNumber(1), peers: [] },
    ),
  );
  const claims = claimWriterOver(driver);
  const { manifests, views, cachedTags } = metadata;
  const seams = {
    ...runtime,
    use: new BlobUse({ rows: metadata.blobUses, clock: systemClock }),
    ...{ blobs, rows: metadata.blobs, manifests, views, sources },
  };
  const fill = stack.use(new Fill(seams, { region: REGION }));
  const manifestFetch = new ManifestFetch(seams);
  const oracle = { resolve: async () => ({ outcome: 'absent' as const }) };
  const deliverability = new Deliverability(seams);
  const reader = new ContentReader(
    { ...seams, viewWrites: metadata.viewWrites, fill, manifestFetch, deliverability, oracle },
    { region: REGION },
  );
  const writer = new ContentWriter({
    ...{ ...seams, fill, closure: new Closure({ ...seams, manifestFetch, fill }) },
    ...{ claimWriter: claims, writeGuard: { refuseWrite: () => undefined } },
  });
  const server = stack.use(
    await openRegistryServer(
      {
        ...{ ...runtime, reader, writer, views, manifests, cachedTags },
        gate: openGate(),
        health: { ready: () => [] },
      },
      { region: REGION, host: '127.0.0.1', port: 0, limits: { drainMs: 50 }, ...config },
    ),
  );
  const owned = stack.move();
  return { port: server.port, writer, claims, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
