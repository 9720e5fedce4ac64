/** When the collector works, on a clock that the test moves: runs are counted where they begin, at the uploads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnavailableError } from '#domain/errors.ts';
import { GarbageCollector } from '#node/lifecycle/garbage-collector.ts';
import type { GarbageRun } from '#node/lifecycle/garbage-run.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import { ManualClock } from '#test/client/manual-clock.ts';
import { openTemporaryMetadata } from '#test/storage/temporary.ts';

const INTERVAL_MS = 1_000_000;
const GRACE_MS = 1000;

type Rig = AsyncDisposable & {
  readonly clock: ManualClock;
  readonly collector: GarbageCollector;
  /** Runs that have begun. */
  readonly begun: number;
  /** What a run does first; rejects as the store would. */
  work: (signal: AbortSignal) => Promise<void>;
};

/** `fraction`: all that chance ever says. */
async function openRig(fraction: number): Promise<Rig> {
  await using stack = new AsyncDisposableStack();
  const metadata = stack.use(await openTemporaryMetadata());
  const clock = new ManualClock();
  const random = { ...systemRandom, fraction: () => fraction };
  const blobs = openMemoryBlobStore({ clock, random: systemRandom });
  const state = { begun: 0, work: async (_signal: AbortSignal): Promise<void> => undefined };
  const collector = stack.use(
    new GarbageCollector(
      {
        ...{ rows: metadata.garbage, uses: metadata.blobUses, blobs },
        caches: { kept: () => [], onEvicted: () => undefined },
        ...{ clock, random, log: silentLog, metrics: new Registry() },
        files: {
          ...blobs,
          async expireUploads(expiry) {
            state.begun += 1;
            await rig.work(expiry.signal);
            return await blobs.expireUploads(expiry);
          },
        },
      },
      { intervalMs: INTERVAL_MS, graceMs: GRACE_MS, useEveryMs: GRACE_MS },
    ),
  );
  const owned = stack.move();
  const rig: Rig = Object.assign(state, {
    ...{ clock, collector },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  });
  return rig;
}

/** The newest run, when it has come so far. */
async function reached(rig: Rig, run: { readonly id: number; readonly state: GarbageRun['state'] }) {
  for (;;) {
    const found = rig.collector.runs().find(({ id }) => id === run.id);
    if (found?.state === run.state) return found;
    await turn();
  }
}

/** The schedule has set its next alarm. */
async function scheduled(rig: Rig): Promise<void> {
  while (rig.clock.pending === 0) await turn();
}

for (const [fraction, delay] of [
  [0, 0.05],
  [0.5, 0.1],
] as const) {
  test(`garbage collector: the first run comes after ${delay} of the interval, if chance says ${fraction}`, async () => {
    await using rig = await openRig(fraction);
    rig.collector.start();
    await scheduled(rig);
    rig.clock.advance(INTERVAL_MS * delay - 1);
    await turn();
    assert.equal(rig.collector.runs().length, 0);
    rig.clock.advance(1);
    await reached(rig, { id: 1, state: 'done' });
  });
}

test('garbage collector: the next run comes an interval after the last one, give or take a tenth', async () => {
  for (const [fraction, factor] of [
    [0, 0.9],
    [0.5, 1],
  ] as const) {
    await using rig = await openRig(fraction);
    rig.collector.start();
    await scheduled(rig);
    rig.clock.advance(INTERVAL_MS * 0.1);
    await reached(rig, { id: 1, state: 'done' });
    await scheduled(rig);
    rig.clock.advance(INTERVAL_MS * factor - 1);
    await turn();
    assert.equal(rig.begun, 1);
    rig.clock.advance(1);
    await reached(rig, { id: 2, state: 'done' });
  }
});

test('garbage collector: a run that takes longer than the interval is not overtaken', async () => {
  await using rig = await openRig(0.5);
  const held = Promise.withResolvers<void>();
  rig.work = () => held.promise;
  rig.collector.start();
  await scheduled(rig);
  rig.clock.advance(INTERVAL_MS * 0.1);
  await reached(rig, { id: 1, state: 'running' });
  rig.clock.advance(3 * INTERVAL_MS);
  await turn();
  assert.equal(rig.collector.request(false).id, 1, 'who asks is told of the run that goes on');
  const dry = rig.collector.request(true);
  assert.deepEqual([dry.id, dry.state], [2, 'waiting']);
  assert.equal(rig.collector.request(true).id, 2);
  assert.equal(rig.begun, 1);
  held.resolve();
  await reached(rig, { id: 2, state: 'done' });
  assert.equal(rig.begun, 2);
  assert.equal(rig.collector.request(false).id, 3, 'the next one is another run');
});

test('garbage collector: a run that the disk refuses says why, and the next one comes in its time', async () => {
  await using rig = await openRig(0.5);
  rig.work = () => Promise.reject(new UnavailableError('the disk is full'));
  rig.collector.start();
  await scheduled(rig);
  rig.clock.advance(INTERVAL_MS * 0.1);
  assert.equal((await reached(rig, { id: 1, state: 'failed' })).reason, 'the disk is full');
  await scheduled(rig);
  rig.work = async () => undefined;
  rig.clock.advance(INTERVAL_MS);
  await reached(rig, { id: 2, state: 'done' });
});

test('garbage collector: stopping the node ends the run, and those that wait, and leaves no timer', async () => {
  await using rig = await openRig(0.5);
  rig.work = (signal) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  rig.collector.start();
  await scheduled(rig);
  rig.clock.advance(INTERVAL_MS * 0.1);
  await reached(rig, { id: 1, state: 'running' });
  rig.collector.request(true);
  rig.work = async (signal) => signal.throwIfAborted();
  await rig.collector[Symbol.asyncDispose]();
  const stopped = rig.collector.runs().map(({ state, reason }) => `${state}: ${reason}`);
  assert.deepEqual(stopped, ['failed: the node was stopped', 'failed: the node was stopped']);
  assert.equal(rig.clock.pending, 0);
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
