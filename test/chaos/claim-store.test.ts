/** The simulated store: guards, stamping, replacing and ranges, as `ClaimRows` promises them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClaimStore, type Committed } from '#chaos/claim-store.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { CLAIM_HEAD_BYTES, CLAIM_SEQUENCE_OFFSET } from '#domain/claim-layout.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { mintEpoch, parseRegionNumber } from '#domain/region.ts';
import type { ClaimBatch } from '#storage/metadata.ts';

const [one, two] = [parseRegionNumber(1), parseRegionNumber(2)];
const epoch = mintEpoch(1_000, 1);
const key = (name: string) => ({ kind: CLAIM_KIND.tag, repository: 'library/app', name });
const blank = () => new Uint8Array(CLAIM_HEAD_BYTES + 4);
const empty: ClaimBatch = {
  guards: [],
  own: [],
  foreign: [],
  views: [],
  cursors: [],
  observed: HYBRID_TIME_ZERO,
  manifests: [],
  nowMs: 5_000,
};

function open() {
  const store = new ClaimStore({ region: one, epoch, sequence: 0, time: HYBRID_TIME_ZERO });
  const seen: Committed[] = [];
  const commit = (batch: Partial<ClaimBatch>) =>
    store.commit({ ...empty, ...batch }, (each) => seen.push(each));
  return { store, commit, seen };
}

const write = (name: string, revision = 0): Partial<ClaimBatch> => ({
  guards: [{ key: key(name), revision }],
  own: [{ key: key(name), bytes: blank() }],
});

test('claim store: a stale guard refuses the whole commit', () => {
  const { store, commit, seen } = open();
  commit(write('a'));
  const stale = { ...write('a'), cursors: [{ region: two, epoch, have: 3, safe: 3 }] };
  assert.equal(commit(stale).outcome, 'conflict');
  assert.deepEqual([store.origin.sequence, store.cursors, seen.length], [1, [], 1]);
});

test('claim store: a change without a guard is a fault of the core', () => {
  const { commit } = open();
  assert.throws(() => commit({ own: [{ key: key('a'), bytes: blank() }] }), /without a guard/);
});

test('claim store: own claims are stamped densely, later than what was observed', () => {
  const { store, commit, seen } = open();
  const observed = { ms: 9_000, counter: 7 };
  const result = commit({
    guards: [
      { key: key('a'), revision: 0 },
      { key: key('b'), revision: 0 },
    ],
    own: ['a', 'b'].map((name) => ({ key: key(name), bytes: blank() })),
    observed,
  });
  assert.deepEqual(result, { outcome: 'committed', firstSequence: 1, origin: store.origin });
  assert.deepEqual(seen[0]?.times, [
    { ms: 9_000, counter: 8 },
    { ms: 9_000, counter: 9 },
  ]);
  assert.equal(store.origin.sequence, 2);
  const [, second] = seen[0]?.own ?? [];
  assert.equal(
    new DataView(second?.bytes.buffer ?? new ArrayBuffer(64)).getUint32(CLAIM_SEQUENCE_OFFSET + 4),
    2,
  );
});

test("claim store: an origin's newer claim of a key replaces its former one, others' stay", () => {
  const { store, commit } = open();
  commit(write('a'));
  commit(write('a', 1));
  const dot = { region: two, epoch, sequence: 8 };
  commit({ guards: [{ key: key('a'), revision: 2 }], foreign: [{ key: key('a'), dot, bytes: blank() }] });
  assert.deepEqual(
    store.claimsOf(key('a')).map((claim) => [claim.dot.region, claim.dot.sequence]),
    [
      [1, 2],
      [2, 8],
    ],
  );
  assert.deepEqual([...(store.originMap({ region: one, epoch })?.bySequence.keys() ?? [])], [2]);
  assert.equal(
    store
      .ofKeys([key('a'), key('never')])
      .map((row) => row.revision)
      .join(),
    '3,0',
  );
});

test('claim store: a range is in order, bounded, and gives at least one claim', () => {
  const { store, commit } = open();
  for (const name of ['a', 'b', 'c', 'd']) commit(write(name));
  const range = (after: number, maxCount: number, maxBytes: number) =>
    store.range({ region: one, epoch, after, maxCount, maxBytes }).map((claim) => claim.sequence);
  assert.deepEqual(range(0, 10, 1_000), [1, 2, 3, 4]);
  assert.deepEqual(range(1, 2, 1_000), [2, 3]);
  assert.deepEqual(range(0, 10, 2 * blank().length), [1, 2]);
  assert.deepEqual(range(2, 10, 1), [3]);
  assert.deepEqual(range(4, 10, 1_000), []);
});

test('claim store: the sum of equal maps is equal, whatever order they grew in', () => {
  const claims = ['a', 'b', 'c'].map((name, at) => {
    const bytes = blank();
    bytes[0] = at;
    return { key: key(name), dot: { region: two, epoch, sequence: at + 1 }, bytes };
  });
  const [forward, backward] = [open(), open()];
  const apply = (into: typeof forward, claim: (typeof claims)[number]) =>
    into.commit({ guards: [{ key: claim.key, revision: 0 }], foreign: [claim] });
  for (const claim of claims) apply(forward, claim);
  for (const claim of claims.toReversed()) apply(backward, claim);
  const sums = [forward, backward].map(({ store }) => store.originMap({ region: two, epoch })?.sum);
  assert.equal(sums[0], sums[1]);
  assert.notEqual(sums[0], 0);
});
