/** The view of a key as a function of the set of its claims. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { compareDots, type Dot } from '#domain/dot.ts';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import { type Claim, ClaimFormatError, encodeClaim } from '#mesh/claims/claim-codec.ts';
import { resolveKey, resolveStored } from '#mesh/claims/claim-view.ts';

const EPOCHS = [parseEpoch('000000000000000a'), parseEpoch('000000000000000b')] as const;
const KEY = { kind: CLAIM_KIND.tag, repository: 'team/app', name: 'v1' };

function dot(region: number, sequence: number, epoch: number = 0): Dot {
  return { region: parseRegionNumber(region), epoch: EPOCHS[epoch] ?? EPOCHS[0], sequence };
}

function claim(at: Dot, value: string, more: Partial<Claim> = {}): Claim {
  return {
    ...KEY,
    state: 'live',
    dot: at,
    time: { ms: 1000, counter: 0 },
    context: [],
    value: Buffer.from(value),
    principal: 'alice',
    ...more,
  };
}

function deletion(at: Dot, context: readonly Dot[], ms = 1000): Claim {
  return claim(at, '', { state: 'deleted', context, time: { ms, counter: 0 } });
}

test('view: without claims nothing is there', () => {
  assert.deepEqual(resolveKey([]), {
    live: false,
    winner: undefined,
    conflict: false,
    standing: [],
    losers: [],
    covered: [],
  });
});

test('view: a claim that saw another covers it, however early its clock', () => {
  const seen = claim(dot(1, 5), 'seen', { time: { ms: 9000, counter: 0 } });
  const later = claim(dot(2, 1), 'later', { context: [dot(1, 5)] });
  assert.deepEqual(resolveKey([seen, later]), {
    live: true,
    winner: later,
    conflict: false,
    standing: [later],
    losers: [],
    covered: [seen],
  });
});

test('view: a context covers its origin and epoch up to its sequence, and nothing else', () => {
  const covers = (context: Dot) =>
    resolveKey([claim(dot(1, 5), 'a'), claim(dot(2, 1), 'b', { context: [context] })]).covered.length;
  assert.equal(covers(dot(1, 6)), 1);
  assert.equal(covers(dot(1, 5)), 1);
  assert.equal(covers(dot(1, 4)), 0);
  assert.equal(covers(dot(1, 5, 1)), 0);
  assert.equal(covers(dot(3, 5)), 0);
});

test('view: a later claim of the same origin and epoch replaces the earlier one', () => {
  const [first, second] = [claim(dot(1, 5), 'first'), claim(dot(1, 6), 'second')];
  assert.deepEqual(resolveKey([second, first]).covered, [first]);
  const otherEpoch = claim(dot(1, 6, 1), 'second');
  assert.equal(resolveKey([first, otherEpoch]).conflict, true);
});

test('view: of what raced, the latest time wins, then the region, then the epoch', () => {
  const winner = (...claims: readonly Claim[]) => resolveKey(claims).winner;
  const late = claim(dot(1, 1), 'late', { time: { ms: 1000, counter: 1 } });
  assert.equal(winner(late, claim(dot(2, 1), 'early')), late);
  const high = claim(dot(2, 1), 'high');
  assert.equal(winner(high, claim(dot(1, 1), 'low')), high);
  const newer = claim(dot(1, 1, 1), 'newer');
  assert.equal(winner(newer, claim(dot(1, 2), 'older')), newer);
});

test('view: what raced with another value is a conflict, and the loser is kept', () => {
  const [one, two, same] = [claim(dot(1, 1), 'x'), claim(dot(2, 1), 'y'), claim(dot(3, 1), 'y')];
  const resolved = resolveKey([one, two, same]);
  assert.deepEqual([resolved.winner, resolved.conflict, resolved.losers], [same, true, [one]]);
  assert.deepEqual(resolved.standing, [one, two, same]);
  const equal = resolveKey([two, same]);
  assert.deepEqual([equal.conflict, equal.losers], [false, []]);
});

test('view: a push that a delete did not see survives it', () => {
  const seen = claim(dot(1, 1), 'seen');
  const unseen = claim(dot(3, 1), 'unseen');
  const gone = deletion(dot(2, 1), [dot(1, 1)], 9000);
  assert.deepEqual(resolveKey([seen, unseen, gone]), {
    live: true,
    winner: unseen,
    conflict: false,
    standing: [unseen],
    losers: [],
    covered: [seen],
  });
});

test('view: with deletes alone nothing is live, and the newest of them is named', () => {
  const [first, second] = [deletion(dot(2, 1), [dot(1, 1)], 2000), deletion(dot(1, 2), [], 3000)];
  const resolved = resolveKey([claim(dot(1, 1), 'x'), second, first]);
  assert.deepEqual([resolved.live, resolved.winner, resolved.conflict], [false, second, false]);
});

test('view: contexts that cover each other in a circle still give one winner', () => {
  const circle = [
    claim(dot(1, 1), 'x', { context: [dot(2, 1)] }),
    claim(dot(2, 1), 'y', { context: [dot(1, 1)] }),
  ];
  assert.equal(resolveKey(circle).winner, circle[1]);
  assert.equal(resolveKey(circle.toReversed()).winner, circle[1]);
});

test('view: stored claims are resolved, and copies from several regions count once', () => {
  const [one, two] = [claim(dot(1, 1), 'x'), claim(dot(2, 1), 'y')];
  const bytes = [one, two, one, two].map(encodeClaim);
  assert.equal(resolveStored(bytes, KEY).losers.length, 1);
});

test('view: a malformed claim, and one of another key, are refused and not skipped', () => {
  assert.throws(() => resolveStored([new Uint8Array(3)]), ClaimFormatError);
  const other = encodeClaim(claim(dot(1, 1), 'x', { name: 'v2' }));
  assert.throws(() => resolveStored([other], KEY), /not of the key/);
  assert.equal(resolveStored([other]).live, true);
});

test('view: it does not depend on the order in which claims came', () => {
  fc.assert(
    fc.property(anyHistory(), fc.infiniteStream(fc.nat()), (claims, chance) => {
      const shuffled = claims.toSorted(() => (chance.next().value % 2 === 0 ? 1 : -1));
      assert.deepEqual(resolveKey(shuffled), resolveKey(claims));
    }),
  );
});

test('view: a claim that comes again changes nothing', () => {
  fc.assert(
    fc.property(anyHistory(), (claims) => {
      const bytes = claims.map(encodeClaim);
      assert.deepEqual(resolveStored([...bytes, ...bytes]), resolveStored(bytes));
    }),
  );
});

test('view: a delete or a write that saw everything stands alone', () => {
  fc.assert(
    fc.property(anyHistory(), fc.constantFrom('live' as const, 'deleted' as const), (claims, state) => {
      const last = claim(dot(9, 1), 'last', {
        state,
        time: { ms: 1, counter: 0 },
        context: everythingOf(claims),
      });
      const resolved = resolveKey([...claims, last]);
      assert.equal(resolved.winner, last);
      assert.equal(resolved.live, state === 'live');
      assert.equal(resolved.conflict, false);
      assert.equal(resolved.covered.length, claims.length);
    }),
  );
});

test('view: what an origin replaced needs not be kept, as the later claim saw all that it had seen', () => {
  fc.assert(
    fc.property(anyHistory(), (claims) => {
      const newest = claims.filter(
        (one) =>
          !claims.some((other) => isSameOrigin(one.dot, other.dot) && other.dot.sequence > one.dot.sequence),
      );
      const { covered: _all, ...whole } = resolveKey(claims);
      const { covered: _newest, ...compacted } = resolveKey(newest);
      assert.deepEqual(compacted, whole);
    }),
  );
});

function isSameOrigin(a: Dot, b: Dot): boolean {
  return a.region === b.region && a.epoch === b.epoch;
}

function everythingOf(claims: readonly Claim[]): readonly Dot[] {
  const newest = new Map<string, Dot>();
  for (const seen of claims.flatMap((one) => [one.dot, ...one.context])) {
    const key = `${seen.region}.${seen.epoch}`;
    if ((newest.get(key)?.sequence ?? 0) < seen.sequence) newest.set(key, seen);
  }
  return [...newest.values()].sort(compareDots);
}

/**
 * What regions could really have written: each step one of three regions writes, having received what the others held
 * at some earlier step, and its claim covers all that it knows.
 */
function anyHistory(): fc.Arbitrary<readonly Claim[]> {
  const step = fc.record({
    region: fc.integer({ min: 1, max: 3 }),
    hears: fc.subarray([1, 2, 3]),
    value: fc.constantFrom('x', 'y'),
    isDelete: fc.boolean(),
    ms: fc.integer({ min: 1, max: 5 }),
  });
  return fc.array(step, { maxLength: 12 }).map((steps) => {
    const known = new Map([1, 2, 3].map((region) => [region, new Set<Claim>()]));
    return steps.map(({ region, hears, value, isDelete, ms }, position) => {
      const mine = known.get(region) ?? new Set();
      for (const other of hears) for (const heard of known.get(other) ?? []) mine.add(heard);
      const written = claim(dot(region, position + 1), isDelete ? '' : value, {
        state: isDelete ? 'deleted' : 'live',
        time: { ms, counter: position },
        context: everythingOf([...mine]),
      });
      mine.add(written);
      return written;
    });
  });
}
