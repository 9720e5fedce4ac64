/** How tasks end: copied, tried again, parked, skipped or given back; once at a time, and never lost. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { ReplicationMetrics } from '#mesh/replication/replication-metrics.ts';
import { ReplicationWorker, type WorkerConfig } from '#mesh/replication/worker.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openSqliteMetadata } from '#storage/metadata-sqlite.ts';
import { openTemporaryMetadata, TEST_EPOCH, temporaryFolder } from '#test/storage/temporary.ts';
import {
  imageOf,
  recordingLog,
  replicationText,
  SELF,
  settled,
  TestClosure,
  TestIndex,
  TestPolicies,
  tasksOf,
  until,
} from './fixture.ts';
import { ManualClock } from './manual-clock.ts';

/** Waits the longest that back-off allows. */
const SLOW_RANDOM = { fraction: () => 1, bytes: (count: number) => new Uint8Array(count) };

for (const [what, thrown] of [
  ['a manifest that nobody has', new RegistryError('MANIFEST_UNKNOWN', 'nobody has it')],
  ['content that does not match', new RegistryError('DIGEST_INVALID', 'hash differs')],
] as const) {
  test(`worker: ${what} parks the task with its reason`, async () => {
    await using work = await startWorker({ auto: thrown });
    await work.add('web', 'v1');
    await until(async () => (await work.states())[0] === 'parked');
    assert.equal((await tasksOf(work.metadata))[0]?.reason, thrown.message);
    assert.equal(work.closure.calls.length, 1);
  });
}

for (const [what, thrown, retryInMs] of [
  ['a source that does not answer', new UnavailableError('down'), 1000],
  ['a source that asks for patience', new UnavailableError('busy', { retryAfterMs: 90_000 }), 90_000],
  ['a source that limits its rate', new RegistryError('TOOMANYREQUESTS', 'slow down'), 1000],
  ['an error that nobody foresaw', new TypeError('oops'), 1000],
] as const) {
  test(`worker: ${what} makes the task due again later`, async () => {
    await using work = await startWorker({ auto: thrown });
    const { clock, closure, metadata } = work;
    await work.add('web', 'v1');
    await until(async () => (await work.states())[0] === 'queued' && closure.calls.length === 1);
    const [task] = await tasksOf(metadata);
    assert.deepEqual([task?.reason, task?.dueMs], [thrown.message, clock.nowMs() + retryInMs]);
    clock.advance(retryInMs - 1);
    await settled();
    assert.equal(closure.calls.length, 1);
    closure.auto = 'finish';
    await until(async () => {
      clock.advance(1);
      return (await work.states())[0] === 'done';
    });
    const isOurs = thrown instanceof TypeError;
    assert.equal(
      work.log.lines.some((line) => line.level === 'error'),
      isOurs,
    );
  });
}

test('worker: waits double, up to ten minutes, and after 20 attempts the task is parked', async () => {
  await using work = await startWorker({ auto: new UnavailableError('down') });
  const { clock, closure, metadata } = work;
  await work.add('web', 'v1');
  const waits: number[] = [];
  for (let attempt = 1; attempt < 20; attempt += 1) {
    await until(async () => closure.calls.length === attempt && (await work.states())[0] === 'queued');
    const dueMs = (await tasksOf(metadata))[0]?.dueMs ?? 0;
    waits.push(dueMs - clock.nowMs());
    clock.advance(dueMs - clock.nowMs());
  }
  await until(async () => (await work.states())[0] === 'parked');
  assert.deepEqual(waits.slice(0, 4), [1000, 2000, 4000, 8000]);
  assert.deepEqual(new Set(waits.slice(10)), new Set([600_000]));
  assert.equal((await tasksOf(metadata))[0]?.reason, 'gave up after 20 attempts: down');
});

test('worker: an image that no tag points at any more is not copied', async () => {
  await using work = await startWorker();
  const digest = await work.add('web', 'v1', { wake: false });
  await work.index.tag('web', 'v1', imageOf('newer').manifest.digest);
  work.worker.wake();
  await until(async () => (await work.states())[0] === 'done');
  assert.deepEqual(work.closure.calls, []);
  const [task] = await tasksOf(work.metadata);
  assert.deepEqual([task?.digest, task?.bytes, task?.reason], [digest, 0, 'no tag points at it any more']);
});

test('worker: an image that the policy does not select any more is not copied', async () => {
  await using work = await startWorker();
  await work.add('web', 'v1', { wake: false });
  work.policies.set(replicationText('p', { select: '{repositories: ["**"], tags: ["!v1", "*"]}' }));
  work.worker.wake();
  await until(async () => (await work.states())[0] === 'done');
  assert.deepEqual(work.closure.calls, []);
});

