/** One fill, many who ask: each at its own pace, none of them needed, none of them in the way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { FillingBlob, FillRequest } from '#content/fill.ts';
import { HELD_BACK_BYTES } from '#content/growing-blob.ts';
import type { Digest } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { systemRandom } from '#runtime/random.ts';
import { openFilesystemBlobStore } from '#storage/blob-store-filesystem.ts';
import { temporaryFolder } from '#test/storage/temporary.ts';
import {
  blobOf,
  type ContentRig,
  collect,
  contextOf,
  drained,
  OTHER,
  openContentRig,
  pushBlob,
  REPOSITORY,
} from './content-rig.ts';
import { type BlobPlan, TestUpstream } from './test-upstream.ts';

const MIB = 1024 * 1024;
const signal = new AbortController().signal;

/** A source that waits at a byte until the test lets it go on. */
function gatedSource(
  bytes: Uint8Array,
  at: number,
): { upstream: TestUpstream; reached: Promise<void>; goOn: () => void } {
  const gate = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const plan: BlobPlan = {
    bytes,
    gate: (position) => {
      if (position < at) return undefined;
      reached.resolve();
      return gate.promise;
    },
  };
  const upstream = new TestUpstream('us-east', { blobs: [plan] });
  return { upstream, reached: reached.promise, goOn: gate.resolve };
}

function requestOf(digest: Digest, upstream: TestUpstream): FillRequest {
  return { repository: REPOSITORY, digest, sources: async () => [upstream] };
}

async function begin(rig: ContentRig, request: FillRequest): Promise<FillingBlob> {
  const filling = await rig.fill.blob(request, contextOf());
  assert.ok(filling !== undefined);
  return filling;
}

test('fill: that nobody has it is asked anew by who joined from another repository', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(100);
  const asked = Promise.withResolvers<readonly TestUpstream[]>();
  const first = rig.fill.blob({ repository: OTHER, digest, sources: () => asked.promise }, contextOf());
  const has = new TestUpstream('us-east', { blobs: [{ bytes }] });
  const joined = [1, 2].map(() => rig.fill.blob(requestOf(digest, has), contextOf()));
  const hasNot = new TestUpstream('ap-south');
  const alike = rig.fill.blob({ repository: OTHER, digest, sources: async () => [hasNot] }, contextOf());
  asked.resolve([]);
  assert.equal(await first, undefined);
  assert.equal(await alike, undefined, 'who joined from the same repository takes the answer');
  for (const filling of joined) {
    assert.deepEqual(
      await collect((await filling)?.read(undefined, signal) ?? assert.fail()),
      Buffer.from(bytes),
    );
  }
  assert.deepEqual([has.opened.length, hasNot.opened.length], [1, 0]);
});

test('fill: too many that wait for their turn are refused', async () => {
  await using rig = await openContentRig({ fill: { concurrentMax: 1, waitingMax: 1, waitMs: 7777 } });
  const { bytes, digest } = blobOf(200_000);
  const { upstream, goOn } = gatedSource(bytes, 100_000);
  const first = await begin(rig, requestOf(digest, upstream));
  const second = blobOf(1000, 2);
  const queued = rig.clock.timerSet(7777);
  const waiting = rig.fill.blob(
    requestOf(second.digest, new TestUpstream('us-east', { blobs: [second] })),
    contextOf(),
  );
  await queued;
  const third = blobOf(1000, 3);
  await assert.rejects(
    rig.fill.blob(requestOf(third.digest, new TestUpstream('us-east', { blobs: [third] })), contextOf()),
    UnavailableError,
  );
  goOn();
  await first.done;
  await (await waiting)?.done;
});

