/** Whether size shows: a page of a large repository's tags, and a region with a million manifests. */
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { CLAIM_HEAD_BYTES } from '#domain/claim-layout.ts';
import { type Digest, digestOf, digestToBytes } from '#domain/digest.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { mintEpoch, parseRegionNumber } from '#domain/region.ts';
import { silentLog } from '#runtime/log.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openSqliteMetadata } from '#storage/metadata-sqlite.ts';
import { expectStatus } from '#test/processes/registry-calls.ts';
import type { Bench, OwnBench, Side } from './measure.ts';
import { OneRegion } from './one-region.ts';
import { wrk } from './wrk.ts';

const FEW_TAGS = 1000;
const MANY_TAGS = 100_000;
const MANIFESTS = 1_000_000;
/** SQLite walks the journal of a savepoint at each statement, so a commit costs the square of what is in it. */
const MANIFESTS_A_COMMIT = 25;
/** So many share a group and its fsync. */
const COMMITS_AT_ONCE = 16;
const RESIDENT_MB_MAX = 300;
const START_MS_MAX = 2000;
const PAGE_MS_MAX = 5;
const EMPTY = digestOf('');

export async function prepareTagListBenches(
  stack: AsyncDisposableStack,
): Promise<readonly (Bench | OwnBench)[]> {
  const data = await temporaryData(stack);
  await load(data, async (metadata) => {
    for (const [name, count] of Object.entries({ few: FEW_TAGS, many: MANY_TAGS })) {
      const manifest = manifestNumber(0);
      await commit(metadata, `bench/${name}`, [{ ...manifest, tag: 't-first' }]);
      await inGroups(count, async (from) => {
        const tags = Array.from({ length: MANIFESTS_A_COMMIT }, (_, n) => `t${pad(from + n)}`);
        await commit(
          metadata,
          `bench/${name}`,
          tags.map((tag) => ({ tag, digest: manifest.digest })),
        );
      });
    }
  });
  const region = stack.use(await OneRegion.start({ data }));
  // From the middle, where a list that was counted through would be slow.
  const pageMs = async (name: string, count: number) => {
    const url = `${region.url}/v2/bench/${name}/tags/list?n=${FEW_TAGS / 2}&last=t${pad(count / 2 - 1)}`;
    const { tags } = (await (await expectStatus(await fetch(url), 200)).json()) as {
      tags: readonly string[];
    };
    if (tags.length !== FEW_TAGS / 2) throw new Error(`${url} lists ${tags.length} tags`);
    return (await wrk(url, { connections: 1, seconds: 2, bytesEach: 5000 })).p50Ms;
  };
  return [
    {
      name: 'tag-list-page-growth',
      unit: 'ms',
      better: 'lower',
      peer: 'a repository of 1,000 tags',
      bar: 1 / 1.5,
      processes: () => [region.pid],
      round: async (side: Side) =>
        await (side === 'ours' ? pageMs('many', MANY_TAGS) : pageMs('few', FEW_TAGS)),
    },
    {
      name: 'tag-list-page',
      unit: 'ms',
      limit: PAGE_MS_MAX,
      processes: () => [region.pid],
      round: async () => await pageMs('many', MANY_TAGS),
    },
  ];
}

/** Loaded where metadata is written, because a million pushes would take an hour. */
export async function prepareMillionBenches(stack: AsyncDisposableStack): Promise<readonly OwnBench[]> {
  const data = await temporaryData(stack);
  await load(data, async (metadata) => {
    await inGroups(MANIFESTS, async (from) => {
      const manifests = Array.from({ length: MANIFESTS_A_COMMIT }, (_, n) => manifestNumber(from + n));
      await commit(
        metadata,
        `bench/app-${Math.floor(from / 10_000)}`,
        manifests.map((manifest, n) => ({ ...manifest, tag: `t${pad(from + n)}` })),
      );
      if (from % 20_000 === 0)
        process.stderr.write(`million-manifests: ${from} of ${MANIFESTS} are loaded\n`);
    });
  });
  const started = async (use: (region: OneRegion) => Promise<void>) => {
    const startMs = performance.now();
    await using region = await OneRegion.start({ data });
    const tookMs = performance.now() - startMs;
    await use(region);
    return { tookMs, residentMb: region.residentMb };
  };
  return [
    {
      name: 'million-manifests-start',
      unit: 'ms',
      limit: START_MS_MAX,
      round: async () => (await started(async () => undefined)).tookMs,
    },
    {
      name: 'million-manifests-resident',
      unit: 'MB',
      limit: RESIDENT_MB_MAX,
      round: async () => (await started(pullSome)).residentMb,
    },
  ];
}

