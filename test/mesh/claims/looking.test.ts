/** Writes that looked at other regions first: what they cover before it has arrived, and what they must not cover. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Dot } from '#domain/dot.ts';
import { decodeClaim, encodeClaim } from '#mesh/claims/claim-codec.ts';
import { claimOf } from './claims-by-hand.ts';
import { deleteTag, digestNamed, epochOf, setTag, TinyMesh, type TinyRegion, tagKey } from './tiny-mesh.ts';

const HOUR_MS = 3_600_000;

function connected(count: number): TinyMesh {
  const mesh = new TinyMesh(count);
  mesh.connect();
  return mesh;
}

/** Deltas are lost until `passes` lets them through again. */
function withoutDeltas(count: number): TinyMesh {
  const mesh = connected(count);
  mesh.passes = ({ message }) => message.type !== 'delta';
  return mesh;
}

function contextOf(region: TinyRegion, tag: string): readonly Dot[] {
  const own = region
    .claimsOf(tag)
    .map(decodeClaim)
    .find(({ dot }) => dot.region === region.number);
  assert.ok(own !== undefined);
  return own.context;
}

function conflictsOf({ events }: TinyRegion) {
  return events.filter(({ event }) => event.startsWith('conflict'));
}

test('look: a malformed claim refuses the write', () => {
  const region = new TinyMesh(1).region(1);
  assert.match(String(region.tryWriteHaving([new Uint8Array(3)], setTag('a', 'one'))), /too few/);
  assert.equal(region.view('a'), undefined);
});

test('look: without it, the region whose clock is an hour behind loses although it wrote later', () => {
  const mesh = withoutDeltas(2);
  mesh.region(2).clockOffsetMs = -HOUR_MS;
  mesh.region(1).write(setTag('a', 'first'));
  mesh.region(2).write(setTag('a', 'second'));
  mesh.passes = () => true;
  mesh.pass(3000);
  assert.equal(mesh.region(1).digest('a'), digestNamed('first'));
  assert.equal(mesh.region(1).view('a')?.conflict, true);
});

test('look: a write prevails over what it saw elsewhere, in whatever order the claims arrive', () => {
  for (const firstHeard of [1, 2]) {
    const mesh = withoutDeltas(3);
    mesh.region(2).clockOffsetMs = -HOUR_MS;
    mesh.region(1).write(setTag('a', 'first'));
    mesh.region(2).tryWriteHaving(mesh.region(1).claimsOf('a'), setTag('a', 'second'));
    assert.equal(mesh.region(2).digest('a'), digestNamed('second'));
    mesh.passes = ({ message }) => message.type !== 'delta' || message.region === firstHeard;
    mesh.pass(3000);
    mesh.passes = () => true;
    mesh.pass(3000);
    mesh.assertEqual();
    for (const region of mesh.regions) {
      assert.equal(region.digest('a'), digestNamed('second'));
      assert.equal(region.view('a')?.conflict, false);
      assert.deepEqual(conflictsOf(region), [], `region ${region.number}, which heard ${firstHeard} first`);
    }
  }
});

test('look: what a covered claim had replaced stays replaced when it arrives late', () => {
  const mesh = connected(3);
  mesh.region(3).clockOffsetMs = HOUR_MS;
  mesh.region(3).write(setTag('a', 'zeroth'));
  mesh.settle();
  mesh.passes = ({ message }) => message.type !== 'delta';
  mesh.region(1).write(setTag('a', 'first'));
  mesh.region(2).tryWriteHaving(mesh.region(1).claimsOf('a'), setTag('a', 'second'));
  assert.deepEqual(
    contextOf(mesh.region(2), 'a').map(({ region, sequence }) => [region, sequence]),
    [
      [1, 1],
      [3, 1],
    ],
  );
});

test('look: a claim that was made after it is not covered, and conflicts', () => {
  const mesh = withoutDeltas(2);
  mesh.region(1).write(setTag('a', 'first'));
  const seen = mesh.region(1).claimsOf('a');
  mesh.region(1).write(setTag('a', 'unseen'));
  mesh.region(2).tryWriteHaving(seen, setTag('a', 'second'));
  mesh.passes = () => true;
  mesh.pass(3000);
  mesh.assertEqual();
  assert.equal(mesh.region(1).view('a')?.conflict, true);
});

test('look: a delete removes a tag that it only saw elsewhere, and one of a tag that is nowhere mints nothing', () => {
  const mesh = withoutDeltas(2);
  mesh.region(1).write(setTag('a', 'first'));
  mesh.region(2).tryWriteHaving(mesh.region(1).claimsOf('a'), deleteTag('a'), deleteTag('nowhere'));
  assert.equal(mesh.region(2).rows.origin.sequence, 1);
  mesh.passes = () => true;
  mesh.pass(3000);
  mesh.assertEqual();
  assert.equal(mesh.region(1).digest('a'), undefined);
});

test('look: claims of another tag are not covered', () => {
  const mesh = withoutDeltas(2);
  mesh.region(1).write(setTag('a', 'first'));
  mesh.region(2).tryWriteHaving(mesh.region(1).claimsOf('a'), setTag('b', 'second'));
  assert.deepEqual(contextOf(mesh.region(2), 'b'), []);
});

test('look: what others say of our own origin is left out, so that the claim stays well-formed', () => {
  const region = new TinyMesh(2).region(1);
  const [later, others] = [
    claimOf(99, { name: 'a' }),
    claimOf(7, {
      name: 'a',
      dot: { region: region.number, epoch: epochOf(9), sequence: 7 },
      context: [{ region: region.number, epoch: epochOf(1), sequence: 50 }],
    }),
  ];
  region.tryWriteHaving([later.bytes, others.bytes], setTag('a', 'mine'));
  const [claim] = region.claimsOf('a').map(decodeClaim);
  assert.ok(claim !== undefined);
  assert.deepEqual(claim.context, [{ region: region.number, epoch: epochOf(9), sequence: 7 }]);
  assert.doesNotThrow(() => encodeClaim(claim));
});

test('look: a write that covers both sides closes a conflict, once in every region', () => {
  const mesh = withoutDeltas(2);
  mesh.region(1).write(setTag('a', 'one'));
  mesh.region(2).write(setTag('a', 'two'));
  mesh.passes = () => true;
  mesh.pass(3000);
  mesh.region(2).write(setTag('a', 'settled'), setTag('a', 'settled again'));
  mesh.pass(3000);
  mesh.assertEqual();
  const key = tagKey('a');
  for (const region of mesh.regions) {
    assert.deepEqual(conflictsOf(region), [
      { event: 'conflict', key },
      { event: 'conflict-closed', key },
    ]);
  }
});
