/**
 * How two sides are compared: in one run, round by round in turn, after one round each to warm up. A side that errs
 * or returns fewer bytes than it should spoils the comparison, and so do rounds that differ by more than a fifth:
 * then no ratio is printed. Medians, because one round in five may meet something else on the machine.
 *
 * Processor time and memory of each side's processes are measured in the same rounds: they tell what a ratio of rates
 * cannot on a machine with other work on it.
 */
import { type Usage, watchProcesses } from './process-usage.ts';

/** `bare` is `node:http` with nothing around it, `zot` another registry, where it is installed. */
export type Side = 'ours' | 'theirs' | 'bare' | 'zot';

/** A round that knows more than its value. */
export type Round = {
  readonly value: number;
  readonly p99Ms?: number;
  /** What was done in the round, to divide its processor time by. */
  readonly operations?: number;
};

export type Bench = {
  readonly name: string;
  readonly unit: string;
  /** Whether more is better: the ratio is above 1 where we are better, either way. */
  readonly better: 'higher' | 'lower';
  readonly peer: string;
  /** The ratio that is asked for; absent where nothing is asked yet. */
  readonly bar?: number;
  /** Further sides, each a row of its own. */
  readonly beside?: readonly { readonly side: Side; readonly peer: string; readonly bar?: number }[];
  /** What 99 of 100 of our answers must be within; a row of its own. */
  readonly p99MaxMs?: number;
  /** The processes of a side. */
  readonly processes?: (side: Side) => readonly number[];
  /** One round of one side, as a value in `unit`. @throws Error when the side erred or returned too little. */
  readonly round: (side: Side, round: number) => Promise<number | Round>;
};

/** What has a bar of its own and no peer: the bar is a limit in `unit`, at most unless more is better. */
export type OwnBench = {
  readonly name: string;
  readonly unit: string;
  readonly limit: number;
  /** Default `lower`: the limit is the most that is allowed. */
  readonly better?: 'higher' | 'lower';
  readonly processes?: () => readonly number[];
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
  /** Medians of the rounds that count; `null` where a side's processes are not known. */
  readonly usage: { readonly ours: RoundUsage | null; readonly theirs: RoundUsage | null };
};

export type RoundUsage = Usage & {
  /** Processor time of one operation, where rounds say how many they made. */
  readonly cpuMicros: number | null;
};

/** Rounds of one side may differ by so much of their median. */
const SPREAD_MAX = 0.2;
/** Steady rounds are waited for: the newest `rounds` count, of at most this many times as many. */
const PATIENCE = 3;

type Sample = Round & { readonly usage: Usage | undefined };

/** One row for each side that we are compared with, and one for the limit of `p99MaxMs`. */
export async function compare(
  bench: Bench,
  rounds: number,
  progress: (text: string) => void,
): Promise<readonly BenchResult[]> {
  const peers = [{ side: 'theirs' as Side, peer: bench.peer, bar: bench.bar }, ...(bench.beside ?? [])];
  const samples = new Map<Side, Sample[]>(
    ['ours' as const, ...peers.map(({ side }) => side)].map((side) => [side, []]),
  );
  const valuesOf = (side: Side) => (samples.get(side) ?? []).map(({ value }) => value);
  const refusalOf = (side: Side) => unsteady({ ours: valuesOf('ours'), theirs: valuesOf(side) }, rounds);
  let failed: string | null = null;
  try {
    for (let round = 0; round <= rounds * PATIENCE; round += 1) {
      for (const [side, made] of samples) {
        const sample = await sampleOf(bench, side, round);
        if (round > 0) made.push(sample);
        const { value, usage } = sample;
        progress(
          `${bench.name}: round ${round}${round === 0 ? ' (warm-up)' : ''}, ${side} ${format(value)} ${bench.unit}` +
            (usage === undefined ? '' : `, ${usage.cpuSeconds.toFixed(2)} s of processor time`),
        );
      }
      if (peers.every(({ side }) => refusalOf(side) === null)) break;
    }
  } catch (thrown) {
    failed = thrown instanceof Error ? thrown.message : String(thrown);
  }
  const newest = (side: Side) => (samples.get(side) ?? []).slice(-rounds);
  const rows = peers.map(({ side, peer, bar }) => {
    const outcome = { refused: failed ?? refusalOf(side), bar: bar ?? null, peer };
    const values = { ours: valuesOf('ours'), theirs: valuesOf(side) };
    const usage = { ours: usageOf(newest('ours')), theirs: usageOf(newest(side)) };
    return { ...result(bench, values, { ...outcome, rounds }), usage };
  });
  return bench.p99MaxMs === undefined ? rows : [...rows, p99Row(bench, newest('ours'), failed)];
}

