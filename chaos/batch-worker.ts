/** A thread of a batch: runs the ranges of seeds that it is handed, on a core with the batch's mutation, if any. */
import { parentPort, workerData } from 'node:worker_threads';
import { type MutationName, mutateOnLoad } from './mutation.ts';
import type { ScenarioName } from './scenario.ts';
import type { SeedRange } from './seed-range.ts';

export type WorkerData = { readonly scenario: ScenarioName; readonly mutation: MutationName | undefined };

const { scenario, mutation } = workerData as WorkerData;
if (mutation !== undefined) mutateOnLoad(mutation);
const { runRange } = await import('./seed-range.ts');
parentPort?.on('message', (range: SeedRange) => parentPort?.postMessage(runRange(scenario, range)));
