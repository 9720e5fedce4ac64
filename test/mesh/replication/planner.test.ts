/** What is planned: all that policies select for this region and that is not whole here, and nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { UnavailableError } from '#domain/errors.ts';
import { Planner, type PlannerDeps } from '#mesh/replication/planner.ts';
import { ReplicationMetrics } from '#mesh/replication/replication-metrics.ts';
import { Registry } from '#runtime/metrics.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openTemporaryMetadata } from '#test/storage/temporary.ts';
import {
  imageOf,
  PROXY_TEXT,
  recordingLog,
  replicationText,
  SELF,
  settled,
  storeImage,
  TestIndex,
  TestPolicies,
  tasksOf,
  until,
} from './fixture.ts';
import { ManualClock } from './manual-clock.ts';

const IMAGE = imageOf('one');
const DIGEST = IMAGE.manifest.digest;

const UNWANTED: readonly (readonly [what: string, policies: string])[] = [
  ['no policy is there', ''],
  ['the policy is suspended', replicationText('p', { suspend: true })],
  ['the policy is for another region', replicationText('p', { to: '{regions: [us-east]}' })],
  ['this region is left out', replicationText('p', { to: '{regions: all, except: [eu-west]}' })],
  ['the repository is not selected', replicationText('p', { select: '{repositories: ["dev/**"]}' })],
  ['the repository is excluded', replicationText('p', { select: '{repositories: ["**", "!hub/**"]}' })],
  ['the tag is not selected', replicationText('p', { select: '{repositories: ["**"], tags: ["v*"]}' })],
  ['the tag is excluded', replicationText('p', { select: '{repositories: ["**"], tags: ["*", "!latest"]}' })],
  ['the repository is a proxy’s', `${replicationText('p')}${PROXY_TEXT}`],
];

for (const [what, policies] of UNWANTED) {
  test(`planner: nothing is planned where ${what}`, async () => {
    await using planning = await startPlanner(policies);
    await planning.index.tag('hub/web', 'latest', DIGEST);
    await settled();
    planning.clock.advance(600_000);
    await settled();
    assert.deepEqual(await tasksOf(planning.metadata), []);
  });
}

test('planner: what was pushed here, and a tag that is gone, need no task', async () => {
  await using planning = await startPlanner(replicationText('p'));
  const { metadata, index } = planning;
  await storeImage(metadata, 'web', IMAGE);
  await index.tag('web', 'latest', DIGEST);
  await index.untag('web', 'latest');
  await settled();
  assert.deepEqual(await tasksOf(metadata), []);
});

test('planner: a store that fails is asked again', async () => {
  let failures = 2;
  await using planning = await startPlanner(replicationText('p'), {
    views: (views) => ({
      get: (key) => views.get(key),
      scan: (...args) => {
        failures -= 1;
        return failures >= 0 ? Promise.reject(new UnavailableError('busy')) : views.scan(...args);
      },
    }),
    tags: [['web', 'latest']],
  });
  await until(async () => {
    planning.clock.advance(1000);
    return (await tasksOf(planning.metadata)).length === 1;
  });
  assert.ok(planning.log.lines.some((line) => line.event === 'replication not planned'));
});

test('planner: a changed tag is planned at once, on behalf of the first policy that wants it', async () => {
  await using planning = await startPlanner(`${replicationText('b')}${replicationText('a')}`);
  const { metadata, index, clock } = planning;
  await settled();
  await index.tag('web', 'latest', DIGEST);
  await until(async () => (await tasksOf(metadata)).length === 1);
  const [task] = await tasksOf(metadata);
  assert.deepEqual(
    [task?.policy, task?.repository, task?.tag, task?.digest, task?.nowMs, task?.state],
    ['a', 'web', 'latest', DIGEST, clock.nowMs(), 'queued'],
  );
  await until(() => planning.planned() === 1);
});

test('planner: several tags of one image are one task; the same tag again is none', async () => {
  await using planning = await startPlanner(replicationText('p'));
  const { metadata, index } = planning;
  await index.tag('web', 'latest', DIGEST);
  await index.tag('web', 'v1', DIGEST);
  await index.tag('web', 'latest', DIGEST);
  await settled();
  await until(async () => (await tasksOf(metadata)).length === 1);
});

test('planner: an image of which one blob is missing is planned', async () => {
  await using planning = await startPlanner(replicationText('p'));
  const { metadata, index } = planning;
  await storeImage(metadata, 'web', IMAGE);
  await metadata.blobs.forget(IMAGE.blobs[1] ?? assert.fail());
  await index.tag('web', 'latest', DIGEST);
  await until(async () => (await tasksOf(metadata)).length === 1);
});

test('planner: tags that were there before the start, of many pages, are planned', async () => {
  const tags = Array.from({ length: 450 }, (_, position) => ['web', `v${position}`] as const);
  await using planning = await startPlanner(replicationText('p'), { tags, imagePerTag: true });
  await until(async () => {
    planning.clock.advance(1);
    return (await tasksOf(planning.metadata)).length === 450;
  });
});

test('planner: a policy that comes into force is planned at once, and one that ends takes its tasks along', async () => {
  await using planning = await startPlanner('', { tags: [['web', 'latest']] });
  const { metadata, policies } = planning;
  await settled();
  policies.set(replicationText('p'));
  await until(async () => (await tasksOf(metadata)).length === 1);
  policies.set(replicationText('other'));
  await until(async () => (await tasksOf(metadata))[0]?.policy === 'other');
  policies.set(replicationText('other', { suspend: true }));
  await until(async () => (await tasksOf(metadata)).length === 0);
  policies.set(replicationText('other'));
  await until(async () => (await tasksOf(metadata)).length === 1);
});

test('planner: what no event told is found within ten minutes', async () => {
  await using planning = await startPlanner(replicationText('p'));
  const { metadata, index, clock, log } = planning;
  await until(() => log.lines.some((line) => line.event === 'replication planned'));
  const change = { change: 'set-tag', repository: 'web', tag: 'latest', digest: DIGEST } as never;
  await index.writeUnannounced([change]);
  clock.advance(599_000);
  await settled();
  assert.deepEqual(await tasksOf(metadata), []);
  clock.advance(1000);
  await until(async () => (await tasksOf(metadata)).length === 1);
});

test('planner: events that never cease do not keep it from looking at all tags', async () => {
  await using planning = await startPlanner(replicationText('p'));
  const { metadata, index, clock, log } = planning;
  await until(() => log.lines.some((line) => line.event === 'replication planned'));
  const change = { change: 'set-tag', repository: 'web', tag: 'latest', digest: DIGEST } as never;
  await index.writeUnannounced([change]);
  clock.advance(599_999);
  await until(async () => {
    index.announce([{ kind: CLAIM_KIND.tag, repository: 'x', name: 't' }]);
    clock.advance(1);
    index.announce([{ kind: CLAIM_KIND.tag, repository: 'x', name: 't' }]);
    return (await tasksOf(metadata)).length === 1;
  });
});

test('planner: more changed tags than it remembers make it look at all of them', async () => {
  await using planning = await startPlanner(replicationText('p'));
  const { metadata, index, log } = planning;
  await until(() => log.lines.some((line) => line.event === 'replication planned'));
  const change = { change: 'set-tag', repository: 'web', tag: 'latest', digest: DIGEST } as never;
  await index.writeUnannounced([change]);
  index.announce(
    Array.from({ length: 10_001 }, (_, position) => ({
      kind: CLAIM_KIND.tag,
      repository: 'x',
      name: `t${position}`,
    })),
  );
  await until(async () => (await tasksOf(metadata)).length === 1);
});

test('planner: what stays incomplete is planned by an event at once, by the schedule once and then hourly', async () => {
  await using planning = await startPlanner(replicationText('p'));
  const { metadata, index, clock } = planning;
  const park = async () => {
    await until(async () => (await tasksOf(metadata))[0]?.state === 'queued');
    const [task] = await metadata.tasks.lease({ nowMs: clock.nowMs(), leaseMs: 1000, limit: 1 });
    await metadata.tasks.settle(task?.id ?? assert.fail(), {
      state: 'parked',
      reason: 'x',
      nowMs: clock.nowMs(),
    });
    await settled();
  };
  await index.tag('web', 'latest', DIGEST);
  await park();
  await index.tag('web', 'v1', DIGEST);
  await park();
  clock.advance(600_000);
  await park();
  for (let look = 1; look < 6; look += 1) {
    clock.advance(600_000);
    await settled();
    assert.equal((await tasksOf(metadata))[0]?.state, 'parked');
  }
  await until(async () => {
    clock.advance(60_000);
    return (await tasksOf(metadata))[0]?.state === 'queued';
  });
});

type Options = {
  readonly tags?: readonly (readonly [repository: string, tag: string])[];
  readonly imagePerTag?: boolean;
  readonly views?: (views: Metadata['views']) => PlannerDeps['views'];
};

async function startPlanner(text: string, options: Options = {}) {
  await using stack = new AsyncDisposableStack();
  const metadata = stack.use(await openTemporaryMetadata());
  const index = new TestIndex(metadata);
  const tags = (options.tags ?? []).map(([repository, tag]) => ({
    change: 'set-tag',
    repository,
    tag,
    digest: options.imagePerTag ? imageOf(tag).manifest.digest : DIGEST,
  }));
  if (tags.length > 0) await index.writeUnannounced(tags as never);
  const policies = new TestPolicies(text);
  const clock = new ManualClock();
  const log = recordingLog();
  let planned = 0;
  const planner = stack.use(
    new Planner(
      {
        views: options.views?.(metadata.views) ?? metadata.views,
        manifests: metadata.manifests,
        tasks: metadata.tasks,
        policies,
        onChanged: index.onChanged,
        onPlanned: () => {
          planned += 1;
        },
        clock,
        log,
        metrics: new ReplicationMetrics(new Registry(), metadata.tasks),
      },
      { region: SELF },
    ),
  );
  planner.start();
  const owned = stack.move();
  const planning = { metadata, index, policies, clock, log, planned: () => planned };
  return { ...planning, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