async function sampleOf(bench: Bench, side: Side, round: number): Promise<Sample> {
  const watched = watchProcesses(bench.processes?.(side) ?? []);
  const made = await bench.round(side, round);
  return { ...(typeof made === 'number' ? { value: made } : made), usage: watched() };
}

function usageOf(samples: readonly Sample[]): RoundUsage | null {
  const known = samples.flatMap(({ usage, operations }) =>
    usage === undefined ? [] : [{ ...usage, operations }],
  );
  if (known.length === 0) return null;
  const medianOf = (of: (sample: (typeof known)[number]) => number) => median(known.map(of));
  const cpuMicros = medianOf(({ cpuSeconds, operations = Number.NaN }) => (cpuSeconds * 1e6) / operations);
  return {
    cpuSeconds: medianOf(({ cpuSeconds }) => cpuSeconds),
    residentMb: medianOf(({ residentMb }) => residentMb),
    peakMb: medianOf(({ peakMb }) => peakMb),
    cpuMicros: Number.isFinite(cpuMicros) ? cpuMicros : null,
  };
}

function p99Row(bench: Bench, samples: readonly Sample[], failed: string | null): BenchResult {
  const values = samples.flatMap(({ p99Ms }) => (p99Ms === undefined ? [] : [p99Ms]));
  const ours = values.length === 0 || failed !== null ? null : median(values);
  const limit = bench.p99MaxMs ?? null;
  return {
    ...{ name: `${bench.name}-p99`, unit: 'ms', ours, theirs: null, peer: 'none', ratio: null, bar: limit },
    met: ours === null || limit === null ? null : ours <= limit,
    better: 'lower',
    rounds: { ours: values, theirs: [] },
    refused: failed,
    usage: { ours: null, theirs: null },
  };
}

/** Medians of `rounds` after a warm-up; they need not be alike, because nothing is divided by them. */
export async function measure(
  bench: OwnBench,
  rounds: number,
  progress: (text: string) => void,
): Promise<BenchResult> {
  const samples: Sample[] = [];
  let refused: string | null = null;
  try {
    for (let round = 0; round <= rounds; round += 1) {
      const watched = watchProcesses(bench.processes?.() ?? []);
      const value = await bench.round(round);
      if (round > 0) samples.push({ value, usage: watched() });
      progress(
        `${bench.name}: round ${round}${round === 0 ? ' (warm-up)' : ''}, ${format(value)} ${bench.unit}`,
      );
    }
  } catch (thrown) {
    refused = thrown instanceof Error ? thrown.message : String(thrown);
  }
  const ours = samples.map(({ value }) => value);
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
    usage: { ours: usageOf(samples), theirs: null },
  };
}

function result(
  bench: Bench,
  values: { readonly ours: readonly number[]; readonly theirs: readonly number[] },
  outcome: {
    readonly rounds: number;
    readonly refused: string | null;
    readonly bar: number | null;
    readonly peer: string;
  },
): Omit<BenchResult, 'usage'> {
  const ours = values.ours.length === 0 ? null : median(values.ours.slice(-outcome.rounds));
  const theirs = values.theirs.length === 0 ? null : median(values.theirs.slice(-outcome.rounds));
  const comparable = outcome.refused === null && ours !== null && theirs !== null;
  const ratio = comparable ? (bench.better === 'higher' ? ours / theirs : theirs / ours) : null;
  const { bar, peer, refused } = outcome;
  return {
    ...{ name: bench.name, unit: bench.unit, ours, theirs, peer, ratio, bar },
    met: ratio === null || bar === null ? null : ratio >= bar,
    better: bench.better,
    rounds: values,
    refused,
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
