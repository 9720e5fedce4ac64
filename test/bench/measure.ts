/**
 * How two sides are compared: in one run, round by round in turn, after one round each to warm up. A side that errs
 * or returns fewer bytes than it should spoils the comparison, and so do rounds that differ by more than a fifth:
 * then no ratio is printed. Medians, because one round in five may meet something else on the machine.
 */
export type Bench = {
  readonly name: string;
  readonly unit: string;
  /** Whether more is better: the ratio is above 1 where we are better, either way. */
  readonly better: 'higher' | 'lower';
  readonly peer: string;
  /** The ratio that is asked for; absent where nothing is asked yet. */
  readonly bar?: number;
  /** One round of one side, as a value in `unit`. @throws Error when the side erred or returned too little. */
  readonly round: (side: 'ours' | 'theirs', round: number) => Promise<number>;
};

/** What has a bar of its own and no peer: the bar is a limit in `unit`, at most unless more is better. */
export type OwnBench = {
  readonly name: string;
  readonly unit: string;
  readonly limit: number;
  /** Default `lower`: the limit is the most that is allowed. */
  readonly better?: 'higher' | 'lower';
  /** @throws Error when it did not work. */
  readonly round: (round: number) => Promise<number>;
};

export type BenchResult = {
  readonly name: string;
  readonly unit: string;
  readonly ours: number | null;
  readonly theirs: number | null;
  readonly peer: string;
  readonly ratio: number | null;
  readonly bar: number | null;
  readonly met: boolean | null;
  readonly better: 'higher' | 'lower';
  /** All rounds, in order, and why there is no ratio, when there is none. */
  readonly rounds: { readonly ours: readonly number[]; readonly theirs: readonly number[] };
  readonly refused: string | null;
};

/** Rounds of one side may differ by so much of their median. */
const SPREAD_MAX = 0.2;
/** Steady rounds are waited for: the newest `rounds` count, of at most this many times as many. */
const PATIENCE = 3;

export async function compare(
  bench: Bench,
  rounds: number,
  progress: (text: string) => void,
): Promise<BenchResult> {
  const values = { ours: [] as number[], theirs: [] as number[] };
  let refused: string | null = null;
  try {
    for (let round = 0; round <= rounds * PATIENCE; round += 1) {
      for (const side of ['ours', 'theirs'] as const) {
        const value = await bench.round(side, round);
        if (round > 0) values[side].push(value);
        progress(
          `${bench.name}: round ${round}${round === 0 ? ' (warm-up)' : ''}, ${side} ${format(value)} ${bench.unit}`,
        );
      }
      refused = unsteady(values, rounds);
      if (refused === null) break;
    }
  } catch (thrown) {
    refused = thrown instanceof Error ? thrown.message : String(thrown);
  }
  return result(bench, values, { rounds, refused });
}

/** Medians of `rounds` after a warm-up; they need not be alike, because nothing is divided by them. */
export async function measure(
  bench: OwnBench,
  rounds: number,
  progress: (text: string) => void,
): Promise<BenchResult> {
  const ours: number[] = [];
  let refused: string | null = null;
  try {
    for (let round = 0; round <= rounds; round += 1) {
      const value = await bench.round(round);
      if (round > 0) ours.push(value);
      progress(
        `${bench.name}: round ${round}${round === 0 ? ' (warm-up)' : ''}, ${format(value)} ${bench.unit}`,
      );
    }
  } catch (thrown) {
    refused = thrown instanceof Error ? thrown.message : String(thrown);
  }
  const value = refused === null ? median(ours) : null;
  return {
    name: bench.name,
    unit: bench.unit,
    ours: value,
    theirs: null,
    peer: 'none',
    ratio: null,
    bar: bench.limit,
    met: value === null ? null : bench.better === 'higher' ? value >= bench.limit : value <= bench.limit,
    better: bench.better ?? 'lower',
    rounds: { ours, theirs: [] },
    refused,
  };
}

function result(
  bench: Bench,
  values: { readonly ours: readonly number[]; readonly theirs: readonly number[] },
  outcome: { readonly rounds: number; readonly refused: string | null },
): BenchResult {
  const ours = values.ours.length === 0 ? null : median(values.ours.slice(-outcome.rounds));
  const theirs = values.theirs.length === 0 ? null : median(values.theirs.slice(-outcome.rounds));
  const comparable = outcome.refused === null && ours !== null && theirs !== null;
  const ratio = comparable ? (bench.better === 'higher' ? ours / theirs : theirs / ours) : null;
  const bar = bench.bar ?? null;
  return {
    name: bench.name,
    unit: bench.unit,
    ours,
    theirs,
    peer: bench.peer,
    ratio,
    bar,
    met: ratio === null || bar === null ? null : ratio >= bar,
    better: bench.better,
    rounds: values,
    refused: outcome.refused,
  };
}

/** Why these rounds prove nothing; `null` when they are enough and steady. */
export function unsteady(
  values: { readonly ours: readonly number[]; readonly theirs: readonly number[] },
  rounds: number,
): string | null {
  for (const side of ['ours', 'theirs'] as const) {
    const newest = values[side].slice(-rounds);
    if (newest.length < rounds) return `only ${newest.length} of ${rounds} rounds were made`;
    const spread = (Math.max(...newest) - Math.min(...newest)) / median(newest);
    if (spread > SPREAD_MAX) {
      return `rounds of ${side} differ by ${Math.round(spread * 100)} % (at most ${SPREAD_MAX * 100} %)`;
    }
  }
  return null;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export function format(value: number): string {
  return value >= 100 ? Math.round(value).toString() : value.toPrecision(3);
}