test('fill: whoever waits too long for a turn is refused, and the next one gets it', async () => {
  await using rig = await openContentRig({ fill: { concurrentMax: 1, waitMs: 7777 } });
  const { bytes, digest } = blobOf(200_000);
  const { upstream, reached, goOn } = gatedSource(bytes, 100_000);
  const first = await begin(rig, requestOf(digest, upstream));
  await reached;
  const second = blobOf(1000, 2);
  const request = requestOf(second.digest, new TestUpstream('us-east', { blobs: [second] }));
  const queued = rig.clock.timerSet(7777);
  const refused = assert.rejects(rig.fill.blob(request, contextOf()), /took longer than 7777 ms/);
  await queued;
  rig.clock.advance(7777);
  await refused;
  goOn();
  await first.done;
  await (await begin(rig, request)).done;
});

test('fill: a node that stops ends its fills, and tells who waits', async () => {
  const rig = await openContentRig();
  const { bytes, digest } = blobOf(200_000);
  const { upstream, reached } = gatedSource(bytes, 100_000);
  const filling = await begin(rig, requestOf(digest, upstream));
  const reading = drained(filling.read(undefined, signal));
  await reached;
  await rig[Symbol.asyncDispose]();
  assert.match(String((await reading).error), /stopping/);
  await assert.rejects(filling.done, UnavailableError);
  await assert.rejects(rig.fill.blob(requestOf(digest, upstream), contextOf()), UnavailableError);
});

test('fill: who gave up before asking is not served', async () => {
  await using rig = await openContentRig();
  const { digest } = blobOf(10);
  const upstream = new TestUpstream('us-east');
  const gone = contextOf(AbortSignal.abort(new Error('gone')));
  await assert.rejects(rig.fill.blob(requestOf(digest, upstream), gone), /gone/);
  assert.deepEqual(upstream.opened, []);
});

test('fill: fifty who ask at once share one connection', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(1_000_000);
  const upstream = new TestUpstream('us-east', { blobs: [{ bytes }] });
  const bodies = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const filling = await begin(rig, requestOf(digest, upstream));
      return await collect(filling.read(undefined, signal));
    }),
  );
  for (const body of bodies) assert.ok(body.equals(bytes));
  assert.deepEqual(upstream.opened, [0]);
  assert.match(
    await rig.metrics.getSingleMetricAsString('fairway_fill_bytes_total'),
    /source="region"} 1000000$/,
  );
});

test('fill: it goes on when everybody who asked has left', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(300_000);
  const { upstream, reached, goOn } = gatedSource(bytes, 100_000);
  const client = new AbortController();
  const filling = await rig.fill.blob(requestOf(digest, upstream), contextOf(client.signal));
  assert.ok(filling !== undefined);
  const reading = drained(filling.read(undefined, client.signal));
  await reached;
  client.abort(new Error('client left'));
  assert.match(String((await reading).error), /client left/);
  goOn();
  assert.equal((await filling.done).sizeBytes, 300_000);
});

test('fill: who leaves before the first byte harms nobody', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(300_000);
  const { upstream, reached, goOn } = gatedSource(bytes, 0);
  const client = new AbortController();
  const left = assert.rejects(
    rig.fill.blob(requestOf(digest, upstream), contextOf(client.signal)),
    /client left/,
  );
  const staying = rig.fill.blob(requestOf(digest, upstream), contextOf());
  await reached;
  client.abort(new Error('client left'));
  await left;
  goOn();
  const filling = await staying;
  assert.ok((await collect(filling?.read(undefined, signal) ?? assert.fail())).equals(bytes));
});

test('fill: a range that has arrived is read while the rest has not', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(300_000);
  const { upstream, reached, goOn } = gatedSource(bytes, 160_000);
  const filling = await begin(rig, requestOf(digest, upstream));
  await reached;
  const early = await collect(filling.read({ start: 1000, end: 99_999 }, signal));
  assert.ok(early.equals(bytes.subarray(1000, 100_000)));
  const late = collect(filling.read({ start: 290_000, end: 299_999 }, signal));
  goOn();
  assert.ok((await late).equals(bytes.subarray(290_000)));
});

