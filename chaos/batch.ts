/**
 * Many seeds in a row. One in twenty runs twice and must give the same hash, or the simulation depends on more than
 * its seed and no violation could be replayed. A batch in which a rare path was never walked fails as well: what did
 * not run was not tested.
 */
import { performance } from 'node:perf_hooks';
import type { Violation } from './invariants.ts';
import { SCENARIOS, type ScenarioName } from './scenario.ts';
import { runSeed, type SeedResult } from './simulation.ts';
import { hashBytes, MARKS, type Mark, type Marks, noMarks } from './trace.ts';

export type BatchOptions = {
  readonly scenario: ScenarioName;
  /** Seeds 1 … count. */
  readonly count: number;
  /** Called after each seed with how many are done. */
  readonly onSeed: (done: number) => void;
};

export type BatchResult = {
  readonly seeds: number;
  readonly events: number;
  readonly seconds: number;
  readonly hash: string;
  readonly marks: Marks;
  /** Rare paths that no seed walked; judged from `MARKED_SEEDS_MIN` seeds on. */
  readonly unmarked: readonly Mark[];
  /** The longest way from healing to equality, in virtual ms. */
  readonly settledMsMax: number;
  readonly failure: SeedFailure | undefined;
};

export type SeedFailure = {
  readonly seed: number;
  readonly invariant: Violation['invariant'] | 'determinism';
  readonly what: string;
};

/** Fewer seeds than this may miss a rare path by chance. */
export const MARKED_SEEDS_MIN = 50;
const TWICE_EVERY = 20;

/** Ends at the first failing seed. */
export function runBatch(options: BatchOptions): BatchResult {
  const startedMs = performance.now();
  const marks = noMarks();
  const hashes: string[] = [];
  let [events, settledMsMax] = [0, 0];
  let failure: SeedFailure | undefined;
  for (let seed = 1; seed <= options.count && failure === undefined; seed += 1) {
    const result = runSeed({ seed, scenario: options.scenario, tells: false });
    for (const mark of MARKS) marks[mark] += result.marks[mark];
    hashes.push(result.hash);
    events += result.events;
    settledMsMax = Math.max(settledMsMax, result.settledMs);
    failure = failureOf(result, options.scenario);
    options.onSeed(seed);
  }
  return {
    seeds: hashes.length,
    events,
    seconds: (performance.now() - startedMs) / 1000,
    hash: combined(hashes),
    marks,
    unmarked: hashes.length < MARKED_SEEDS_MIN ? [] : missing(marks, options.scenario),
    settledMsMax,
    failure,
  };
}

function failureOf(result: SeedResult, scenario: ScenarioName): SeedFailure | undefined {
  const { seed, violation } = result;
  if (violation !== undefined) return { seed, ...violation };
  if (seed % TWICE_EVERY !== 0) return undefined;
  const again = runSeed({ seed, scenario, tells: false });
  if (again.hash === result.hash) return undefined;
  return { seed, invariant: 'determinism', what: `two runs gave ${result.hash} and ${again.hash}` };
}

function missing(marks: Marks, scenario: ScenarioName): readonly Mark[] {
  const expected: readonly Mark[] = ['acknowledged', ...SCENARIOS[scenario].expects];
  return expected.filter((mark) => marks[mark] === 0);
}

function combined(hashes: readonly string[]): string {
  const text = new TextEncoder().encode(hashes.join());
  return [text, text.toReversed()].map((bytes) => hashBytes(bytes).toString(16).padStart(8, '0')).join('');
}
