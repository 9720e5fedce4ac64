/**
 * The index at its seam, without HTTP and network: the production core and driver over a real SQLite file, and a
 * transport that only listens. Rates over real sockets are lower; these say what the store and the core allow.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestToBytes } from '#domain/digest.ts';
import { MEDIA_TYPE, parseManifest } from '#domain/manifest.ts';
import { encodeManifestSummary, summarizeManifest } from '#domain/manifest-summary.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { mintEpoch, parseEpoch, type RegionNumber } from '#domain/region.ts';
import { encodeClaim } from '#mesh/claims/claim-codec.ts';
import { DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import { sizeOfStored } from '#mesh/claims/delta-check.ts';
import { ClaimsDriver } from '#mesh/claims/driver.ts';
import type { DeltaMessage, Message } from '#mesh/claims/message.ts';
import { systemClock } from '#runtime/clock.ts';
import { silentLog } from '#runtime/log.ts';
import { openMetrics } from '#runtime/metrics.ts';
import type { Metadata, StoredClaim } from '#storage/metadata.ts';
import { makeImage, type TestImage } from '#test/processes/registry-calls.ts';
import { openTemporaryMetadata } from '#test/storage/temporary.ts';
import type { OwnBench } from './measure.ts';

const [SELF, PEER] = [1 as RegionNumber, 2 as RegionNumber];
const PEER_EPOCH = parseEpoch('0192a3b4c5d6e7f9');
const WRITERS = 16;
const PUSHES = 5000;
const CLAIMS = 40_000;
const repository = parseRepositoryName('bench/seam');
const mediaType = MEDIA_TYPE.ociManifest;

export const seamBenches: readonly OwnBench[] = [
  {
    name: 'pushes-at-metadata',
    unit: 'pushes/s',
    limit: 2500,
    better: 'higher',
    round: pushesPerSecond,
  },
  {
    name: 'claims-apply',
    unit: 'claims/s',
    limit: 15_000,
    better: 'higher',
    round: async () => await appliedPerSecond({ riding: true }),
  },
  {
    name: 'claims-apply-bootstrap',
    unit: 'claims/s',
    limit: 25_000,
    better: 'higher',
    round: async () => await appliedPerSecond({ riding: false }),
  },
];

/** What a push leaves in the metadata: three blobs, each recorded, then the manifest with its references and a tag. */
async function pushesPerSecond(round: number): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const metadata = stack.use(await openTemporaryMetadata(SELF));
  const driver = stack.use(await openDriver(metadata, () => true));
  const images = Array.from({ length: PUSHES }, () => makeImage(10, 20));
  const signal = AbortSignal.timeout(300_000);
  const push = async (image: TestImage, tag: string) => {
    const { digest, manifest: bytes, blobs } = image;
    const record = ({ digest: blob, bytes: { length: sizeBytes } }: TestImage['blobs'][number]) =>
      metadata.blobs.record(
        { digest: blob, sizeBytes, source: 'push', storedMs: systemClock.nowMs() },
        repository,
      );
    await Promise.all(blobs.map(record));
    await driver.write(
      [
        {
          change: 'add-manifest',
          repository,
          manifest: { digest, mediaType, bytes, absent: [], isWhole: true },
        },
        { change: 'set-tag', repository, tag, digest },
      ],
      { principal: 'bench', signal },
    );
  };
  const startMs = performance.now();
  let next = 0;
  const writer = async () => {
    for (let own = next++; own < PUSHES; own = next++) {
      const image = images[own];
      if (image !== undefined) await push(image, `r${round}-${own}`);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
  const seconds = (performance.now() - startMs) / 1000;
  if (driver.status().head !== 2 * PUSHES) throw new Error(`the head is ${driver.status().head}`);
  return PUSHES / seconds;
}

/**
 * Claims of another region, from deltas of the size that a source sends, as many in flight as its credit allows, until
 * the last one is confirmed. Half are manifests, half the tags of them; `riding`: with the manifests' bytes, as when
 * they are pushed at that moment, so that their references are stored too.
 */
async function appliedPerSecond({ riding }: { readonly riding: boolean }): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const metadata = stack.use(await openTemporaryMetadata(SELF));
  const deltas = deltasOf(claimsOfPushes({ riding }));
  const sizes = deltas.map(({ claims }) => claims.reduce((sum, claim) => sum + sizeOfStored(claim), 0));
  const applied = Promise.withResolvers<void>();
  let [sent, inFlightBytes, confirmed] = [0, 0, 0];
  const pump = () => {
    for (let delta = deltas[sent]; delta !== undefined; delta = deltas[sent]) {
      if (inFlightBytes > 0 && inFlightBytes + (sizes[sent] ?? 0) > DEFAULT_CLAIMS_CONFIG.creditBytes) return;
      inFlightBytes += sizes[sent] ?? 0;
      sent += 1;
      driver.received(PEER, delta);
    }
  };
  const driver = stack.use(
    await openDriver(metadata, (message) => {
      if (message.type !== 'ack') return;
      for (const { have } of message.cursors) {
        for (; confirmed < sent && (deltas[confirmed]?.to ?? 0) <= have; confirmed += 1)
          inFlightBytes -= sizes[confirmed] ?? 0;
      }
      if (confirmed === deltas.length) applied.resolve();
      else setImmediate(pump);
    }),
  );
  driver.linkUp(PEER);
  const startMs = performance.now();
  pump();
  await applied.promise;
  const seconds = (performance.now() - startMs) / 1000;
  const [known] = driver.status().origins.filter(({ region }) => region === PEER);
  if (known?.safe !== CLAIMS) throw new Error(`the copy is exact up to ${known?.safe}, not ${CLAIMS}`);
  return CLAIMS / seconds;
}

