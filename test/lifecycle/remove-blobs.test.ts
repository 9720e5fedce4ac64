/** One way of removal for two callers: what nothing refers to, and what a cache gives up although something does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { removeBlobs } from '#node/lifecycle/remove-blobs.ts';
import { silentLog } from '#runtime/log.ts';
import { systemRandom } from '#runtime/random.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openTemporaryMetadata } from '#test/storage/temporary.ts';
import { image } from '#test/suites/manifest-samples.ts';

const REPOSITORY = parseRepositoryName('cache/app');
const LAYER = new TextEncoder().encode('a layer');
const DIGEST = digestOf(LAYER);
const NEVER = new AbortController().signal;

type Removal = { readonly usedBeforeMs: number } & (
  | { readonly reason: 'unreferenced' }
  | { readonly reason: 'evicted'; readonly prefix: string }
);
type Cache = { readonly metadata: Metadata; readonly blobs: ReturnType<typeof openMemoryBlobStore> };

/** A cache with a manifest whose layer was last used at 1000. */
async function openCache(stack: AsyncDisposableStack): Promise<Cache> {
  const metadata = stack.use(await openTemporaryMetadata());
  const blobs = openMemoryBlobStore({ clock: { nowMs: () => 1000 }, random: systemRandom });
  const upload = await blobs.startUpload(REPOSITORY);
  await upload.append(once(LAYER), { signal: NEVER });
  const stat = await upload.commit(DIGEST);
  await metadata.blobs.record({ ...stat, source: 'hub', storedMs: 1000 }, REPOSITORY);
  await metadata.manifests.record(REPOSITORY, image({ layers: [{ digest: DIGEST, size: LAYER.length }] }));
  return { metadata, blobs };
}

async function remove(
  { metadata, blobs }: Cache,
  removal: Removal,
  files: Pick<Cache['blobs'], 'removeOlder'> = blobs,
) {
  const deps = { rows: metadata.garbage, uses: metadata.blobUses, files, log: silentLog };
  return await removeBlobs(deps, [DIGEST], { ...removal, signal: NEVER });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

test('blob removal: what a manifest refers to is garbage for nobody', async () => {
  await using stack = new AsyncDisposableStack();
  const cache = await openCache(stack);
  assert.equal((await remove(cache, { reason: 'unreferenced', usedBeforeMs: 2000 })).count, 0);
  assert.ok((await cache.blobs.stat(DIGEST)) !== undefined);
});

test('blob removal: what was used since is not evicted', async () => {
  await using stack = new AsyncDisposableStack();
  const cache = await openCache(stack);
  await cache.metadata.blobUses.touch(DIGEST, { nowMs: 3000, everyMs: 0 });
  assert.equal((await remove(cache, { reason: 'evicted', prefix: 'cache', usedBeforeMs: 2000 })).count, 0);
  assert.ok((await cache.blobs.stat(DIGEST)) !== undefined);
});

test('blob removal: an evicted blob is answered for by nobody before its bytes go, and its manifest stays', async () => {
  await using stack = new AsyncDisposableStack();
  const cache = await openCache(stack);
  const rowsAtRemoval: unknown[] = [];
  const removed = await remove(
    cache,
    { reason: 'evicted', prefix: 'cache', usedBeforeMs: 2000 },
    {
      async removeOlder(digest, limits) {
        rowsAtRemoval.push(await cache.metadata.blobs.find(digest));
        return await cache.blobs.removeOlder(digest, limits);
      },
    },
  );
  assert.deepEqual(removed, { count: 1, sizeBytes: LAYER.length });
  assert.deepEqual(rowsAtRemoval, [undefined]);
  assert.equal(await cache.blobs.stat(DIGEST), undefined);
  const manifest = image({ layers: [{ digest: DIGEST, size: LAYER.length }] });
  assert.ok((await cache.metadata.manifests.find(manifest.digest)) !== undefined);
});

test('blob removal: a blob that comes back while its bytes go stays', async () => {
  await using stack = new AsyncDisposableStack();
  const cache = await openCache(stack);
  await remove(
    cache,
    { reason: 'evicted', prefix: 'cache', usedBeforeMs: 2000 },
    {
      async removeOlder(digest, limits) {
        const row = { digest, sizeBytes: LAYER.length, source: 'hub', storedMs: 3000 };
        await cache.metadata.blobs.record(row, REPOSITORY);
        return await cache.blobs.removeOlder(digest, limits);
      },
    },
  );
  assert.ok((await cache.blobs.stat(DIGEST)) !== undefined);
});
