/** The harness refuses what proves nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Bench, type BenchResult, compare, median, type Side } from './measure.ts';

const quiet = () => undefined;

function bench(values: (side: Side, round: number) => number, better: 'higher' | 'lower' = 'higher'): Bench {
  return {
    name: 'x',
    unit: 'u',
    better,
    peer: 'p',
    bar: 2,
    round: async (side, round) => values(side, round),
  };
}

async function compareOne(...args: Parameters<typeof compare>): Promise<BenchResult> {
  const [first] = await compare(...args);
  assert.ok(first !== undefined);
  return first;
}

test('bench: a side that errs spoils the comparison', async () => {
  const failing = bench((side) => {
    if (side === 'theirs') throw new Error('returned fewer bytes');
    return 10;
  });
  const result = await compareOne(failing, 3, quiet);
  assert.equal(result.ratio, null);
  assert.equal(result.met, null);
  assert.equal(result.refused, 'returned fewer bytes');
});

test('bench: rounds that differ by more than a fifth are refused, with the reason', async () => {
  const result = await compareOne(
    bench((side, round) => (side === 'ours' ? 100 + (round % 2) * 30 : 50)),
    3,
    quiet,
  );
  assert.equal(result.ratio, null);
  assert.match(result.refused ?? '', /rounds of ours differ by \d+ %/);
  assert.equal(result.rounds.ours.length, 9, 'it tried three times as many rounds');
});

test('bench: the warm-up does not count, and later rounds can become steady', async () => {
  const result = await compareOne(
    bench((side, round) => (side === 'ours' ? (round < 3 ? round : 100) : 40)),
    3,
    quiet,
  );
  assert.equal(result.refused, null);
  assert.equal(result.ratio, 2.5);
  assert.equal(result.met, true);
});

test('bench: where less is better, the ratio turns round', async () => {
  const result = await compareOne(
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

test('bench: each further side is a row of its own, which its own unsteadiness alone refuses', async () => {
  const values = { ours: () => 100, theirs: () => 50, bare: () => 125, zot: (round: number) => round * 40 };
  const rows = await compare(
    {
      ...bench((side, round) => values[side](round)),
      beside: [
        { side: 'bare', peer: 'bare', bar: 0.9 },
        { side: 'zot', peer: 'zot' },
      ],
    },
    3,
    quiet,
  );
  assert.deepEqual(
    rows.map(({ peer, ratio, met }) => [peer, ratio, met]),
    [
      ['p', 2, true],
      ['bare', 0.8, false],
      ['zot', null, null],
    ],
  );
  assert.match(rows[2]?.refused ?? '', /rounds of theirs differ/);
});

test('bench: the slowest hundredth has a row with a limit of its own, and none when a side erred', async () => {
  const slow = { ...bench(() => 1), p99MaxMs: 5, round: async () => ({ value: 100, p99Ms: 6 }) };
  const [, row] = await compare(slow, 3, quiet);
  assert.deepEqual([row?.name, row?.ours, row?.bar, row?.met], ['x-p99', 6, 5, false]);
  const failing = { ...slow, round: () => Promise.reject(new Error('no')) };
  const [, failed] = await compare(failing, 3, quiet);
  assert.deepEqual([failed?.ours, failed?.met, failed?.refused], [null, null, 'no']);
});

test('bench: processor time is that of the side, and of one operation', async (t) => {
  if (process.platform !== 'linux') return t.skip('needs /proc');
  const spin = async () => {
    const endMs = performance.now() + 60;
    while (performance.now() < endMs);
    return { value: 1, operations: 10 };
  };
  const [row] = await compare({ ...bench(() => 1), processes: () => [process.pid], round: spin }, 3, quiet);
  const { ours } = row?.usage ?? {};
  assert.ok(ours != null && ours.cpuSeconds > 0 && ours.peakMb >= 10);
  assert.equal(ours.cpuMicros, (ours.cpuSeconds * 1e6) / 10);
});
