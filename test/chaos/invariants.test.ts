/**
 * Every invariant, shown a fault and shown that the healthy state next to it passes: a check that cannot fail would
 * be worse than none.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HeldClaim, originText } from '#chaos/claim-store.ts';
import {
  i1AcknowledgedIsKept,
  i1StandingIsVisible,
  i2DeletedStaysDeleted,
  i3ExactCopiesAreEqual,
  i3SameBytes,
  i4OneDotOneContent,
  i5CursorsOnlyGrow,
  i6ViewFollowsFromClaims,
  i11TagsVanishByDeletesOnly,
  i12StateIsBounded,
  i13BecomesEqual,
  i15OnlyTrueBytes,
  i16RefusedIsInvisible,
  type KeyState,
  p5LookedIsCovered,
} from '#chaos/invariants.ts';
import type { KnownClaim, Past } from '#chaos/ledger.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { mintEpoch, parseRegionNumber } from '#domain/region.ts';
import type { ViewRow } from '#storage/metadata.ts';

const epoch = mintEpoch(1_000, 1);
const key = { kind: CLAIM_KIND.tag, repository: 'library/app', name: 'v1' };
const region = parseRegionNumber;

type Sketch = {
  readonly of: number;
  readonly sequence: number;
  readonly value?: string;
  readonly at?: number;
  readonly saw?: readonly (readonly [region: number, sequence: number])[];
};

/** A claim without a value is a delete. */
function claim({ of, sequence, value, at = sequence, saw = [] }: Sketch): KnownClaim {
  return {
    key,
    dot: { region: region(of), epoch, sequence },
    bytes: Uint8Array.of(of, sequence),
    hash: of * 1000 + sequence,
    live: value !== undefined,
    value: Buffer.from(value ?? ''),
    principal: 'anyone',
    time: { ms: at, counter: 0 },
    context: saw.map(([of, sequence]) => ({ region: region(of), epoch, sequence })),
    saw: past(saw),
  };
}

function past(saw: Sketch['saw'] = []): Past {
  return new Map(
    saw.map(([of, sequence]): [string, number] => [originText({ region: region(of), epoch }), sequence]),
  );
}

function shown(winner: KnownClaim, conflict = false): ViewRow {
  const { dot, live, value, time, principal } = winner;
  return { ...key, dot, live, value, changedMs: time.ms, principal, conflict };
}

/** Region 1's state of the key: what the claims replaced, of which everything that a delete saw was deleted. */
function state(
  stored: readonly KnownClaim[],
  view: ViewRow | undefined,
  refused: readonly KnownClaim[] = [],
): KeyState {
  const join = (claims: readonly KnownClaim[]) => {
    const joined = new Map<string, number>();
    for (const [of, sequence] of claims.flatMap((each) => [...each.saw])) {
      joined.set(of, Math.max(sequence, joined.get(of) ?? 0));
    }
    return joined;
  };
  const knowledge = {
    seen: past(),
    replaced: join(stored),
    deleted: join(stored.filter((each) => !each.live)),
  };
  return { region: region(1), key, view, stored, refused, knowledge };
}

const first = claim({ of: 1, sequence: 1, value: 'old' });
const retag = claim({ of: 2, sequence: 4, value: 'new', saw: [[1, 1]] });
const remove = claim({ of: 2, sequence: 5, saw: [[1, 1]] });
const rival = claim({ of: 3, sequence: 2, value: 'other', at: 50 });

test('I1: a store without the acknowledged claim violates it; one with a later claim does not', () => {
  assert.match(
    i1AcknowledgedIsKept(state([], undefined), first.dot) ?? '',
    /acknowledged claim 1 .* stores none/,
  );
  assert.match(
    i1AcknowledgedIsKept(state([first], shown(first)), { ...first.dot, sequence: 2 }) ?? '',
    /stores 1/,
  );
  assert.equal(i1AcknowledgedIsKept(state([first], shown(first)), first.dot), undefined);
  assert.equal(i1AcknowledgedIsKept(state([], undefined), undefined), undefined);
});

test('I1: a claim that nothing replaced and nobody sees violates it; the loser of a listed conflict does not', () => {
  assert.match(i1StandingIsVisible(state([first], undefined)) ?? '', /1\.1 .* does not show it/);
  assert.match(i1StandingIsVisible(state([first, rival], shown(rival, false))) ?? '', /1\.1/);
  assert.equal(i1StandingIsVisible(state([first, rival], shown(rival, true))), undefined);
  assert.equal(i1StandingIsVisible(state([first, retag], shown(retag))), undefined);
});

test('I2: a tag that an applied delete saw must not show; a push that it did not see may', () => {
  assert.match(i2DeletedStaysDeleted(state([first, remove], shown(first))) ?? '', /1\.1 .* was deleted/);
  assert.equal(i2DeletedStaysDeleted(state([first, remove], shown(remove))), undefined);
  assert.equal(i2DeletedStaysDeleted(state([rival, remove], shown(rival))), undefined);
});

test('I3: a copy that says it is exact and is not violates it; one that says it is behind does not', () => {
  const cursor = { region: region(2), epoch, have: 9, safe: 9 };
  const truth = { count: 3, sum: 77 };
  const copy = { region: region(1), cursor, held: { count: 2, sum: 70 } };
  assert.match(i3ExactCopiesAreEqual(copy, truth) ?? '', /exact at 9, but it holds 2 claims/);
  assert.match(i3ExactCopiesAreEqual(copy, undefined) ?? '', /exact at 9/);
  assert.equal(i3ExactCopiesAreEqual({ ...copy, cursor: { ...cursor, safe: 4 } }, truth), undefined);
  assert.equal(i3ExactCopiesAreEqual({ ...copy, held: truth }, truth), undefined);
});

