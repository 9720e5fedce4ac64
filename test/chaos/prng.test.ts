/**
 * The simulation's chance: the same name gives the same numbers, streams do not disturb each other, and what is drawn
 * is spread as it says.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#chaos/prng.ts';

const draw = (prng: Prng, count: number) => Array.from({ length: count }, () => prng.next());

test('prng: picking from nothing is an error, not a hole', () => {
  assert.throws(() => new Prng('1').pick([]), RangeError);
});

test('prng: the numbers of a seed never change', () => {
  // Recorded seeds replay only while this holds.
  assert.deepEqual(draw(new Prng('1'), 3), [3935131425, 2214440987, 3495569776]);
});

test('prng: another name gives other numbers', () => {
  assert.notDeepEqual(draw(new Prng('1'), 4), draw(new Prng('2'), 4));
  assert.notDeepEqual(draw(new Prng('1').split('a'), 4), draw(new Prng('1').split('b'), 4));
});

test('prng: a draw more in one stream leaves the others as they were', () => {
  const quiet = new Prng('7');
  const busy = new Prng('7');
  draw(busy, 5);
  draw(busy.split('network'), 9);
  assert.deepEqual(draw(busy.split('disk'), 4), draw(quiet.split('disk'), 4));
});

test('prng: whole numbers stay within their ends and reach them', () => {
  const prng = new Prng('range');
  const drawn = new Set(Array.from({ length: 500 }, () => prng.between(2, 5)));
  assert.deepEqual([...drawn].sort(), [2, 3, 4, 5]);
});

test('prng: fractions are spread evenly', () => {
  const prng = new Prng('even');
  const buckets = new Array<number>(10).fill(0);
  for (let at = 0; at < 20_000; at += 1) {
    const bucket = prng.below(10);
    buckets[bucket] = (buckets[bucket] ?? 0) + 1;
  }
  for (const count of buckets) assert.ok(count > 1_800 && count < 2_200, `${count} of 20,000 in a tenth`);
});

test('prng: a skewed delay is never negative, and mostly near its mean', () => {
  const prng = new Prng('skewed');
  const delays = Array.from({ length: 5_000 }, () => prng.skewed(1_000));
  assert.ok(Math.min(...delays) >= 250);
  assert.ok(Math.max(...delays) <= 6_250);
  const mean = delays.reduce((sum, delay) => sum + delay, 0) / delays.length;
  assert.ok(mean > 900 && mean < 1_150, `mean ${mean}`);
});
