/**
 * Many seeds, spread over threads in small ranges. The result is that of one thread: when a seed fails, what ran
 * beyond the first failing one is left out. A batch in which a rare path was never walked fails as well: what did not
 * run was not tested.
 */
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { WorkerData } from './batch-worker.ts';
import type { MutationName } from './mutation.ts';
import { SCENARIOS, type ScenarioName } from './scenario.ts';
import type { RangeResult, SeedFailure, SeedRange } from './seed-range.ts';
import { hashBytes, MARKS, type Mark, type Marks, noMarks } from './trace.ts';

export type BatchOptions = {
  readonly scenario: ScenarioName;
  readonly mutation?: MutationName | undefined;
  /** Seeds 1 … count. */
  readonly count: number;
  /** Called now and then with how many are done. */
  readonly onProgress: (done: number) => void;
};

export type BatchResult = {
  readonly seeds: number;
  readonly events: number;
  readonly seconds: number;
  readonly hash: string;
  readonly marks: Marks;
  /** Rare paths that no seed walked; judged from `MARKED_SEEDS_MIN` seeds on. */
  readonly unmarked: readonly Mark[];
  readonly settledMsMax: number;
  readonly failure: SeedFailure | undefined;
};

/** Fewer seeds than this may miss a rare path by chance. */
export const MARKED_SEEDS_MIN = 50;
/** Small, so that threads end together and a failing seed ends the batch soon; half a second of work. */
const RANGE_SEEDS = 10;
/** More threads than this would wait for memory. */
const THREADS_MAX = 8;

export async function runBatch(options: BatchOptions): Promise<BatchResult> {
  const startedMs = performance.now();
  const ranges = Array.from({ length: Math.ceil(options.count / RANGE_SEEDS) }, (_, at) => ({
    first: at * RANGE_SEEDS + 1,
    last: Math.min(options.count, (at + 1) * RANGE_SEEDS),
  }));
  const results = await spread(ranges, options);
  return { ...joined(results, options.scenario), seconds: (performance.now() - startedMs) / 1000 };
}

/** The results of all ranges up to the first that failed, in order. */
async function spread(ranges: readonly SeedRange[], options: BatchOptions): Promise<readonly RangeResult[]> {
  const results: RangeResult[] = [];
  const firstFailed = () => results.findIndex((result) => result?.failure !== undefined);
  let next = 0;
  let done = 0;
  const work = async () => {
    const { scenario, mutation } = options;
    const workerData: WorkerData = { scenario, mutation };
    const worker = new Worker(new URL('./batch-worker.ts', import.meta.url), { workerData });
    try {
      for (let at = next; at < ranges.length && firstFailed() === -1; at = next) {
        next += 1;
        const answer = once(worker, 'message');
        worker.postMessage(ranges[at]);
        const [result] = (await answer) as [RangeResult];
        results[at] = result;
        done += result.hashes.length;
        options.onProgress(done);
      }
    } finally {
      await worker.terminate();
    }
  };
  const threads = Math.min(availableParallelism(), THREADS_MAX, ranges.length);
  await Promise.all(Array.from({ length: threads }, work));
  const failed = firstFailed();
  return failed === -1 ? results : results.slice(0, failed + 1);
}

function joined(results: readonly RangeResult[], scenario: ScenarioName): Omit<BatchResult, 'seconds'> {
  const marks = noMarks();
  for (const result of results) for (const mark of MARKS) marks[mark] += result.marks[mark];
  const hashes = results.flatMap((result) => result.hashes);
  return {
    seeds: hashes.length,
    events: results.reduce((sum, result) => sum + result.events, 0),
    hash: combined(hashes),
    marks,
    unmarked: hashes.length < MARKED_SEEDS_MIN ? [] : unmarkedIn(marks, scenario),
    settledMsMax: Math.max(0, ...results.map((result) => result.settledMsMax)),
    failure: results.at(-1)?.failure,
  };
}

/** What the scenario is there to see, and was not seen. */
export function unmarkedIn(marks: Marks, scenario: ScenarioName): readonly Mark[] {
  const expected: readonly Mark[] = ['acknowledged', ...SCENARIOS[scenario].expects];
  return expected.filter((mark) => marks[mark] === 0);
}

function combined(hashes: readonly string[]): string {
  const text = new TextEncoder().encode(hashes.join());
  return [text, text.toReversed()].map((bytes) => hashBytes(bytes).toString(16).padStart(8, '0')).join('');
}
