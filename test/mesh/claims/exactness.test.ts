/**
 * When a copy may be called exact, and that it is again after whatever happened. Each of the first tests is a fault
 * that the simulation found once, in as few messages as show it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { CEILING_UNKNOWN } from '#mesh/claims/core-state.ts';
import type { DeltaMessage } from '#mesh/claims/message.ts';
import { claimOf, deltaOf, ONE } from './claims-by-hand.ts';
import { epochOf, REPOSITORY, setTag, TinyMesh, type TinyRegion } from './tiny-mesh.ts';

const EXACT_AT_TWO = deltaOf([], { from: 2, to: 2, head: 2 });
/** Claim 1 was replaced by 3 before the delta was read, and 3 is cut off: 2 is all that is left. */
const CUT_AT_TWO = deltaOf([claimOf(2)], { head: 3, exact: false });

function receive(region: TinyRegion, delta: DeltaMessage, from = 1): void {
  region.feed({ input: 'received', from: parseRegionNumber(from), message: delta });
}

function deltasOf(region: TinyRegion): readonly DeltaMessage[] {
  return region.sent.map(({ message }) => message).filter((message) => message.type === 'delta');
}

test('exactness: an older claim in an overlapping delta does not replace a newer one', () => {
  const region = new TinyMesh(2).region(2);
  const tag = { name: 'a' };
  region.isStoreSlow = true;
  receive(region, deltaOf([claimOf(1)], { exact: false, head: 4 }));
  receive(region, deltaOf([claimOf(3), claimOf(4, tag)], { from: 1 }));
  receive(region, deltaOf([claimOf(2, tag), claimOf(3)], { from: 1, exact: false, head: 4 }));
  region.release(false);
  assert.deepEqual(region.cursor(1), { have: 4, safe: 4 });
  assert.deepEqual(region.view('a')?.value, new Uint8Array([4]));
});

test('exactness: an old word of it is not believed where newer claims may hide older ones', () => {
  const region = new TinyMesh(2).region(2);
  receive(region, CUT_AT_TWO);
  assert.deepEqual(region.cursor(1), { have: 2, safe: 0 });
  receive(region, EXACT_AT_TWO);
  assert.deepEqual(region.cursor(1), { have: 2, safe: 0 });
  receive(region, deltaOf([claimOf(3, { name: 't1' })], { from: 2 }));
  assert.deepEqual(region.cursor(1), { have: 3, safe: 3 });
});

test('exactness: after a restart only the origin is believed, and not what is older than its last summary', () => {
  const region = new TinyMesh(3).region(2);
  receive(region, CUT_AT_TWO);
  region.start();
  receive(region, EXACT_AT_TWO, 3);
  assert.deepEqual(region.cursor(1), { have: 2, safe: 0 });
  const heads = [{ region: ONE, epoch: epochOf(1), have: 3, safe: 3 }];
  region.feed({ input: 'received', from: ONE, message: { type: 'summary', heads } });
  receive(region, EXACT_AT_TWO);
  assert.deepEqual(region.cursor(1), { have: 2, safe: 0 });
  receive(region, deltaOf([claimOf(3, { name: 't1' })], { from: 2 }));
  assert.deepEqual(region.cursor(1), { have: 3, safe: 3 });
});

test('exactness: a copy that does not know its holes says so to whom it relays', () => {
  const mesh = new TinyMesh(3);
  receive(mesh.region(2), CUT_AT_TWO);
  mesh.region(2).start();
  mesh.heal(2, 3);
  mesh.settle();
  mesh.pass(3000);
  const [relayed] = deltasOf(mesh.region(2));
  assert.deepEqual([relayed?.to, relayed?.exact, relayed?.head], [2, false, CEILING_UNKNOWN]);
  assert.deepEqual(mesh.region(3).cursor(1), { have: 2, safe: 0 });
  receive(mesh.region(3), EXACT_AT_TWO, 2);
  assert.deepEqual(mesh.region(3).cursor(1), { have: 2, safe: 0 });
  receive(mesh.region(3), EXACT_AT_TWO, 1);
  assert.deepEqual(mesh.region(3).cursor(1), { have: 2, safe: 2 });
});