test('fill: the last piece waits for the verdict', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(300_000);
  const { upstream, reached, goOn } = gatedSource(bytes, 294_912);
  const filling = await begin(rig, requestOf(digest, upstream));
  await reached;
  let readBytes = 0;
  const stream = filling.read(undefined, signal)[Symbol.asyncIterator]();
  while (readBytes < 300_000 - HELD_BACK_BYTES) readBytes += (await stream.next()).value?.byteLength ?? 0;
  assert.equal(readBytes, 300_000 - HELD_BACK_BYTES, 'not a byte more');
  let isOut = false;
  const next = stream.next().then((step) => {
    isOut = true;
    return step;
  });
  await turn();
  assert.equal(isOut, false);
  goOn();
  const last = (await next).value ?? assert.fail();
  assert.ok(bytes.subarray(300_000 - HELD_BACK_BYTES).every((byte, at) => byte === last[at]));
});

test('fill: everybody who joined has the blob in their own repository', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(300_000);
  const { upstream, reached, goOn } = gatedSource(bytes, 100_000);
  const first = await begin(rig, requestOf(digest, upstream));
  await reached;
  const second = await begin(rig, { ...requestOf(digest, upstream), repository: OTHER });
  goOn();
  await Promise.all([first.done, second.done]);
  assert.ok(await rig.metadata.blobs.isReadable(REPOSITORY, digest));
  assert.ok(await rig.metadata.blobs.isReadable(OTHER, digest));
  assert.deepEqual(upstream.opened, [0]);
});

test('fill: what is here already is not transferred again', async () => {
  await using rig = await openContentRig();
  const { bytes } = blobOf(1000);
  const digest = await pushBlob(rig, bytes);
  const upstream = new TestUpstream('us-east', { blobs: [{ bytes }] });
  const filling = await begin(rig, requestOf(digest, upstream));
  assert.deepEqual(filling.source, { kind: 'local', name: 'eu-west' });
  assert.ok((await collect(filling.read({ start: 1, end: 9 }, signal))).equals(bytes.subarray(1, 10)));
  assert.equal((await filling.done).source, 'push');
  assert.deepEqual(upstream.opened, []);
});

test('fill: another repository proves by a source of its own that it has the blob', async () => {
  await using rig = await openContentRig();
  const { bytes } = blobOf(1000);
  const digest = await pushBlob(rig, bytes);
  const without = { ...requestOf(digest, new TestUpstream('us-east')), repository: OTHER };
  assert.equal(await rig.fill.blob(without, contextOf()), undefined);
  assert.equal(await rig.metadata.blobs.isReadable(OTHER, digest), false);
});

test('fill: memory does not grow with the blob, nor with a reader that does not read', async () => {
  await using folder = await temporaryFolder();
  const blobs = await openFilesystemBlobStore({ root: folder.path }, { random: systemRandom });
  await using rig = await openContentRig({ blobs });
  const { bytes, digest } = blobOf(64 * MIB);
  const upstream = new TestUpstream('us-east', { blobs: [{ bytes, pieceBytes: 64 * 1024 }] });
  const beforeBytes = liveBytes();
  const filling = await begin(rig, requestOf(digest, upstream));
  const slow = filling.read(undefined, signal)[Symbol.asyncIterator]();
  let slowBytes = (await slow.next()).value?.byteLength ?? 0;
  const samples: number[] = [];
  let readBytes = 0;
  for await (const piece of filling.read(undefined, signal)) {
    readBytes += piece.byteLength;
    if (readBytes >= (samples.length + 1) * 4 * MIB) samples.push(liveBytes() - beforeBytes);
  }
  await filling.done;
  assert.equal(samples.length, 16);
  assert.ok(Math.max(...samples) < 8 * MIB, `${samples} bytes`);
  for (let step = await slow.next(); step.done !== true; step = await slow.next()) {
    slowBytes += step.value.byteLength;
  }
  assert.equal(slowBytes, 64 * MIB, 'the slow reader still gets all of it');
});

/** What cannot be collected: the rest is the garbage collector's to time. */
function liveBytes(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
