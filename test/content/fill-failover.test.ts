/** What a fill does with sources that fail: it goes on elsewhere at the same byte, and ends when nobody is left. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FillingBlob } from '#content/fill.ts';
import type { Upstream } from '#content/upstream.ts';
import type { Digest } from '#domain/digest.ts';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { systemRandom } from '#runtime/random.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import {
  blobOf,
  type ContentRig,
  collect,
  contextOf,
  drained,
  openContentRig,
  REPOSITORY,
} from './content-rig.ts';
import { sourceOf, TestUpstream, unreadBody } from './test-upstream.ts';

const signal = new AbortController().signal;

async function ask(
  rig: ContentRig,
  digest: Digest,
  upstreams: readonly Upstream[],
): Promise<FillingBlob | undefined> {
  const request = { repository: REPOSITORY, digest, sources: async () => upstreams };
  return await rig.fill.blob(request, contextOf());
}

async function begin(rig: ContentRig, digest: Digest, upstreams: readonly Upstream[]): Promise<FillingBlob> {
  const filling = await ask(rig, digest, upstreams);
  assert.ok(filling !== undefined);
  return filling;
}

test('fill: when every source is dead the error names each and why, after a bounded number of tries', async () => {
  await using rig = await openContentRig();
  const { digest } = blobOf(10);
  const refusing = new TestUpstream('us-east', { blobs: [{ failAt: -1 }] });
  const lost = new TestUpstream('ap-south', { blobs: [{ failAt: -1 }] });
  await assert.rejects(ask(rig, digest, [refusing, lost]), (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.deepEqual(thrown.tried, ['us-east: connection refused', 'ap-south: connection refused']);
    return true;
  });
  assert.equal(refusing.opened.length, 3);
  assert.equal(lost.opened.length, 3);
  assert.equal(rig.clock.slept.length, 4, 'it waits before every repetition');
  assert.ok(
    rig.clock.slept.every((ms) => ms > 0 && ms <= 2000),
    `${rig.clock.slept}`,
  );
});

test('fill: when every source says 404 the blob is absent', async () => {
  await using rig = await openContentRig();
  const { digest } = blobOf(10);
  const upstreams = [new TestUpstream('us-east'), new TestUpstream('ap-south')];
  assert.equal(await ask(rig, digest, upstreams), undefined);
  assert.deepEqual(
    upstreams.map(({ opened }) => opened),
    [[0], [0]],
    '404 is not asked for twice',
  );
});

test('fill: without sources the blob is absent', async () => {
  await using rig = await openContentRig();
  assert.equal(await ask(rig, blobOf(10).digest, []), undefined);
});

test('fill: one 404 and one silent source is not absence', async () => {
  await using rig = await openContentRig();
  const upstreams = [new TestUpstream('us-east'), new TestUpstream('ap-south', { blobs: [{ failAt: -1 }] })];
  await assert.rejects(ask(rig, blobOf(10).digest, upstreams), (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.deepEqual(thrown.tried, ['us-east: does not have it', 'ap-south: connection refused']);
    return true;
  });
});

test('fill: sources that cannot be named are unavailable', async () => {
  await using rig = await openContentRig();
  const sources = async () => {
    throw new UnavailableError('the mesh does not know');
  };
  const request = { repository: REPOSITORY, digest: blobOf(10).digest, sources };
  await assert.rejects(rig.fill.blob(request, contextOf()), /the mesh does not know/);
});

test('fill: a source that dies in the middle is replaced at the same byte', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(500_000);
  const dying = new TestUpstream('us-east', { blobs: [{ bytes, failAt: 123_456 }] });
  const next = new TestUpstream('ap-south', { blobs: [{ bytes }] });
  const filling = await begin(rig, digest, [dying, next]);
  assert.deepEqual(await collect(filling.read(undefined, signal)), Buffer.from(bytes));
  assert.deepEqual(dying.opened, [0]);
  assert.deepEqual(next.opened, [123_456]);
  assert.equal((await filling.done).source, 'ap-south', 'most of it came from there');
  assert.deepEqual(filling.source, { kind: 'region', name: 'us-east' }, 'the first byte came from there');
});

test('fill: a source that ends early is replaced at the same byte', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(500_000);
  const short = new TestUpstream('us-east', { blobs: [{ bytes, endAt: 99 }] });
  const next = new TestUpstream('ap-south', { blobs: [{ bytes }] });
  const filling = await begin(rig, digest, [short, next]);
  assert.deepEqual(await collect(filling.read(undefined, signal)), Buffer.from(bytes));
  assert.deepEqual(next.opened, [99]);
});

test('fill: the only source is asked again at the same byte, after a pause', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(500_000);
  const flaky = new TestUpstream('us-east', {
    blobs: [{ bytes, failAt: 100_000 }, { bytes, endAt: 300_000 }, { bytes }],
  });
  const filling = await begin(rig, digest, [flaky]);
  assert.deepEqual(await collect(filling.read(undefined, signal)), Buffer.from(bytes));
  assert.deepEqual(flaky.opened, [0, 100_000, 300_000]);
  assert.equal(rig.clock.slept.length, 2);
});

test('fill: a source that is cut off every few megabytes still fills a large blob', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(12 * 1024 * 1024);
  const step = 2 * 1024 * 1024;
  const blobs = [1, 2, 3, 4, 5].map((part) => ({ bytes, failAt: part * step, pieceBytes: 256 * 1024 }));
  const flaky = new TestUpstream('us-east', { blobs: [...blobs, { bytes, pieceBytes: 256 * 1024 }] });
  const filling = await begin(rig, digest, [flaky]);
  await filling.done;
  assert.deepEqual(flaky.opened, [0, step, 2 * step, 3 * step, 4 * step, 5 * step]);
});

test('fill: when all sources die in the middle, readers are told who and why, and nothing is stored', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(500_000);
  const dying = new TestUpstream('us-east', { blobs: [{ bytes, failAt: 200_000 }, { failAt: -1 }] });
  const without = new TestUpstream('ap-south');
  const filling = await begin(rig, digest, [dying, without]);
  const read = await drained(filling.read(undefined, signal));
  assert.ok(read.error instanceof UnavailableError);
  assert.deepEqual(read.error.tried, ['us-east: connection refused', 'ap-south: does not have it']);
  assert.deepEqual(read.bytes, Buffer.from(bytes.subarray(0, read.bytes.byteLength)));
  await assert.rejects(filling.done, UnavailableError);
  assert.equal(await rig.blobs.stat(digest), undefined);
});

test('fill: a source without headers for 3 s is left for the next one', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(1000);
  const hanging = new TestUpstream('us-east', {
    blobs: [{ stallAt: -1 }],
    onStall: () => rig.clock.advance(3000),
  });
  const next = new TestUpstream('ap-south', { blobs: [{ bytes }] });
  const filling = await begin(rig, digest, [hanging, next]);
  assert.equal(filling.source.name, 'ap-south');
  await filling.done;
});

test('fill: a source with headers and no byte for 3 s is left for the next one', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(1000);
  const hanging = new TestUpstream('us-east', {
    blobs: [{ bytes, stallAt: 0 }],
    onStall: () => rig.clock.advance(3000),
  });
  const next = new TestUpstream('ap-south', { blobs: [{ bytes }] });
  const filling = await begin(rig, digest, [hanging, next]);
  assert.equal(filling.source.name, 'ap-south');
  await filling.done;
  assert.equal(hanging.closed, 1, 'its connection is closed');
});

test('fill: a source that answers after its time is closed and not read', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(1000);
  const next = new TestUpstream('ap-south', { blobs: [{ bytes }] });
  const answer = Promise.withResolvers<void>();
  const { blob, left } = unreadBody(bytes.byteLength);
  // It takes no notice of the signal.
  const tardy = sourceOf('us-east', async () => {
    rig.clock.advance(3000);
    await answer.promise;
    return blob;
  });
  const filling = await begin(rig, digest, [tardy, next]);
  await filling.done;
  answer.resolve();
  await left;
});

test('fill: a source that is silent for 10 s in the middle is replaced at the same byte', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(500_000);
  const waits: number[] = [];
  const stalling = new TestUpstream('us-east', {
    blobs: [{ bytes, stallAt: 77_777 }],
    onStall: () => {
      rig.clock.advance(9999);
      waits.push(next.opened.length);
      rig.clock.advance(1);
    },
  });
  const next = new TestUpstream('ap-south', { blobs: [{ bytes }] });
  const filling = await begin(rig, digest, [stalling, next]);
  assert.deepEqual(await collect(filling.read(undefined, signal)), Buffer.from(bytes));
  assert.deepEqual(waits, [0]);
  assert.deepEqual(next.opened, [77_777]);
});

test('fill: whoever waits for a first byte is answered in bounded time, however many sources hang', async () => {
  await using rig = await openContentRig();
  const startedMs = rig.clock.monotonicMs();
  const hanging = Array.from(
    { length: 20 },
    (_, at) =>
      new TestUpstream(`region-${at}`, {
        blobs: [{ stallAt: -1 }],
        onStall: () => rig.clock.advance(3000),
      }),
  );
  await assert.rejects(ask(rig, blobOf(10).digest, hanging), (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.equal(thrown.tried.length, 20);
    assert.equal(thrown.tried[0], 'region-0: sent nothing for 3000 ms');
    assert.equal(thrown.tried[19], 'region-19: not asked');
    return true;
  });
  assert.ok(rig.clock.monotonicMs() - startedMs <= 13_000);
});

test('fill: a disk that refuses is unavailability, and no fault of the source', async () => {
  const memory = openMemoryBlobStore({ random: systemRandom });
  const full: BlobStore = {
    ...memory,
    async startUpload(scope) {
      const upload = await memory.startUpload(scope);
      upload.append = async (source, options) => {
        for await (const _ of source) {
          options.signal.throwIfAborted();
          throw new UnavailableError('cannot write to the blob store: the disk is full (ENOSPC)');
        }
        return 0;
      };
      return upload;
    },
  };
  await using rig = await openContentRig({ blobs: full });
  const { bytes, digest } = blobOf(100_000);
  const upstream = new TestUpstream('us-east', { blobs: [{ bytes }] });
  const filling = await begin(rig, digest, [upstream]);
  const read = await drained(filling.read(undefined, signal));
  assert.match(String(read.error), /the disk is full/);
  assert.deepEqual(upstream.opened, [0], 'the source is not asked again for what the disk refused');
  assert.equal(upstream.closed, 1);
});

test('fill: what the store refuses is never told to a client as an error of its own', async () => {
  const memory = openMemoryBlobStore({ random: systemRandom });
  const losing: BlobStore = {
    ...memory,
    async startUpload(scope) {
      const upload = await memory.startUpload(scope);
      upload.commit = async () => {
        throw new RegistryError('BLOB_UPLOAD_UNKNOWN', 'the upload is not here');
      };
      return upload;
    },
  };
  await using rig = await openContentRig({ blobs: losing });
  const { bytes, digest } = blobOf(1000);
  const filling = await begin(rig, digest, [new TestUpstream('us-east', { blobs: [{ bytes }] })]);
  await assert.rejects(filling.done, UnavailableError);
});
