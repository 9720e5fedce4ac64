/** What a peer sends that no honest peer sends: refused as a whole, told to the operator, and nothing else suffers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import { ORIGINS_MAX } from '#mesh/claims/core-state.ts';
import type { DeltaMessage } from '#mesh/claims/message.ts';
import type { StoredClaim } from '#storage/metadata.ts';
import { claimOf, deltaOf, ONE } from './claims-by-hand.ts';
import { epochOf, setTag, TinyMesh, type TinyRegion } from './tiny-mesh.ts';

function receive(region: TinyRegion, delta: DeltaMessage, from = 1): void {
  region.feed({ input: 'received', from: parseRegionNumber(from), message: delta });
}

function manifestClaim(
  sequence: number,
  bytes: Uint8Array,
  name: string,
  kind: number = CLAIM_KIND.manifest,
): StoredClaim {
  return { ...claimOf(sequence, { kind, name }), manifest: { mediaType: MEDIA_TYPE.ociIndex, bytes } };
}

const good = claimOf(1);
const text = new TextEncoder();
const cut = { sequence: 2, bytes: claimOf(2).bytes.slice(0, -1) };
const GARBAGE: readonly (readonly [what: string, delta: DeltaMessage, reason: RegExp])[] = [
  ['a claim that is cut', deltaOf([good, cut]), /ends in the middle/],
  ['no claim at all', deltaOf([{ sequence: 1, bytes: new Uint8Array(0) }]), /too few/],
  [
    'a claim of another region',
    deltaOf([claimOf(1, { dot: { region: parseRegionNumber(3), epoch: epochOf(1), sequence: 1 } })]),
    /origin and place/,
  ],
  [
    'a claim of another epoch',
    deltaOf([claimOf(1, { dot: { region: ONE, epoch: epochOf(9), sequence: 1 } })]),
    /origin and place/,
  ],
  ['a claim under another number', deltaOf([{ ...good, sequence: 2 }]), /origin and place/],
  ['claims in the wrong order', deltaOf([claimOf(2), claimOf(1)], { to: 2, head: 2 }), /not in order/],
  ['a claim twice', deltaOf([good, good]), /not in order/],
  ['a claim behind the end', deltaOf([good, claimOf(2)], { to: 1, head: 1 }), /not in order/],
  ['a claim before the beginning', deltaOf([good], { from: 1 }), /not in order/],
  ['an end before the beginning', deltaOf([], { from: 3, to: 2, head: 5 }), /no range/],
  ['a head before the end', deltaOf([good], { head: 0 }), /no range/],
  ['a number that is none', deltaOf([], { to: Number.NaN, head: 1 }), /no range/],
  ['exactness before the head', deltaOf([good], { head: 2 }), /its head is 2/],
  [
    'too many claims',
    deltaOf(Array.from({ length: 4001 }, (_, at) => claimOf(at + 1))),
    /4001 claims are too many/,
  ],
  [
    'too many bytes',
    deltaOf(
      Array.from({ length: 17 }, (_, at) =>
        claimOf(at + 1, { kind: CLAIM_KIND.policy, value: new Uint8Array(65_000) }),
      ),
    ),
    /bytes are too many/,
  ],
  [
    'a manifest of another digest',
    deltaOf([manifestClaim(1, text.encode('{}'), digestOf('other'))]),
    /another digest/,
  ],
  [
    'a manifest beside a tag',
    deltaOf([manifestClaim(1, text.encode('{}'), digestOf('{}'), CLAIM_KIND.tag)]),
    /announces none/,
  ],
  [
    'a manifest that is too large to ride',
    deltaOf([manifestClaim(1, new Uint8Array(65_537), digestOf(new Uint8Array(65_537)))]),
    /riding manifest has 65537/,
  ],
];

for (const [what, delta, reason] of GARBAGE) {
  test(`refusal: ${what} refuses the whole delta, and what follows is applied`, () => {
    const region = new TinyMesh(2).region(2);
    receive(region, delta);
    const [event, ...others] = region.events;
    assert.ok(event?.event === 'refused-delta' && event.from === 1, JSON.stringify(event));
    assert.match(event.reason, reason);
    assert.deepEqual(others, []);
    assert.deepEqual(region.sent, []);
    assert.equal(region.rows.fingerprint(), '');
    assert.deepEqual(region.rows.cursors, []);
    receive(region, deltaOf([good]));
    assert.deepEqual(region.cursor(1), { have: 1, safe: 1 });
  });
}

test('refusal: a manifest that this version cannot read is left out, its claim is kept', () => {
  const region = new TinyMesh(2).region(2);
  const bytes = text.encode('{"schemaVersion": 3}');
  receive(region, deltaOf([manifestClaim(1, bytes, digestOf(bytes)), claimOf(2)]));
  assert.deepEqual(region.events, []);
  assert.deepEqual(region.cursor(1), { have: 2, safe: 2 });
  const stored = region.rows.range({ region: ONE, epoch: epochOf(1), after: 0, maxCount: 9, maxBytes: 9999 });
  assert.deepEqual(
    stored.map(({ manifest }) => manifest),
    [undefined, undefined],
  );
});

test('refusal: claims of unknown kinds and with unknown flags are stored and passed on as they came', () => {
  const mesh = new TinyMesh(3);
  const unknown = [claimOf(1, { kind: 200 }), claimOf(2, { flags: 4, extension: new Uint8Array([9, 9]) })];
  mesh.region(2).feed({ input: 'received', from: ONE, message: deltaOf(unknown) });
  mesh.heal(2, 3);
  mesh.settle();
  mesh.pass(5000);
  const passedOn = mesh
    .region(3)
    .rows.range({ region: ONE, epoch: epochOf(1), after: 0, maxCount: 9, maxBytes: 9999 });
  assert.deepEqual(passedOn, unknown);
});

test('refusal: what comes from outside the roster is not looked at', () => {
  const region = new TinyMesh(2).region(2);
  receive(region, deltaOf([good]), 7);
  region.feed({ input: 'link-up', peer: parseRegionNumber(7) });
  region.feed({ input: 'link-down', peer: parseRegionNumber(7) });
  assert.deepEqual([region.sent, region.events, region.rows.cursors], [[], [], []]);
});

test('refusal: claims of our own epoch are not taken from others', () => {
  const region = new TinyMesh(2).region(1);
  receive(region, deltaOf([good]), 2);
  assert.deepEqual([region.rows.fingerprint(), region.rows.cursors, region.events], ['', [], []]);
  region.write(setTag('a', 'one'));
  assert.equal(region.rows.origin.sequence, 1);
});

test('refusal: claims of a former epoch of ours are taken back from others', () => {
  const region = new TinyMesh(2).region(1);
  const former = parseEpoch('0000000000000abc');
  const claim = claimOf(1, { dot: { region: ONE, epoch: former, sequence: 1 } });
  receive(region, deltaOf([claim], { epoch: former }), 2);
  assert.deepEqual(region.rows.cursors, [{ region: 1, epoch: former, have: 1, safe: 1 }]);
});

test('refusal: origins are bounded, and known ones go on', () => {
  const region = new TinyMesh(2).region(2);
  receive(region, deltaOf([good]));
  const heads = (count: number) =>
    Array.from({ length: count }, (_, at) => ({ region: ONE, epoch: epochOf(at + 5), have: 1, safe: 1 }));
  region.feed({ input: 'received', from: ONE, message: { type: 'summary', heads: heads(ORIGINS_MAX + 1) } });
  assert.match(JSON.stringify(region.events), /summary names 1025 origins/);
  region.feed({ input: 'received', from: ONE, message: { type: 'summary', heads: heads(ORIGINS_MAX) } });
  assert.equal(region.core.status().origins.length, ORIGINS_MAX);
  const other = claimOf(1, { dot: { region: ONE, epoch: epochOf(9999), sequence: 1 } });
  receive(region, deltaOf([other], { epoch: epochOf(9999) }));
  assert.match(JSON.stringify(region.events.at(-1)), /too many origins/);
  receive(region, deltaOf([claimOf(2)], { from: 1 }));
  assert.deepEqual(region.cursor(1), { have: 2, safe: 2 });
});

test('refusal: an apply that the store refuses is made up for after a summary', () => {
  const mesh = new TinyMesh(2);
  mesh.connect();
  for (const output of ['read-keys', 'commit'] as const) {
    mesh.region(2).refuse = { output, reason: 'the disk is full' };
    mesh.region(1).write(setTag('a', output));
    mesh.settle();
    const { have } = mesh.region(2).cursor(1);
    assert.ok(have < mesh.region(1).rows.origin.sequence);
    mesh.region(2).refuse = undefined;
    mesh.pass(3000);
    mesh.assertEqual();
  }
});

test('refusal: a read for sending that the store refuses is made up for', () => {
  const mesh = new TinyMesh(2);
  mesh.connect();
  mesh.region(1).refuse = { output: 'read-range', reason: 'busy' };
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.region(1).refuse = undefined;
  mesh.pass(2000);
  mesh.assertEqual();
});
