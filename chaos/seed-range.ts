/**
 * Some seeds in a row, in this thread. One in twenty runs twice and must give the same hash: otherwise the simulation
 * depends on more than its seed, and no violation could be replayed. It ends at the first seed that fails.
 */
import type { Violation } from './invariants.ts';
import type { ScenarioName } from './scenario.ts';
import { runSeed, type SeedResult } from './simulation.ts';
import { MARKS, type Marks, noMarks } from './trace.ts';

/** Both ends included. */
export type SeedRange = { readonly first: number; readonly last: number };

export type SeedFailure = {
  readonly seed: number;
  readonly invariant: Violation['invariant'] | 'determinism';
  readonly what: string;
};

export type RangeResult = {
  /** One for each seed that ran, in order. */
  readonly hashes: readonly string[];
  readonly events: number;
  readonly marks: Marks;
  /** The longest way from healing to equality, in virtual ms. */
  readonly settledMsMax: number;
  readonly failure: SeedFailure | undefined;
};

const TWICE_EVERY = 20;

export function runRange(scenario: ScenarioName, { first, last }: SeedRange): RangeResult {
  const marks = noMarks();
  const hashes: string[] = [];
  let [events, settledMsMax] = [0, 0];
  let failure: SeedFailure | undefined;
  for (let seed = first; seed <= last && failure === undefined; seed += 1) {
    const result = runSeed({ seed, scenario, tells: false });
    for (const mark of MARKS) marks[mark] += result.marks[mark];
    hashes.push(result.hash);
    events += result.events;
    settledMsMax = Math.max(settledMsMax, result.settledMs);
    failure = failureOf(result, scenario);
  }
  return { hashes, events, marks, settledMsMax, failure };
}

function failureOf(result: SeedResult, scenario: ScenarioName): SeedFailure | undefined {
  const { seed, violation } = result;
  if (violation !== undefined) return { seed, ...violation };
  if (seed % TWICE_EVERY !== 0) return undefined;
  const again = runSeed({ seed, scenario, tells: false });
  if (again.hash === result.hash) return undefined;
  return { seed, invariant: 'determinism', what: `two runs gave ${result.hash} and ${again.hash}` };
}
