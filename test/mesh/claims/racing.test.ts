/** Writes that did and did not see each other, in different regions: the same outcome everywhere, and nothing lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestFromBytes } from '#domain/digest.ts';
import { resolveStored } from '#mesh/claims/claim-view.ts';
import { deleteTag, digestNamed, setTag, TinyMesh, tagKey } from './tiny-mesh.ts';

const HOUR_MS = 3_600_000;

function connected(count: number): TinyMesh {
  const mesh = new TinyMesh(count);
  mesh.connect();
  return mesh;
}

test('race: two regions that move one tag unseen conflict, with the same winner everywhere and the loser kept', () => {
  const mesh = connected(3);
  mesh.region(1).write(setTag('a', 'one'));
  mesh.nowMs += 1;
  mesh.region(3).write(setTag('a', 'three'));
  mesh.nowMs += 1;
  mesh.region(2).write(setTag('a', 'two'));
  mesh.settle();
  mesh.pass(2000);
  mesh.assertEqual();
  for (const region of mesh.regions) {
    assert.equal(region.digest('a'), digestNamed('two'));
    assert.equal(region.view('a')?.conflict, true);
    assert.deepEqual(
      region.events.filter(({ event }) => event === 'conflict'),
      [{ event: 'conflict', key: tagKey('a') }],
    );
    const [stored] = region.rows.ofKeys([tagKey('a')]);
    const losers = resolveStored(stored?.claims ?? []).losers.map(({ value }) => digestFromBytes(value));
    assert.deepEqual(losers.sort(), [digestNamed('one'), digestNamed('three')].sort());
  }
  mesh.region(1).write(setTag('a', 'settled'));
  mesh.settle();
  mesh.assertEqual();
  for (const region of mesh.regions) {
    assert.equal(region.digest('a'), digestNamed('settled'));
    assert.equal(region.view('a')?.conflict, false);
  }
});

test('race: equal values are no conflict', () => {
  const mesh = connected(2);
  mesh.region(1).write(setTag('a', 'same'));
  mesh.region(2).write(setTag('a', 'same'));
  mesh.settle();
  mesh.assertEqual();
  assert.equal(mesh.region(1).view('a')?.conflict, false);
  assert.deepEqual(mesh.region(1).events, []);
});

test('race: a write that saw another prevails, though its clock is an hour behind', () => {
  const mesh = connected(3);
  mesh.region(2).clockOffsetMs = -HOUR_MS;
  mesh.region(1).clockOffsetMs = HOUR_MS;
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.region(2).write(setTag('a', 'two'));
  mesh.settle();
  mesh.pass(1000);
  mesh.assertEqual();
  for (const region of mesh.regions) {
    assert.equal(region.digest('a'), digestNamed('two'));
    assert.equal(region.view('a')?.conflict, false);
  }
});

test('race: a clock far ahead does not become ours', () => {
  const mesh = connected(2);
  mesh.region(1).clockOffsetMs = HOUR_MS;
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.region(2).write(setTag('b', 'two'));
  assert.equal(mesh.region(2).rows.origin.time.ms, mesh.nowMs);
});

test('race: a clock a little ahead becomes ours, so that our next write is later', () => {
  const mesh = connected(2);
  mesh.region(1).clockOffsetMs = 500;
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.region(2).write(setTag('b', 'two'));
  assert.deepEqual(mesh.region(2).rows.origin.time, { ms: mesh.nowMs + 500, counter: 1 });
});

test('race: a delete removes what it saw, never a push that it did not see', () => {
  const mesh = connected(3);
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.region(3).write(setTag('a', 'unseen'));
  // The delete is the later one by every clock.
  mesh.nowMs += HOUR_MS;
  mesh.region(2).write(deleteTag('a'));
  assert.equal(mesh.region(2).digest('a'), undefined);
  mesh.settle();
  mesh.pass(2000);
  mesh.assertEqual();
  for (const region of mesh.regions) {
    assert.equal(region.digest('a'), digestNamed('unseen'));
    assert.equal(region.view('a')?.conflict, false);
  }
  mesh.region(1).write(deleteTag('a'));
  mesh.settle();
  mesh.assertEqual();
  assert.equal(mesh.region(3).digest('a'), undefined);
});

test('race: what a delete covered does not come back from a region that was away', () => {
  const mesh = connected(3);
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.cut(1, 3);
  mesh.cut(2, 3);
  mesh.region(2).write(deleteTag('a'));
  mesh.settle();
  mesh.nowMs += 30 * 24 * HOUR_MS;
  mesh.restart(3);
  assert.equal(mesh.region(3).digest('a'), digestNamed('one'));
  mesh.heal(1, 3);
  mesh.settle();
  mesh.pass(5000);
  mesh.assertEqual();
  assert.deepEqual(
    mesh.regions.map((region) => region.digest('a')),
    [undefined, undefined, undefined],
  );
});

test('race: a claim covers what its region had seen, also where the seen one arrives last', () => {
  const mesh = connected(3);
  mesh.cut(1, 3);
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.region(2).write(setTag('a', 'two'));
  mesh.settle();
  assert.equal(mesh.region(3).digest('a'), digestNamed('two'));
  mesh.region(3).write(setTag('a', 'three'));
  mesh.settle();
  mesh.heal(1, 3);
  mesh.settle();
  mesh.pass(3000);
  mesh.assertEqual();
  assert.equal(mesh.region(1).digest('a'), digestNamed('three'));
  assert.equal(mesh.region(1).view('a')?.conflict, false);
});

test('race: changed keys are told for views that changed, and for no others', () => {
  const mesh = connected(2);
  mesh.region(2).write(setTag('a', 'loser'));
  mesh.wire = [];
  mesh.nowMs += 10;
  mesh.region(1).write(setTag('a', 'winner'));
  mesh.region(1).changed.length = 0;
  mesh.pass(3000);
  mesh.assertEqual();
  // The loser makes it a conflict; its arriving a second time changes nothing.
  assert.deepEqual(mesh.region(1).changed, [{ kind: CLAIM_KIND.tag, repository: 'team/app', name: 'a' }]);
});