/** From all over the index, so that what a region keeps in memory of it is there. */
async function pullSome(region: OneRegion): Promise<void> {
  for (let n = 0; n < MANIFESTS; n += 500) {
    const url = `${region.url}/v2/bench/app-${Math.floor(n / 10_000)}/manifests/t${pad(n)}`;
    const answer = await expectStatus(await fetch(url), 200);
    if (digestOf(new Uint8Array(await answer.arrayBuffer())) !== manifestNumber(n).digest)
      throw new Error(`${url} answered another manifest`);
  }
}

async function temporaryData(stack: AsyncDisposableStack): Promise<string> {
  const data = await mkdtemp(join(tmpdir(), 'fairway-scale-'));
  stack.defer(async () => await rm(data, { recursive: true, force: true, maxRetries: 5 }));
  return data;
}

/** The metadata of the first region that `up` will find in this folder. */
async function load(data: string, fill: (metadata: Metadata) => Promise<void>): Promise<void> {
  const folder = join(data, 'eu-west');
  mkdirSync(folder, { recursive: true });
  const origin = { region: parseRegionNumber(1), epochForNewDatabase: mintEpoch(1, 1) };
  await using metadata = await openSqliteMetadata(
    { path: join(folder, 'metadata.sqlite'), ...origin },
    { log: silentLog },
  );
  await fill(metadata);
}

/** Calls with 0, `MANIFESTS_A_COMMIT` … below `count`, some at a time. */
async function inGroups(count: number, each: (from: number) => Promise<void>): Promise<void> {
  for (let group = 0; group < count; group += MANIFESTS_A_COMMIT * COMMITS_AT_ONCE) {
    const starts = Array.from({ length: COMMITS_AT_ONCE }, (_, n) => group + n * MANIFESTS_A_COMMIT);
    await Promise.all(starts.filter((from) => from < count).map(each));
  }
}

type Numbered = { readonly digest: Digest; readonly bytes: Uint8Array };

function manifestNumber(n: number): Numbered {
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', digest: EMPTY, size: 0 };
  const content = { schemaVersion: 2, mediaType: MEDIA_TYPE.ociManifest, config, layers: [] };
  const bytes = Buffer.from(JSON.stringify({ ...content, annotations: { number: String(n) } }));
  return { digest: digestOf(bytes), bytes };
}

/** As a push would: a claim and a view of each manifest and tag, with the manifest's bytes; or of a tag alone. */
async function commit(
  metadata: Metadata,
  name: string,
  tagged: readonly (Pick<Numbered, 'digest'> & Partial<Numbered> & { readonly tag: string })[],
): Promise<void> {
  const repository = parseRepositoryName(name);
  const keys = tagged.flatMap(({ digest, tag, bytes }) => [
    ...(bytes === undefined
      ? []
      : [{ kind: CLAIM_KIND.manifest, repository, name: digest as string, value: new Uint8Array() }]),
    { kind: CLAIM_KIND.tag, repository, name: tag, value: digestToBytes(digest) },
  ]);
  const stored = await metadata.claims.ofKeys(keys);
  const committed = await metadata.claims.commit({
    guards: stored.map(({ revision }, at) => ({ key: keys[at] ?? unreachable(), revision })),
    own: keys.map((key) => ({ key, bytes: new Uint8Array(CLAIM_HEAD_BYTES) })),
    foreign: [],
    views: keys.map(({ value, ...key }, own) => ({
      ...{ ...key, live: true, value, winner: { own }, principal: 'bench', conflict: false },
    })),
    cursors: [],
    observed: HYBRID_TIME_ZERO,
    manifests: tagged.flatMap(({ digest, bytes }) =>
      bytes === undefined
        ? []
        : [{ ...{ digest, bytes, repository, mediaType: MEDIA_TYPE.ociManifest }, absent: [EMPTY] }],
    ),
    nowMs: 1,
  });
  if (committed.outcome !== 'committed') throw new Error('the index refused what was loaded');
}

function unreachable(): never {
  throw new Error('a key was lost');
}

/** Tags that are ordered as their numbers are. */
function pad(n: number): string {
  return String(n).padStart(7, '0');
}
