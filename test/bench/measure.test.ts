/** The harness refuses what proves nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Bench, compare, median } from './measure.ts';

const quiet = () => undefined;

function bench(
  values: (side: 'ours' | 'theirs', round: number) => number,
  better: 'higher' | 'lower' = 'higher',
): Bench {
  return {
    name: 'x',
    unit: 'u',
    better,
    peer: 'p',
    bar: 2,
    round: async (side, round) => values(side, round),
  };
}

test('bench: a side that errs spoils the comparison', async () => {
  const failing = bench((side) => {
    if (side === 'theirs') throw new Error('returned fewer bytes');
    return 10;
  });
  const result = await compare(failing, 3, quiet);
  assert.equal(result.ratio, null);
  assert.equal(result.met, null);
  assert.equal(result.refused, 'returned fewer bytes');
});

test('bench: rounds that differ by more than a fifth are refused, with the reason', async () => {
  const result = await compare(
    bench((side, round) => (side === 'ours' ? 100 + (round % 2) * 30 : 50)),
    3,
    quiet,
  );
  assert.equal(result.ratio, null);
  assert.match(result.refused ?? '', /rounds of ours differ by \d+ %/);
  assert.equal(result.rounds.ours.length, 9, 'it tried three times as many rounds');
});

test('bench: the warm-up does not count, and later rounds can become steady', async () => {
  const result = await compare(
    bench((side, round) => (side === 'ours' ? (round < 3 ? round : 100) : 40)),
    3,
    quiet,
  );
  assert.equal(result.refused, null);
  assert.equal(result.ratio, 2.5);
  assert.equal(result.met, true);
});

test('bench: where less is better, the ratio turns round', async () => {
  const result = await compare(
    bench((side) => (side === 'ours' ? 10 : 15), 'lower'),
    3,
    quiet,
  );
  assert.equal(result.ratio, 1.5);
  assert.equal(result.met, false);
});

test('bench: the median of an even number lies between the middle two', () => {
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(median([3, 1, 2]), 2);
});
