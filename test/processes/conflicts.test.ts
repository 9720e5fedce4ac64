/**
 * Conflicts over real regions: two people who push one after the other never make one, two who could not see each
 * other do, everybody is told alike, the loser is not lost, and whoever settles it settles it everywhere.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TagConflict } from '#http/views.ts';
import { imageOf, managementOf, metricOf, statusOf, until } from './management.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';
import { makeImage, pullImage, pushImage, type TestImage } from './registry-calls.ts';

const [EU, US, AP] = REGIONS as [(typeof REGIONS)[0], (typeof REGIONS)[0], (typeof REGIONS)[0]];
const FAIRWAY = join(import.meta.dirname, '../../node/cli/fairway.ts');
const ALL = [0, 1, 2];

describe('conflicts', () => {
  let mesh: MeshUnderTest;

  before(async () => {
    mesh = await startMesh();
    await until('every link is up', async () => await areLinksUp());
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
    assert.deepEqual(mesh.ended, []);
  });

  const areLinksUp = async () => {
    const all = await Promise.all(ALL.map(async (position) => await statusOf(mesh.region(position))));
    return all.every(({ peers }) => peers.every(({ up }) => up));
  };

  const listIn = async (position: number): Promise<readonly TagConflict[]> => {
    const api = await managementOf(mesh.region(position));
    const { json } = await api.request('GET', '/api/v1/conflicts');
    return (json as { readonly conflicts: readonly TagConflict[] }).conflicts;
  };

  const isListed = async (count: number) => {
    const lists = await Promise.all(ALL.map(listIn));
    const gauges = await Promise.all(
      ALL.map(async (position) => await metricOf(mesh.region(position), 'fairway_conflicts')),
    );
    return [...lists.map(({ length }) => length), ...gauges].every((found) => found === count);
  };

  const fairway = async (...args: readonly string[]) =>
    await new Promise<{ readonly code: number; readonly out: string; readonly err: string }>((resolve) => {
      const words = [FAIRWAY, 'conflicts', ...args, '--data', mesh.data];
      execFile(process.execPath, words, (error, out, err) => {
        resolve({ code: error === null ? 0 : Number(error.code), out, err });
      });
    });

  /** eu-west and us-east push one tag while us-east is cut off. */
  const makeConflict = async (repository: string): Promise<readonly [TestImage, TestImage]> => {
    for (const other of [EU, AP]) mesh.mesh.cut(US, other);
    const [one, two] = [makeImage(1000), makeImage(1000)];
    await pushImage(mesh.url(0), repository, 'v1', one);
    await pushImage(mesh.url(1), repository, 'v1', two);
    for (const other of [EU, AP]) mesh.mesh.heal(US, other);
    await until('the conflict is known everywhere', async () => await isListed(1));
    return [one, two];
  };

  test('conflicts: pushes one after the other, in regions 300 ms apart, never make one', async () => {
    for (const [one, other] of [
      [EU, US],
      [EU, AP],
      [US, AP],
    ] as const) {
      mesh.mesh.shape(one, other, { delayMs: 150, bytesPerSecond: 0 });
      mesh.mesh.shape(other, one, { delayMs: 150, bytesPerSecond: 0 });
    }
    const measured = async () =>
      (await Promise.all(ALL.map(async (position) => await statusOf(mesh.region(position))))).every(
        ({ peers }) => peers.every(({ up, roundTripMs }) => up && roundTripMs > 250),
      );
    await until('every region has measured the distance', measured);
    let last = makeImage(100);
    for (let round = 0; round < 9; round += 1) {
      last = makeImage(100);
      await pushImage(mesh.url(round % 3), 'turns/app', 'v1', last);
    }
    const isLast = async (position: number) =>
      (await imageOf(mesh.region(position), 'turns/app:v1')).digest === last.digest;
    await until('every region shows the last push', async () =>
      (await Promise.all(ALL.map(isLast))).every(Boolean),
    );
    for (const position of ALL) {
      const series = 'fairway_index_events_total{event="conflict"}';
      assert.equal(await metricOf(mesh.region(position), series), 0, 'not even for a moment');
    }
    for (const [one, other] of [
      [EU, US],
      [EU, AP],
      [US, AP],
    ] as const) {
      mesh.mesh.shape(one, other, { delayMs: 0, bytesPerSecond: 0 });
      mesh.mesh.shape(other, one, { delayMs: 0, bytesPerSecond: 0 });
    }
  });

  test('conflicts: all regions list both sides alike, and one that settles it settles it for all', async () => {
    assert.deepEqual(await fairway(), { code: 0, out: 'No conflicts.\n', err: '' });
    const [one, two] = await makeConflict('both/app');

    const lists = await Promise.all(ALL.map(listIn));
    assert.deepEqual(lists[1], lists[0]);
    assert.deepEqual(lists[2], lists[0]);
    const [conflict] = lists[0] ?? [];
    assert.deepEqual(
      conflict?.sides.map(({ digest, region, wins }) => [digest, region, wins]),
      [
        [two.digest, US, true],
        [one.digest, EU, false],
      ],
    );
    assert.equal(conflict?.sinceMs, conflict?.sides[0]?.changedMs);
    for (const position of ALL) {
      assert.equal(await pullImage(mesh.url(position), 'both/app', one.digest), one.digest);
      assert.equal(await pullImage(mesh.url(position), 'both/app', 'v1'), two.digest);
    }

    const listed = await fairway();
    assert.deepEqual([listed.code, listed.err], [1, '']);
    assert.match(listed.out, new RegExp(`^both/app:v1 .* wins .*${two.digest} .*${US}`, 'm'));
    const shown = await fairway('show', 'both/app:v1', '--json', '--region', AP);
    assert.deepEqual(JSON.parse(shown.out), conflict);
    const refused = await fairway('resolve', 'both/app:v1', '--to', makeImage(1).digest);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /is no side of the conflict of both\/app:v1; there are sha256:/);

    const resolved = await fairway('resolve', 'both/app:v1', '--to', EU, '--region', AP);
    assert.deepEqual(resolved, { code: 0, out: `both/app:v1 is ${one.digest}\n`, err: '' });
    await until('the conflict is gone everywhere', async () => await isListed(0));
    for (const position of ALL) {
      assert.equal(await pullImage(mesh.url(position), 'both/app', 'v1'), one.digest);
      assert.equal(await pullImage(mesh.url(position), 'both/app', two.digest), two.digest);
    }
    const again = await fairway('resolve', 'both/app:v1', '--to', EU);
    assert.deepEqual([again.code, again.err], [1, 'fairway: both/app:v1 is in no conflict\n']);
    assert.equal((await fairway('show', 'both/app:v1')).code, 1);
  });

  test('conflicts: a push of somebody who sees both sides ends one, too', async () => {
    await makeConflict('pushed/app');
    const third = makeImage(1000);
    await pushImage(mesh.url(2), 'pushed/app', 'v1', third);
    await until('the conflict is gone everywhere', async () => await isListed(0));
    assert.equal(await pullImage(mesh.url(0), 'pushed/app', 'v1'), third.digest);
  });

  test('conflicts: a wrong call exits 2', async () => {
    assert.equal((await fairway('resolve', 'both/app:v1')).code, 2);
    assert.equal((await fairway('nonsense')).code, 2);
  });
});