test('exactness: what is heard while a commit runs does not change what it committed', () => {
  const region = new TinyMesh(3).region(2);
  receive(region, CUT_AT_TWO);
  region.start();
  region.isStoreSlow = true;
  receive(region, EXACT_AT_TWO);
  receive(region, deltaOf([], { from: 2, to: 2, head: 9, exact: false }), 3);
  region.release(true);
  region.release(false);
  receive(region, deltaOf([claimOf(3, { name: 't1' })], { from: 2, exact: false, head: 9 }));
  assert.deepEqual(region.cursor(1), { have: 3, safe: 2 });
});

test('exactness: it is asked for and told again when only the word of it was lost', () => {
  const mesh = new TinyMesh(2, { deltaClaimsMax: 1 });
  mesh.region(1).write(setTag('a', 'one'));
  mesh.passes = ({ message }) => message.type !== 'delta' || !message.exact;
  mesh.connect();
  assert.deepEqual(mesh.region(2).cursor(1), { have: 1, safe: 0 });
  // The link that region 1 dials says nothing of the one by which it is followed.
  mesh.region(1).feed({ input: 'link-down', peer: parseRegionNumber(2) });
  mesh.passes = () => true;
  mesh.pass(2500);
  assert.deepEqual(mesh.region(2).cursor(1), { have: 1, safe: 1 });
});

test('exactness: a source that forgot its follower is asked by it, though no claim is missing', () => {
  const mesh = new TinyMesh(2, { deltaClaimsMax: 1 });
  mesh.region(1).write(setTag('a', 'one'));
  mesh.passes = ({ message }) => message.type !== 'delta' || !message.exact;
  mesh.connect();
  mesh.region(1).start();
  mesh.passes = () => true;
  mesh.pass(2500);
  assert.deepEqual(mesh.region(2).cursor(1), { have: 1, safe: 1 });
});

test('exactness: old news from one peer does not keep a region from asking another', () => {
  const mesh = new TinyMesh(3);
  const [second, three] = [mesh.region(2), parseRegionNumber(3)];
  second.feed({ input: 'link-up', peer: ONE });
  second.feed({ input: 'link-up', peer: three });
  receive(second, deltaOf([claimOf(1)]));
  const heads = [{ region: ONE, epoch: epochOf(1), have: 5, safe: 5 }];
  second.feed({ input: 'received', from: ONE, message: { type: 'summary', heads } });
  second.sent.length = 0;
  for (let passed = 0; passed < 15; passed += 1) {
    mesh.nowMs += 100;
    receive(second, deltaOf([], { from: 1, to: 1, head: 1 }), 3);
    second.feed({ input: 'tick' });
  }
  const asked = second.sent.filter(({ to, message }) => to === ONE && message.type === 'follow');
  assert.equal(asked.length, 1);
});

test('exactness: a cut delta waits for commits under way, so that its head is not older than its claims', () => {
  const mesh = new TinyMesh(2, { deltaClaimsMax: 1 });
  const first = mesh.region(1);
  first.write(setTag('a', 'one'));
  first.write(setTag('b', 'two'));
  const two = parseRegionNumber(2);
  first.isStoreSlow = true;
  first.feed({
    input: 'write',
    id: 99,
    changes: [{ change: 'delete-tag', repository: REPOSITORY, tag: 'a' }],
    principal: 'alice',
  });
  first.release(true);
  // The commit is done, its answer is under way: the read that comes now misses claim 1, and would name head 2.
  assert.equal(first.rows.origin.sequence, 3);
  const follow = { type: 'follow', cursors: [], creditBytes: 1_000_000 } as const;
  first.feed({ input: 'received', from: two, message: follow });
  const [read] = first.rows.range({ region: ONE, epoch: epochOf(1), after: 0, maxCount: 1, maxBytes: 99 });
  assert.equal(read?.sequence, 2);
  first.release(false, 'newest-first');
  assert.deepEqual(deltasOf(first).map(({ from, to, head, exact }) => ({ from, to, head, exact }))[0], {
    from: 0,
    to: 2,
    head: 3,
    exact: false,
  });
  assert.equal(first.rows.view({ kind: CLAIM_KIND.tag, repository: REPOSITORY, name: 'a' })?.live, false);
});
