/** Content that our store refuses: it reaches whoever asked, verified, and nothing of it is kept. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Unstored, type UnstoredBlob } from '#content/unstored.ts';
import type { Upstream } from '#content/upstream.ts';
import type { Digest } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { silentLog } from '#runtime/log.ts';
import { systemRandom } from '#runtime/random.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import { diskError } from '#storage/disk-error.ts';
import { sqliteError } from '#storage/sqlite-error.ts';
import {
  blobOf,
  collect,
  contextOf,
  drained,
  openContentRig,
  REPOSITORY,
  RushingClock,
} from './content-rig.ts';
import { TestUpstream } from './test-upstream.ts';

const signal = new AbortController().signal;
const BLOB = blobOf(100_000);
const WRONG = blobOf(100_000, 2);
const PIECE_BYTES = 16 * 1024;
/** As in `unstored.ts`. */
const STREAMS_MAX = 64;
const REFUSED_MS = 10_000;

async function opened(sources: readonly Upstream[], digest: Digest = BLOB.digest): Promise<UnstoredBlob> {
  const unstored = new Unstored({ clock: new RushingClock(), log: silentLog });
  const blob = await unstored.open({ repository: REPOSITORY, digest, sources }, contextOf());
  return blob ?? assert.fail('nobody has it');
}

test('unstored: of wrong bytes the last piece is held back, and the stream ends with an error', async () => {
  const blob = await opened([new TestUpstream('us-east', { blobs: [{ bytes: WRONG.bytes }] })]);
  const { bytes, error } = await drained(blob.read(undefined, signal));
  assert.ok(error instanceof UnavailableError);
  assert.match(error.message, new RegExp(`${WRONG.digest}, not ${BLOB.digest}`));
  assert.equal(bytes.byteLength, Math.floor(WRONG.bytes.byteLength / PIECE_BYTES) * PIECE_BYTES);
});

test('unstored: a single piece of wrong bytes is not passed on', async () => {
  const small = blobOf(10);
  const source = new TestUpstream('us-east', { blobs: [{ bytes: blobOf(10, 2).bytes }] });
  const { bytes, error } = await drained((await opened([source], small.digest)).read(undefined, signal));
  assert.ok(error instanceof UnavailableError);
  assert.equal(bytes.byteLength, 0);
});

test('unstored: when a source dies in the middle, another one goes on at the same byte', async () => {
  const dying = new TestUpstream('us-east', { blobs: [{ bytes: BLOB.bytes, failAt: 40_000 }] });
  const other = new TestUpstream('ap-south', { blobs: [{ bytes: BLOB.bytes }] });
  const blob = await opened([dying, other]);
  assert.deepEqual(blob.source, { kind: 'region', name: 'us-east' });
  assert.deepEqual(await collect(blob.read(undefined, signal)), Buffer.from(BLOB.bytes));
  assert.deepEqual(other.opened, [40_000]);
});

test('unstored: when all sources die in the middle, the stream ends short and names each', async () => {
  const blobs = [{ bytes: BLOB.bytes, failAt: 40_000 }];
  const names = ['us-east', 'ap-south'];
  const blob = await opened(names.map((name) => new TestUpstream(name, { blobs })));
  const { bytes, error } = await drained(blob.read(undefined, signal));
  assert.ok(error instanceof UnavailableError);
  assert.ok(bytes.byteLength <= 40_000);
  assert.deepEqual(
    error.tried,
    names.map((name) => `${name}: connection lost`),
  );
});

test('unstored: a range comes alone, over two sources if need be', async () => {
  const dying = new TestUpstream('us-east', { blobs: [{ bytes: BLOB.bytes, failAt: 60_000 }] });
  const other = new TestUpstream('ap-south', { blobs: [{ bytes: BLOB.bytes }] });
  const blob = await opened([dying, other]);
  const range = { start: 50_000, end: 69_999 };
  assert.deepEqual(
    await collect(blob.read(range, signal)),
    Buffer.from(BLOB.bytes.subarray(range.start, range.end + 1)),
  );
  assert.deepEqual(other.opened, [60_000]);
});

