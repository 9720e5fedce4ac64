/** Reading blobs: from here, from elsewhere, and what happens when what should be here is not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { systemRandom } from '#runtime/random.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import {
  blobOf,
  collect,
  contextOf,
  drained,
  OTHER,
  openContentRig,
  pushBlob,
  REPOSITORY,
} from './content-rig.ts';
import { RegionWith } from './region-with.ts';
import { TestUpstream } from './test-upstream.ts';

const signal = new AbortController().signal;
const BLOB = blobOf(300_000);
const LOCAL = { kind: 'local', name: 'eu-west' };

function isUnknown(thrown: unknown): true {
  assert.ok(thrown instanceof RegistryError);
  assert.equal(thrown.code, 'BLOB_UNKNOWN');
  return true;
}

test('reader: a blob that every source denies is unknown', async () => {
  await using rig = await openContentRig();
  rig.upstreams = [new TestUpstream('us-east'), new TestUpstream('ap-south')];
  await assert.rejects(rig.reader.blob(REPOSITORY, BLOB.digest, contextOf()), isUnknown);
  rig.upstreams = [];
  await assert.rejects(rig.reader.blob(REPOSITORY, BLOB.digest, contextOf()), isUnknown);
});

test('reader: a blob that a silent source may have is unavailable, and the source is named', async () => {
  await using rig = await openContentRig();
  rig.upstreams = [new TestUpstream('us-east'), new TestUpstream('ap-south', { blobs: [{ failAt: -1 }] })];
  await assert.rejects(rig.reader.blob(REPOSITORY, BLOB.digest, contextOf()), (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.deepEqual(thrown.tried, ['us-east: does not have it', 'ap-south: connection refused']);
    return true;
  });
});

test('reader: a region that asks gets no blob that is not here', async () => {
  await using rig = await openContentRig();
  const region = new RegionWith('us-east', [], [BLOB]);
  rig.upstreams = [region];
  const peer = contextOf(undefined, 'ap-south');
  await assert.rejects(rig.reader.blob(REPOSITORY, BLOB.digest, peer), isUnknown);
  assert.equal(region.opened.size, 0);
});

test('reader: a blob of another repository is not served in this one', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, BLOB.bytes, OTHER);
  await assert.rejects(rig.reader.blob(REPOSITORY, BLOB.digest, contextOf()), isUnknown);
  assert.equal(await rig.reader.blobStat(REPOSITORY, BLOB.digest, contextOf()), undefined);
});

test('reader: HEAD asks nobody', async () => {
  await using rig = await openContentRig();
  const region = new RegionWith('us-east', [], [BLOB]);
  rig.upstreams = [region];
  assert.equal(await rig.reader.blobStat(REPOSITORY, BLOB.digest, contextOf()), undefined);
  assert.equal(region.opened.size, 0);
  await pushBlob(rig, BLOB.bytes);
  assert.deepEqual(await rig.reader.blobStat(REPOSITORY, BLOB.digest, contextOf()), {
    digest: BLOB.digest,
    sizeBytes: 300_000,
    source: LOCAL,
  });
});

test('reader: a blob whose bytes are gone is forgotten and filled', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, BLOB.bytes);
  await rig.blobs.delete(BLOB.digest);
  assert.equal(await rig.reader.blobStat(REPOSITORY, BLOB.digest, contextOf()), undefined);
  assert.equal(await rig.metadata.blobs.find(BLOB.digest), undefined);
  rig.upstreams = [new RegionWith('us-east', [], [BLOB])];
  const read = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  assert.deepEqual(read.source, { kind: 'region', name: 'us-east' });
  assert.ok((await collect(await read.open(undefined, signal))).equals(BLOB.bytes));
});

test('reader: a blob that goes between the headers and the body is filled into the same answer', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, BLOB.bytes);
  rig.upstreams = [new RegionWith('us-east', [], [BLOB])];
  const read = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  assert.deepEqual(read.source, LOCAL);
  await rig.blobs.delete(BLOB.digest);
  const body = await collect(await read.open({ start: 5, end: 299_999 }, signal));
  assert.ok(body.equals(BLOB.bytes.subarray(5)));
});

test('reader: a blob of another size than it was stored with is thrown away and filled', async () => {
  const memory = openMemoryBlobStore({ random: systemRandom });
  const truncated = new Set<string>();
  const blobs: BlobStore = {
    ...memory,
    async stat(digest) {
      const stat = await memory.stat(digest);
      return stat !== undefined && truncated.has(digest) ? { ...stat, sizeBytes: 7 } : stat;
    },
    async delete(digest) {
      truncated.delete(digest);
      return await memory.delete(digest);
    },
  };
  await using rig = await openContentRig({ blobs });
  await pushBlob(rig, BLOB.bytes);
  truncated.add(BLOB.digest);
  rig.upstreams = [new RegionWith('us-east', [], [BLOB])];
  const read = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  assert.equal(read.source.name, 'us-east');
  assert.ok((await collect(await read.open(undefined, signal))).equals(BLOB.bytes));
});

test('reader: a blob that cannot be read comes from elsewhere, and nothing is forgotten', async () => {
  const memory = openMemoryBlobStore({ random: systemRandom });
  let isUnreadable = true;
  const blobs: BlobStore = {
    ...memory,
    async read(digest, range, readSignal) {
      if (isUnreadable) throw new UnavailableError('too many open files (EMFILE)');
      return await memory.read(digest, range, readSignal);
    },
  };
  await using rig = await openContentRig({ blobs });
  await pushBlob(rig, BLOB.bytes);
  const read = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  await assert.rejects(read.open(undefined, signal), UnavailableError, 'nobody else has it');
  assert.ok((await rig.metadata.blobs.find(BLOB.digest)) !== undefined);
  rig.upstreams = [new RegionWith('us-east', [], [BLOB])];
  const stream = await read.open(undefined, signal);
  isUnreadable = false;
  assert.ok((await collect(stream)).equals(BLOB.bytes));
  assert.equal((await rig.metadata.blobs.find(BLOB.digest))?.source, 'push');
});

test('reader: damage in the middle of a stream ends it with an error', async () => {
  const memory = openMemoryBlobStore({ random: systemRandom });
  const blobs: BlobStore = {
    ...memory,
    async read(digest, range, readSignal) {
      const stream = await memory.read(digest, range, readSignal);
      return stream === undefined ? undefined : failing(stream);
    },
  };
  await using rig = await openContentRig({ blobs });
  await pushBlob(rig, BLOB.bytes);
  const read = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  const { bytes, error } = await drained(await read.open(undefined, signal));
  assert.match(String(error), /input\/output/);
  assert.ok(bytes.byteLength > 0 && bytes.byteLength < 300_000);
});

async function* failing(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of stream) {
    yield piece;
    throw new UnavailableError('cannot read from the blob store: input/output error (EIO)');
  }
}

test('reader: a blob that is left early closes its file', async () => {
  const memory = openMemoryBlobStore({ random: systemRandom });
  let closed = 0;
  const blobs: BlobStore = {
    ...memory,
    async read(digest, range, readSignal) {
      const stream = await memory.read(digest, range, readSignal);
      const iterator = stream?.[Symbol.asyncIterator]() ?? assert.fail();
      const leave = async () => {
        closed += 1;
        return { done: true as const, value: undefined };
      };
      const watched = { next: () => iterator.next(), return: leave };
      return { [Symbol.asyncIterator]: () => watched };
    },
  };
  await using rig = await openContentRig({ blobs });
  await pushBlob(rig, BLOB.bytes);
  const read = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  const stream = (await read.open(undefined, signal))[Symbol.asyncIterator]();
  await stream.return?.();
  assert.equal(closed, 1, 'also when nothing was read of it');
});

test('reader: whole, by ranges, and empty', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, BLOB.bytes);
  const read = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  assert.equal(read.sizeBytes, 300_000);
  assert.ok((await collect(await read.open(undefined, signal))).equals(BLOB.bytes));
  const part = await collect(await read.open({ start: 10, end: 19 }, signal));
  assert.ok(part.equals(BLOB.bytes.subarray(10, 20)));
  const digest = await pushBlob(rig, new Uint8Array());
  const empty = await rig.reader.blob(REPOSITORY, digest, contextOf());
  assert.equal((await collect(await empty.open(undefined, signal))).byteLength, 0);
});

test('reader: a blob of an upstream registry is streamed while it is stored', async () => {
  await using rig = await openContentRig();
  const upstream = new TestUpstream('docker.io', { kind: 'registry', blobs: [{ bytes: BLOB.bytes }] });
  rig.upstreams = [upstream];
  const first = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  assert.deepEqual(first.source, { kind: 'upstream', name: 'docker.io' });
  assert.ok((await collect(await first.open(undefined, signal))).equals(BLOB.bytes));
  const second = await rig.reader.blob(REPOSITORY, BLOB.digest, contextOf());
  assert.ok((await collect(await second.open(undefined, signal))).equals(BLOB.bytes));
  assert.deepEqual(upstream.opened, [0]);
});