test('I3: at the end one differing, missing or surplus claim violates it', () => {
  const map = (...claims: readonly HeldClaim[]) => ({
    bySequence: new Map(claims.map((each) => [each.dot.sequence, each])),
    count: claims.length,
    sum: 0,
  });
  const other = { ...retag, bytes: Uint8Array.of(9) };
  assert.match(i3SameBytes(map(other), map(retag), 'a copy') ?? '', /claim 4 differs/);
  assert.match(i3SameBytes(map(), map(retag), 'a copy') ?? '', /claim 4 differs/);
  assert.match(i3SameBytes(map(retag, remove), map(retag), 'a copy') ?? '', /2 claims instead of 1/);
  assert.equal(i3SameBytes(map(retag), map(retag), 'a copy'), undefined);
});

test('I4: a dot that was given before violates it', () => {
  assert.match(i4OneDotOneContent(first, { ...first, bytes: Uint8Array.of(7) }) ?? '', /1\.1 was given/);
  assert.equal(i4OneDotOneContent(first, undefined), undefined);
});

test('I5: cursors that shrink, overtake themselves or their origin violate it', () => {
  const before = { region: region(2), epoch, have: 5, safe: 3 };
  const to = (have: number, safe: number) => ({ before, after: { ...before, have, safe }, head: 8 });
  assert.match(i5CursorsOnlyGrow(region(1), to(4, 3)) ?? '', /went back/);
  assert.match(i5CursorsOnlyGrow(region(1), to(6, 2)) ?? '', /went back/);
  assert.match(i5CursorsOnlyGrow(region(1), to(6, 7)) ?? '', /safe 7 is beyond have 6/);
  assert.match(i5CursorsOnlyGrow(region(1), to(9, 3)) ?? '', /beyond the origin's 8/);
  assert.equal(i5CursorsOnlyGrow(region(1), to(8, 8)), undefined);
});

test('I6: a view that its claims do not give violates it', () => {
  const claims = [first, retag];
  assert.match(i6ViewFollowsFromClaims(state(claims, shown(first))) ?? '', /with 1\.1 .* give 2\.4/);
  assert.match(i6ViewFollowsFromClaims(state(claims, undefined)) ?? '', /with nothing/);
  assert.match(i6ViewFollowsFromClaims(state([first, remove], shown(first))) ?? '', /give nothing/);
  assert.match(i6ViewFollowsFromClaims(state(claims, shown(retag, true))) ?? '', /conflict: true/);
  const forged = { ...shown(retag), principal: 'somebody else' };
  assert.match(i6ViewFollowsFromClaims(state(claims, forged)) ?? '', /2\.4/);
  assert.equal(i6ViewFollowsFromClaims(state(claims, shown(retag))), undefined);
  assert.equal(i6ViewFollowsFromClaims(state([first, rival], shown(rival, true))), undefined);
});

test('I6: equal times are settled by the higher region, equal values are no conflict', () => {
  const twin = claim({ of: 2, sequence: 1, value: 'old' });
  assert.equal(i6ViewFollowsFromClaims(state([first, twin], shown(twin, false))), undefined);
  assert.match(i6ViewFollowsFromClaims(state([first, twin], shown(first, false))) ?? '', /give 2\.1/);
});

test('I11: a tag that vanishes without a delete violates it', () => {
  const gone = (stored: readonly KnownClaim[]) =>
    i11TagsVanishByDeletesOnly(state(stored, undefined), shown(first));
  assert.match(gone([first]) ?? '', /vanished from region 1: no delete covers 1\.1/);
  assert.equal(gone([first, remove]), undefined);
  assert.equal(i11TagsVanishByDeletesOnly(state([retag], shown(retag)), shown(first)), undefined);
});

test('I12: more than the limit violates it', () => {
  const amount = { what: 'reads under way', most: 10 };
  assert.match(i12StateIsBounded(region(1), { ...amount, count: 11 }) ?? '', /11 reads under way/);
  assert.equal(i12StateIsBounded(region(1), { ...amount, count: 10 }), undefined);
});

test('I13: a difference that stays violates it, and is named', () => {
  assert.match(i13BecomesEqual(['region 1 is behind'], 30_000) ?? '', /30000 ms .* region 1 is behind/);
  assert.equal(i13BecomesEqual([], 30_000), undefined);
});

test('I15: bytes that their origin never committed violate it', () => {
  assert.match(i15OnlyTrueBytes(first, undefined) ?? '', /never committed/);
  assert.match(i15OnlyTrueBytes({ ...first, bytes: Uint8Array.of(1, 2) }, first) ?? '', /other bytes/);
  assert.equal(i15OnlyTrueBytes(first, first), undefined);
});

test('P5: a write that does not replace what its look was told of violates it', () => {
  const { dot } = claim({ of: 2, sequence: 5, value: 'first' });
  const writing = (...saw: NonNullable<Sketch['saw']>) => claim({ of: 1, sequence: 9, value: 'second', saw });
  assert.match(p5LookedIsCovered(writing(), dot) ?? '', /1\.9 of .* after 2\.5 was acknowledged/);
  assert.match(p5LookedIsCovered(writing([2, 4], [3, 7]), dot) ?? '', /does not replace it/);
  assert.equal(p5LookedIsCovered(writing([2, 5]), dot), undefined);
  assert.equal(p5LookedIsCovered(writing([2, 6]), dot), undefined);
});

test('I16: a claim outside of its grant must not show; beside one that is granted it may be stored', () => {
  assert.match(i16RefusedIsInvisible(state([], shown(rival), [rival])) ?? '', /3\.2 .* outside/);
  assert.equal(i16RefusedIsInvisible(state([first], shown(first), [rival])), undefined);
  assert.equal(i16RefusedIsInvisible(state([], undefined, [rival])), undefined);
});