test('unstored: one stream more than the limit is refused, and there is room when one is left', async () => {
  const source = new TestUpstream('us-east', { blobs: [{ bytes: BLOB.bytes }] });
  const blob = await opened([source]);
  const streams = Array.from({ length: STREAMS_MAX }, () =>
    blob.read(undefined, signal)[Symbol.asyncIterator](),
  );
  for (const stream of streams) await stream.next();
  const { error } = await drained(blob.read(undefined, signal));
  assert.ok(error instanceof UnavailableError);
  assert.match(error.message, /64 streams/);
  await streams[0]?.return?.();
  assert.equal((await collect(blob.read(undefined, signal))).byteLength, BLOB.bytes.byteLength);
});

const FULL_DATABASE = sqliteError('metadata', { message: 'database or disk is full', code: 13 });
const FULL_DISK = diskError(
  'blob store',
  Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC', syscall: 'write' }),
);

test('reader: when the database alone is full, blobs go past the store until there is room', async () => {
  let isFull = true;
  const stores = countingUploads(openMemoryBlobStore({ random: systemRandom }));
  await using rig = await openContentRig({
    blobs: stores.blobs,
    rowsOver: (rows) => ({
      ...rows,
      record: async (...args) => (isFull ? Promise.reject(FULL_DATABASE) : await rows.record(...args)),
    }),
  });
  const pull = async () => {
    const blob = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
    assert.deepEqual(await collect(await blob.open(undefined, signal)), Buffer.from(BLOB.bytes));
  };
  rig.upstreams = [new TestUpstream('us-east', { blobs: [{ bytes: BLOB.bytes }] })];
  await pull();
  await pull();
  await pull();
  assert.equal(stores.count, 1, 'the store is not tried again at once');
  assert.equal(await rig.reader.blobStat(REPOSITORY, BLOB.digest, contextOf()), undefined);

  isFull = false;
  rig.clock.advance(REFUSED_MS);
  await pull();
  assert.equal(stores.count, 2);
  const request = { repository: REPOSITORY, digest: BLOB.digest, sources: async () => [] };
  await (await rig.fill.blob(request, contextOf()))?.done;
  assert.equal(
    (await rig.reader.blobStat(REPOSITORY, BLOB.digest, contextOf()))?.sizeBytes,
    BLOB.bytes.byteLength,
  );
});

test('reader: when the disk is full, blobs go past the store', async () => {
  const memory = openMemoryBlobStore({ random: systemRandom });
  await using rig = await openContentRig({
    blobs: { ...memory, startUpload: () => Promise.reject(FULL_DISK) },
  });
  rig.upstreams = [new TestUpstream('us-east', { blobs: [{ bytes: BLOB.bytes }] })];
  const blob = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  assert.deepEqual(await collect(await blob.open(undefined, signal)), Buffer.from(BLOB.bytes));
});

test('reader: a failure of the database that is none of the disk passes nothing by', async () => {
  const locked = sqliteError('metadata', { message: 'database is locked', code: 5 });
  const stores = countingUploads(openMemoryBlobStore({ random: systemRandom }));
  await using rig = await openContentRig({
    blobs: stores.blobs,
    rowsOver: (rows) => ({ ...rows, record: () => Promise.reject(locked) }),
  });
  rig.upstreams = [new TestUpstream('us-east', { blobs: [{ bytes: BLOB.bytes }] })];
  for (let pull = 1; pull <= 2; pull += 1) {
    const blob = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
    await collect(await blob.open(undefined, signal));
    assert.equal(stores.count, pull);
  }
});

function countingUploads(store: BlobStore): { readonly blobs: BlobStore; readonly count: number } {
  const counted = {
    count: 0,
    blobs: {
      ...store,
      startUpload: async (...args: Parameters<BlobStore['startUpload']>) => {
        counted.count += 1;
        return await store.startUpload(...args);
      },
    },
  };
  return counted;
}
