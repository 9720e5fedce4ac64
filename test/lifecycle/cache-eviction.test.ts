/**
 * What caches give up: collections over real stores, with blobs of 10 bytes whose last uses are hours apart, and a
 * reader whose upstream has all of them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Digest, digestOf } from '#domain/digest.ts';
import { parseRepositoryName, type RepositoryName } from '#domain/name.ts';
import type { KeptCache } from '#node/lifecycle/cache-eviction.ts';
import { Collection } from '#node/lifecycle/collection.ts';
import { silentLog } from '#runtime/log.ts';
import { systemRandom } from '#runtime/random.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import { type ContentRig, collect, contextOf, openContentRig } from '#test/content/content-rig.ts';
import { RegionWith } from '#test/content/region-with.ts';
import { image } from '#test/suites/manifest-samples.ts';

const HOUR_MS = 3_600_000;
const GRACE_MS = 24 * HOUR_MS;
const NEVER = new AbortController().signal;
const CACHED = parseRepositoryName('hub/library/app');
const PUSHED = parseRepositoryName('team/app');
const SIZE_BYTES = 10;

type Rig = AsyncDisposable & { readonly content: ContentRig; evictions: number; readonly collection: Run };
type Run = (options: { readonly keepBytes: number; readonly dryRun?: boolean }) => Promise<Collection>;

const bytesOf = (name: string) => new TextEncoder().encode(name.padEnd(SIZE_BYTES));
const digestNamed = (name: string) => digestOf(bytesOf(name));

async function openRig(): Promise<Rig> {
  const blobs = openMemoryBlobStore({ clock: { nowMs: () => 0 }, random: systemRandom });
  const content = await openContentRig({ blobs });
  const state = { content, evictions: 0 };
  const collection: Run = async ({ keepBytes, dryRun = false }) => {
    const cache: KeptCache = { name: 'docker-hub', prefix: 'hub', keepBytes };
    const { metadata, clock } = content;
    const work = new Collection(
      {
        ...{ rows: metadata.garbage, uses: metadata.blobUses, blobs, files: blobs, clock, log: silentLog },
        caches: {
          kept: () => [cache],
          onEvicted: () => {
            rig.evictions += 1;
          },
        },
      },
      { graceMs: GRACE_MS, useEveryMs: HOUR_MS, dryRun },
      NEVER,
    );
    await work.run();
    return work;
  };
  const rig: Rig = Object.assign(state, {
    collection,
    [Symbol.asyncDispose]: () => content[Symbol.asyncDispose](),
  });
  return rig;
}

/** An image of one layer in the cache (or elsewhere), last used so many hours ago. */
async function store(
  { content }: Rig,
  name: string,
  { hoursAgo, repository = CACHED, source = 'docker.io' }: StoredImage,
): Promise<Digest> {
  const { blobs, metadata, clock } = content;
  const upload = await blobs.startUpload(repository);
  await upload.append(once(bytesOf(name)), { signal: NEVER });
  const stat = await upload.commit(digestNamed(name));
  const storedMs = clock.nowMs() - hoursAgo * HOUR_MS;
  await metadata.blobs.record({ ...stat, source, storedMs }, repository);
  await metadata.manifests.record(repository, image({ layers: [{ digest: stat.digest, size: SIZE_BYTES }] }));
  return stat.digest;
}

type StoredImage = {
  readonly hoursAgo: number;
  readonly repository?: RepositoryName;
  readonly source?: string;
};

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** Which of them are here, row and file. */
async function here({ content }: Rig, ...names: readonly string[]): Promise<readonly string[]> {
  const kept: string[] = [];
  for (const name of names) {
    const row = await content.metadata.blobs.find(digestNamed(name));
    const file = await content.blobs.stat(digestNamed(name));
    assert.equal(row === undefined, file === undefined, `${name} is half here`);
    if (row !== undefined) kept.push(name);
  }
  return kept;
}

test('cache eviction: a cache within its limit gives up nothing', async () => {
  await using rig = await openRig();
  await store(rig, 'old', { hoursAgo: 1000 });
  await store(rig, 'older', { hoursAgo: 2000 });
  const report = (await rig.collection({ keepBytes: 2 * SIZE_BYTES })).report();
  assert.deepEqual(report.evicted, { count: 0, sizeBytes: 0 });
  assert.deepEqual([await here(rig, 'old', 'older'), rig.evictions], [['old', 'older'], 0]);
});