for (const [what, text] of [
  ['suspending its policy', replicationText('p', { suspend: true })],
  ['removing its policy', ''],
  ['excluding its repository', replicationText('p', { select: '{repositories: ["**", "!web"]}' })],
] as const) {
  test(`worker: ${what} ends a copy that runs, and the task is not called done`, async () => {
    await using work = await startWorker({ auto: 'wait' });
    await work.add('web', 'v1');
    await until(() => work.closure.running === 1);
    work.policies.set(text);
    await until(async () => work.closure.running === 0 && (await work.states())[0] === 'queued');
    assert.ok(work.log.lines.some((line) => line.event === 'task skipped'));
  });
}

test('worker: another policy that changes ends no copy', async () => {
  await using work = await startWorker({ auto: 'wait' });
  await work.add('web', 'v1');
  await until(() => work.closure.running === 1);
  work.policies.set(`${replicationText('p')}${replicationText('other')}`);
  await settled();
  work.closure.calls[0]?.finish();
  await until(async () => (await work.states())[0] === 'done');
});

test('worker: stopping ends a running copy and makes its task due at once', async () => {
  await using metadata = await openTemporaryMetadata();
  const clock = new ManualClock();
  {
    await using work = await startWorker({ auto: 'wait', metadata, clock });
    await work.add('web', 'v1');
    await until(() => work.closure.running === 1);
  }
  const [task] = await tasksOf(metadata);
  assert.deepEqual([task?.state, task?.dueMs, task?.reason], ['queued', clock.nowMs(), 'the node stopped']);
  await using again = await startWorker({ metadata, clock });
  again.worker.wake();
  await until(async () => (await again.states())[0] === 'done');
});

test('worker: a copy that does not end holds up stopping for 1.5 s at most', async () => {
  await using metadata = await openTemporaryMetadata();
  const clock = new ManualClock();
  const work = await startWorker({ auto: 'wait', metadata, clock });
  work.closure.deaf = true;
  await work.add('web', 'v1');
  await until(() => work.closure.running === 1);
  let isStopped = false;
  const stopping = work[Symbol.asyncDispose]().then(() => {
    isStopped = true;
  });
  clock.advance(1499);
  await settled();
  assert.equal(isStopped, false);
  await until(() => {
    clock.advance(1);
    return isStopped;
  });
  await stopping;
  assert.equal((await tasksOf(metadata))[0]?.state, 'running');
  work.closure.calls[0]?.finish();
  await until(async () => (await tasksOf(metadata))[0]?.state === 'done');
});

test('worker: tasks survive a restart on the same file', async () => {
  await using folder = await temporaryFolder();
  const config = {
    path: join(folder.path, 'metadata.sqlite'),
    region: parseRegionNumber(1),
    epochForNewDatabase: TEST_EPOCH,
  };
  const clock = new ManualClock();
  {
    await using metadata = await openSqliteMetadata(config, { log: silentLog });
    await using work = await startWorker({ auto: 'wait', metadata, clock });
    for (const tag of ['v1', 'v2', 'v3', 'v4', 'v5', 'v6']) await work.add('web', tag);
    await until(() => work.closure.running === 4);
    work.closure.calls[0]?.finish();
    await until(async () => (await work.states()).includes('done'));
  }
  await using metadata = await openSqliteMetadata(config, { log: silentLog });
  await using work = await startWorker({ metadata, clock });
  await until(async () => (await work.states()).every((state) => state === 'done'));
  assert.equal(work.closure.calls.length, 5);
});

test('worker: the task of a process that died is taken over when its lease is over', async () => {
  await using work = await startWorker();
  const { clock, metadata, closure } = work;
  await work.add('web', 'v1', { wake: false });
  await metadata.tasks.lease({ nowMs: clock.nowMs(), leaseMs: 30_000, limit: 1 });
  for (let passedMs = 0; passedMs < 29_000; passedMs += 1000) {
    clock.advance(1000);
    await settled();
  }
  assert.deepEqual(closure.calls, []);
  await until(() => {
    clock.advance(1000);
    return closure.calls.length === 1;
  });
  await until(async () => (await work.states())[0] === 'done');
});

test('worker: a long copy keeps its lease, and runs once however many processes there are', async () => {
  await using metadata = await openTemporaryMetadata();
  const clock = new ManualClock();
  let renewals = 0;
  const renew: Metadata['tasks']['renew'] = async (ids, untilMs) => {
    await metadata.tasks.renew(ids, untilMs);
    renewals += 1;
  };
  await using first = await startWorker({ auto: 'wait', metadata, clock, renew });
  await first.add('web', 'v1');
  await until(() => first.closure.running === 1);
  await using second = await startWorker({ metadata, clock });
  for (let passed = 1; passed <= 12; passed += 1) {
    clock.advance(10_000);
    await until(() => renewals === passed);
    assert.equal((await tasksOf(metadata))[0]?.dueMs, clock.nowMs() + 30_000);
    await settled();
  }
  assert.deepEqual([first.closure.calls.length, second.closure.calls.length], [1, 0]);
  first.closure.calls[0]?.finish();
  await until(async () => (await first.states())[0] === 'done');
});

