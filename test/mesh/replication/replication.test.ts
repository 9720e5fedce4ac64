/** All of replication together: from a policy that is applied and a tag that appears to an image that is whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PolicyBook } from '#mesh/replication/policy-book.ts';
import { startReplication } from '#mesh/replication/replication.ts';
import { isComplete } from '#mesh/replication/wanted.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import { openTemporaryMetadata } from '#test/storage/temporary.ts';
import {
  contextOf,
  imageOf,
  ROSTER,
  recordingLog,
  replicationText,
  SELF,
  TestClosure,
  TestIndex,
  tasksOf,
  until,
} from './fixture.ts';
import { ManualClock } from './manual-clock.ts';

test('replication: an applied policy copies what is there and what comes, without waiting for any timer', async () => {
  await using metadata = await openTemporaryMetadata();
  const [before, after, excluded] = [imageOf('before'), imageOf('after'), imageOf('excluded')];
  const index = new TestIndex(metadata);
  const closure = new TestClosure(metadata, [before, after, excluded]);
  const [clock, log] = [new ManualClock(), recordingLog()];
  const { onChanged } = index;
  await using policies = await PolicyBook.open({
    views: metadata.views,
    claims: index,
    roster: ROSTER,
    onChanged,
    clock,
    log,
  });
  await using _replication = startReplication(
    { metadata, policies, onChanged, closure, clock, random: systemRandom, log, metrics: new Registry() },
    { region: SELF },
  );
  const isHere = async (image: typeof before) =>
    isComplete(await metadata.manifests.presence(image.manifest.digest));

  await index.tag('prod/web', 'v1', before.manifest.digest);
  await index.tag('prod/secret/web', 'v1', excluded.manifest.digest);
  const select = '{repositories: ["prod/**", "!prod/secret/**"]}';
  await policies.apply(replicationText('prod', { select }), 'f.yaml', contextOf());
  await until(() => isHere(before));
  await index.tag('prod/api', 'v1', after.manifest.digest);
  await until(() => isHere(after));

  assert.equal(await isHere(excluded), false);
  await until(async () => (await tasksOf(metadata)).every((task) => task.state === 'done'));
  assert.equal((await tasksOf(metadata)).length, 2);
  await policies.remove('prod', contextOf());
  await until(async () => (await tasksOf(metadata)).length === 0);
});