test('cache eviction: what was pushed, or is needed elsewhere, neither goes nor counts', async () => {
  await using rig = await openRig();
  await store(rig, 'pushed', { hoursAgo: 1000, source: 'push' });
  await store(rig, 'mounted', { hoursAgo: 1000 });
  await rig.content.metadata.blobs.link(PUSHED, digestNamed('mounted'));
  await store(rig, 'replica', { hoursAgo: 1000, repository: PUSHED, source: 'us-east' });
  await store(rig, 'cached', { hoursAgo: 30 });
  assert.deepEqual((await rig.collection({ keepBytes: SIZE_BYTES })).report().evicted.count, 0);
  assert.deepEqual((await rig.collection({ keepBytes: 0 })).report().evicted.count, 1);
  const kept = await here(rig, 'pushed', 'mounted', 'replica', 'cached');
  assert.deepEqual(kept, ['pushed', 'mounted', 'replica']);
});

test('cache eviction: what was used within the grace stays, above the limit too', async () => {
  await using rig = await openRig();
  await store(rig, 'today', { hoursAgo: 24.5 });
  await store(rig, 'lately', { hoursAgo: 26 });
  await rig.collection({ keepBytes: 0 });
  assert.deepEqual(await here(rig, 'today', 'lately'), ['today']);
});

test('cache eviction: the longest unused go first, and no more than are too many', async () => {
  await using rig = await openRig();
  const hours = { a: 50, b: 400, c: 30, d: 20_000, e: 300 };
  for (const [name, hoursAgo] of Object.entries(hours)) await store(rig, name, { hoursAgo });
  const report = (await rig.collection({ keepBytes: 3 * SIZE_BYTES + 1 })).report();
  assert.deepEqual(report.evicted, { count: 2, sizeBytes: 2 * SIZE_BYTES });
  assert.deepEqual([await here(rig, 'a', 'b', 'c', 'd', 'e'), rig.evictions], [['a', 'c', 'e'], 1]);
  assert.equal((await rig.collection({ keepBytes: 3 * SIZE_BYTES + 1 })).report().evicted.count, 0);
});

test('cache eviction: of one age as many go as are too many, over several pages', async () => {
  await using rig = await openRig();
  const names = Array.from({ length: 70 }, (_, at) => `blob ${at}`);
  for (const name of names) await store(rig, name, { hoursAgo: 100 });
  await rig.collection({ keepBytes: 5 * SIZE_BYTES });
  assert.equal((await here(rig, ...names)).length, 5);
});

test('cache eviction: a dry run tells what would go, and why, and removes nothing', async () => {
  await using rig = await openRig();
  await store(rig, 'old', { hoursAgo: 100 });
  await store(rig, 'new', { hoursAgo: 30 });
  const { evicted, blobs, largest } = (await rig.collection({ keepBytes: 10, dryRun: true })).report();
  assert.deepEqual([evicted, blobs.count], [{ count: 1, sizeBytes: SIZE_BYTES }, 0]);
  assert.deepEqual(
    largest.find(({ digest }) => digest === digestNamed('old')),
    {
      ...{ digest: digestNamed('old'), sizeBytes: SIZE_BYTES, fate: 'removed' },
      reason: 'ProxyCache/docker-hub holds more than it is to keep, and nobody used it for 100.0 hours',
    },
  );
  assert.equal(largest.find(({ digest }) => digest === digestNamed('new'))?.fate, 'kept');
  assert.deepEqual([await here(rig, 'old', 'new'), rig.evictions], [['old', 'new'], 0]);
});

test('cache eviction: a blob that was given up is filled again by the next pull, and used then', async () => {
  await using rig = await openRig();
  const digest = await store(rig, 'old', { hoursAgo: 100 });
  const upstream = new RegionWith('docker.io', [], [{ digest, bytes: bytesOf('old') }]);
  rig.content.upstreams = [upstream];
  await rig.collection({ keepBytes: 0 });
  assert.deepEqual(await here(rig, 'old'), []);
  const blob = await rig.content.reader.blob(CACHED, digest, contextOf());
  assert.deepEqual(await collect(await blob.open(undefined, NEVER)), Buffer.from(bytesOf('old')));
  while (rig.content.fill.isFilling(digest)) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(upstream.opened.get(digest), 1);
  assert.equal((await rig.collection({ keepBytes: 0 })).report().evicted.count, 0);
  assert.deepEqual(await here(rig, 'old'), ['old']);
});