test('worker: a lease that ran out while the copy still runs does not start it twice', async () => {
  await using work = await startWorker({ auto: 'wait' });
  const { clock, closure, metadata } = work;
  await work.add('web', 'v1');
  await until(() => closure.running === 1);
  // All at once, as after the process was paused: no renewal came in between.
  clock.advance(31_000);
  work.worker.wake();
  await until(async () => ((await tasksOf(metadata))[0]?.attempts ?? 0) === 2);
  await settled();
  assert.equal(closure.calls.length, 1);
  closure.calls[0]?.finish();
  await until(async () => (await work.states())[0] === 'done');
});

test('worker: no more images at a time than configured, each once, the next as soon as one ends', async () => {
  await using work = await startWorker({ auto: 'wait', config: { concurrency: 2 } });
  const { closure } = work;
  for (let tag = 0; tag < 6; tag += 1) await work.add('web', `v${tag}`);
  for (let done = 0; done < 6; done += 1) {
    // The clock stands still: nothing here waits for a poll.
    await until(() => closure.calls.length === Math.min(6, done + 2));
    closure.calls[done]?.finish();
  }
  await until(async () => (await work.states()).every((state) => state === 'done'));
  assert.equal(closure.runningMax, 2);
  assert.equal(new Set(closure.calls.map((call) => call.digest)).size, 6);
});

test('worker: what another process added is found by the poll', async () => {
  await using work = await startWorker();
  await settled();
  await work.add('web', 'v1', { wake: false });
  await settled();
  assert.deepEqual(work.closure.calls, []);
  work.clock.advance(5000);
  await until(async () => (await work.states())[0] === 'done');
});

test('worker: a copy is counted and logged, with the id that it asked under', async () => {
  await using work = await startWorker();
  const digest = await work.add('web', 'v1');
  await until(async () => (await work.states())[0] === 'done');
  assert.equal((await tasksOf(work.metadata))[0]?.bytes, 20);
  const line = work.log.lines.find(({ event }) => event === 'task done');
  const { requestId, principal } = work.closure.calls[0]?.context ?? {};
  assert.deepEqual(line?.fields, {
    policy: 'p',
    repository: 'web',
    tag: 'v1',
    digest,
    requestId,
    durationMs: 0,
    bytes: 20,
  });
  assert.match(requestId ?? '', /^[0-9a-f]{32}$/);
  assert.equal(principal, 'policy:p');
  const metrics = await work.registry.metrics();
  for (const expected of [
    'fairway_replication_tasks_ended_total{outcome="done"} 1',
    'fairway_replication_bytes_total 20',
    'fairway_replication_lag_seconds_count 1',
    'fairway_replication_tasks{state="done"} 1',
    'fairway_replication_tasks{state="queued"} 0',
  ]) {
    assert.ok(metrics.includes(`${expected}\n`), `${expected} in\n${metrics}`);
  }
});

type Options = {
  readonly auto?: TestClosure['auto'];
  readonly metadata?: Metadata;
  readonly clock?: ManualClock;
  readonly renew?: Metadata['tasks']['renew'];
  readonly config?: Omit<WorkerConfig, 'region'>;
};

async function startWorker(options: Options = {}) {
  await using stack = new AsyncDisposableStack();
  const metadata = options.metadata ?? stack.use(await openTemporaryMetadata());
  const clock = options.clock ?? new ManualClock();
  const index = new TestIndex(metadata);
  const policies = new TestPolicies(replicationText('p'));
  const closure = new TestClosure(metadata);
  closure.auto = options.auto ?? 'finish';
  const log = recordingLog();
  const registry = new Registry();
  const { tasks, views } = metadata;
  const metrics = new ReplicationMetrics(registry, tasks);
  const worker = stack.use(
    new ReplicationWorker(
      {
        tasks: { ...tasks, renew: options.renew ?? tasks.renew },
        views,
        closure,
        policies,
        clock,
        random: SLOW_RANDOM,
        log,
        metrics,
      },
      { region: SELF, ...options.config },
    ),
  );
  worker.start();
  const add = async (repository: string, tag: string, { wake } = { wake: true }) => {
    const { digest } = imageOf(`${repository}:${tag}`).manifest;
    await index.tag(repository, tag, digest);
    const task = {
      policy: 'p',
      repository: parseRepositoryName(repository),
      digest,
      tag,
      nowMs: clock.nowMs(),
    };
    await tasks.enqueue([task]);
    if (wake) worker.wake();
    return digest;
  };
  const states = async () => (await tasksOf(metadata)).map((task) => task.state);
  const owned = stack.move();
  const work = { metadata, clock, index, policies, closure, log, registry, worker, add, states };
  return { ...work, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
