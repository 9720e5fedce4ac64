/** The laws of `BlobFiles` for both stores: uploads expire by their last bytes, files go by their commit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { systemClock } from '#runtime/clock.ts';
import { systemRandom } from '#runtime/random.ts';
import type { BlobFiles, BlobStore } from '#storage/blob-store.ts';
import { openFilesystemBlobStore } from '#storage/blob-store-filesystem.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import { temporaryFolder } from './temporary.ts';

const HOUR_MS = 3_600_000;
const BYTES = new TextEncoder().encode('some bytes');
const DIGEST = digestOf(BYTES);
const SIGNAL = new AbortController().signal;

type Store = BlobStore & BlobFiles;
const deps = { random: systemRandom, clock: systemClock };
const STORES: Readonly<Record<string, (root: string) => Promise<Store>>> = {
  filesystem: (root) => openFilesystemBlobStore({ root }, deps),
  memory: async () => openMemoryBlobStore(deps),
};

for (const [name, open] of Object.entries(STORES)) {
  test(`blob files (${name}): an upload that was touched since stays, an abandoned one expires`, async () => {
    await using folder = await temporaryFolder();
    const store = await open(folder.path);
    const upload = await store.startUpload('team/app');
    await upload.append(once(BYTES), { signal: SIGNAL });
    const expire = async (untouchedSinceMs: number, dryRun: boolean) =>
      await store.expireUploads({ untouchedSinceMs, signal: SIGNAL, dryRun });
    const [past, future] = [systemClock.nowMs() - HOUR_MS, systemClock.nowMs() + HOUR_MS];
    const one = { count: 1, sizeBytes: BYTES.length };
    assert.deepEqual(await expire(past, false), { count: 0, sizeBytes: 0 });
    assert.deepEqual(await expire(future, true), one);
    assert.ok((await store.findUpload('team/app', upload.id)) !== undefined, 'a dry run removes nothing');
    assert.deepEqual(await expire(future, false), one);
    assert.equal(await store.findUpload('team/app', upload.id), undefined);
  });

  test(`blob files (${name}): what was committed lately or is wanted stays`, async () => {
    await using folder = await temporaryFolder();
    const store = await open(folder.path);
    const upload = await store.startUpload('team/app');
    await upload.append(once(BYTES), { signal: SIGNAL });
    await upload.commit(DIGEST);
    const [past, future] = [systemClock.nowMs() - HOUR_MS, systemClock.nowMs() + HOUR_MS];
    const remove = async (committedBeforeMs: number, isWanted: boolean, dryRun = false) =>
      await store.removeOlder(DIGEST, { committedBeforeMs, isWanted: async () => isWanted, dryRun });
    assert.equal(await remove(past, false), undefined);
    assert.equal(await remove(future, true), undefined);
    assert.equal(await remove(future, false, true), BYTES.length);
    assert.ok((await store.stat(DIGEST)) !== undefined);
    assert.equal(await remove(future, false), BYTES.length);
    assert.equal(await store.stat(DIGEST), undefined);
    assert.equal(await remove(future, false), undefined);
  });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
