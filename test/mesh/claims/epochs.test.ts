/** A region that was set back while nothing beside its database showed it: its peers do, as soon as they are heard. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClaimsCore } from '#mesh/claims/claims-core.ts';
import { epochOf, setTag, TinyMesh, type TinyRegion } from './tiny-mesh.ts';

const SETTLED_MS = 12_000;

/** Region 1 is set back to before its last three tags, and comes up without any link. */
function setBackAlone(): TinyMesh {
  const mesh = new TinyMesh(3);
  mesh.connect();
  const one = mesh.region(1);
  one.write(setTag('early', 'first'));
  mesh.settle();
  const backup = one.rows.copy();
  for (const tag of ['a', 'b', 'c']) one.write(setTag(tag, tag));
  mesh.settle();
  for (const other of [2, 3]) mesh.cut(1, other);
  one.rows = backup;
  one.start();
  return mesh;
}

function sequencesOf({ rows }: TinyRegion): readonly unknown[] {
  return rows.cursors.map(({ region, epoch, have }) => [region, epoch, have]);
}

test('epochs: while the store has not begun the epoch, no write is decided; a refusal is tried again', () => {
  const mesh = setBackAlone();
  const one = mesh.region(1);
  one.refuse = { output: 'begin-epoch', reason: 'the disk is full' };
  for (const other of [2, 3]) mesh.heal(1, other);
  mesh.settle();
  assert.equal(one.tryWrite(setTag('late', 'later')), undefined);
  mesh.pass(1000);
  assert.equal(one.rows.origin.sequence, 1);
  one.refuse = undefined;
  mesh.pass(SETTLED_MS);
  assert.deepEqual([one.rows.origin.epoch === epochOf(1), one.rows.origin.sequence], [false, 1]);
  for (const region of mesh.regions) assert.equal(region.digest('late'), one.digest('late'));
});

test('epochs: peers that come back later show it, the lost tail returns, and all become equal', () => {
  const mesh = setBackAlone();
  const one = mesh.region(1);
  mesh.pass(SETTLED_MS);
  assert.deepEqual(
    ['early', 'c'].map((tag) => one.digest(tag) === undefined),
    [false, true],
  );
  assert.equal(one.rows.origin.epoch, epochOf(1), 'nobody has said anything yet');
  mesh.heal(1, 2);
  mesh.settle();
  assert.notEqual(one.rows.origin.epoch, epochOf(1));
  assert.equal(one.rows.origin.sequence, 0);
  one.write(setTag('new', 'new'));
  mesh.heal(1, 3);
  mesh.pass(SETTLED_MS);
  for (const region of mesh.regions) {
    for (const tag of ['early', 'a', 'b', 'c', 'new']) assert.ok(region.digest(tag) !== undefined, tag);
  }
  assert.deepEqual(sequencesOf(one), [[1, epochOf(1), 4]]);
  assert.deepEqual(one.events, [{ event: 'epoch-begun', reason: 'peer-ahead' }]);
  const { epoch, sequence } = one.rows.origin;
  assert.deepEqual(sequencesOf(mesh.region(2)), [
    [1, epochOf(1), 4],
    [1, epoch, sequence],
  ]);
  assert.equal(mesh.region(2).rows.fingerprint(), one.rows.fingerprint());
  assert.equal(mesh.region(3).rows.fingerprint(), one.rows.fingerprint());
});

test('epochs: a claim of the new epoch prevails over what it saw of the old one, and races with what it did not', () => {
  const mesh = setBackAlone();
  const one = mesh.region(1);
  mesh.heal(1, 2);
  // The peer's word is heard; what was lost has not come yet.
  mesh.settle();
  const isBack = one.digest('a') !== undefined;
  one.write(setTag('a', 'again'), setTag('early', 'second'));
  mesh.pass(SETTLED_MS);
  for (const region of [one, mesh.region(2)]) {
    assert.equal(region.view('early')?.conflict, false);
    assert.equal(region.view('a')?.conflict, !isBack);
  }
  assert.equal(one.digest('early'), mesh.region(2).digest('early'));
});

test('epochs: of an epoch that another one followed, a copy that cannot become exact is no lag; a hole is', () => {
  const mesh = new TinyMesh(2);
  const one = mesh.region(1);
  const [two] = [mesh.region(2).number];
  const cursors = [
    { region: two, epoch: epochOf(20), have: 3, safe: 1 },
    { region: two, epoch: epochOf(21), have: 1, safe: 1 },
  ];
  one.core = new ClaimsCore(
    { self: one.number, peers: [two], origin: one.rows.origin, cursors },
    mesh.config,
  );
  const lagsAfter = (have: number) => {
    const heads = cursors.map((cursor, at) => (at === 0 ? { ...cursor, have } : cursor));
    one.feed({ input: 'received', from: two, message: { type: 'summary', heads } });
    mesh.pass(1000);
    return one.core.status().followers.map(({ lagMs, behindClaims }) => [lagMs > 0, behindClaims]);
  };
  assert.deepEqual(lagsAfter(3), [[false, 0]]);
  assert.deepEqual(lagsAfter(4), [[true, 1]]);
});

test('epochs: a follower that confirms a commit before its answer has come proves nothing', () => {
  const mesh = new TinyMesh(2);
  mesh.connect();
  const one = mesh.region(1);
  one.write(setTag('a', 'a'));
  mesh.settle();
  one.isStoreSlow = true;
  one.tryWrite(setTag('b', 'b'));
  one.release(true);
  mesh.deliver({
    from: 2,
    to: 1,
    message: { type: 'ack', cursors: [{ region: one.number, epoch: epochOf(1), have: 2, safe: 2 }] },
  });
  one.release(false);
  mesh.pass(2000);
  assert.equal(one.rows.origin.epoch, epochOf(1));
  assert.deepEqual(one.events, []);
  mesh.assertEqual();
});