async function openDriver(metadata: Metadata, said: (message: Message) => unknown): Promise<ClaimsDriver> {
  return await ClaimsDriver.open(
    {
      ...{ claims: metadata.claims, manifests: metadata.manifests, clock: systemClock, log: silentLog },
      transport: {
        send: (_to, message) => {
          said(message);
          return true;
        },
      },
      metrics: openMetrics(),
      mintEpoch: () => mintEpoch(systemClock.nowMs(), 0),
      nameOf: (region) => `region ${region}`,
    },
    { ...DEFAULT_CLAIMS_CONFIG, self: SELF, peers: [PEER], verdict: 'trusted' },
  );
}

function claimsOfPushes({ riding }: { readonly riding: boolean }): readonly StoredClaim[] {
  return Array.from({ length: CLAIMS / 2 }, (_, push): readonly StoredClaim[] => {
    const { digest, manifest } = makeImage(10, 20);
    const summary = encodeManifestSummary(
      summarizeManifest(manifest.length, parseManifest(manifest, mediaType)),
    );
    const announced = claimBytes(2 * push + 1, { kind: CLAIM_KIND.manifest, name: digest, value: summary });
    const tag = claimBytes(2 * push + 2, {
      kind: CLAIM_KIND.tag,
      name: `t${push}`,
      value: digestToBytes(digest),
    });
    return [riding ? { ...announced, manifest: { mediaType, bytes: manifest } } : announced, tag];
  }).flat();
}

type ClaimParts = { readonly kind: number; readonly name: Digest | string; readonly value: Uint8Array };

function claimBytes(sequence: number, { kind, name, value }: ClaimParts): StoredClaim {
  const bytes = encodeClaim({
    ...{ kind, name, value, repository, state: 'live', context: [], principal: 'bench' },
    dot: { region: PEER, epoch: PEER_EPOCH, sequence },
    time: { ms: 1_700_000_000_000, counter: 0 },
  });
  return { sequence, bytes };
}

/** As `mesh/claims/sending.ts` cuts them. */
function deltasOf(claims: readonly StoredClaim[]): readonly DeltaMessage[] {
  const { deltaBytesMax, deltaClaimsMax } = DEFAULT_CLAIMS_CONFIG;
  const deltas: DeltaMessage[] = [];
  let [from, bytes] = [0, 0];
  let taken: StoredClaim[] = [];
  const end = () => {
    const to = taken.at(-1)?.sequence ?? from;
    const bounds = { from, to, head: claims.length, exact: to === claims.length };
    deltas.push({ type: 'delta', region: PEER, epoch: PEER_EPOCH, ...bounds, claims: taken });
    [from, bytes, taken] = [to, 0, []];
  };
  for (const claim of claims) {
    if (taken.length === deltaClaimsMax || (taken.length > 0 && bytes + sizeOfStored(claim) > deltaBytesMax))
      end();
    taken.push(claim);
    bytes += sizeOfStored(claim);
  }
  end();
  return deltas;
}
