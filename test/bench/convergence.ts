/**
 * How soon a tag is known everywhere where this machine has neither the regions nor the distance: the production core
 * on virtual time. A round is a seed.
 */
import { measureConvergence, measureHealing } from '#chaos/convergence.ts';
import type { OwnBench } from './measure.ts';

const THREE = { regions: 3, delayMs: 150, loss: 0, writes: 1000, everyMs: 50 };
const THIRTY = { regions: 30, delayMs: 150, loss: 0, writes: 200, everyMs: 100 };

export const convergenceBenches: readonly OwnBench[] = [
  {
    name: 'converge-3-p50',
    unit: 'ms, simulated',
    limit: 170,
    round: async (seed) => measureConvergence({ ...THREE, seed }).p50Ms,
  },
  {
    name: 'converge-3-p99',
    unit: 'ms, simulated',
    limit: 300,
    round: async (seed) => measureConvergence({ ...THREE, seed }).p99Ms,
  },
  {
    name: 'converge-30-p99',
    unit: 'ms, simulated',
    limit: 400,
    round: async (seed) => measureConvergence({ ...THIRTY, seed }).p99Ms,
  },
  {
    // Of every kind of message, the questions for what was lost included.
    name: 'converge-30-lossy-p99',
    unit: 'ms, simulated',
    limit: 2000,
    round: async (seed) => measureConvergence({ ...THIRTY, seed, loss: 0.05 }).p99Ms,
  },
  {
    name: 'converge-after-partition',
    unit: 'ms, simulated',
    limit: 10_000,
    round: async (seed) =>
      measureHealing({ seed, regions: 4, delayMs: 150, loss: 0, updates: 10_000, cutMs: 600_000 }),
  },
];
