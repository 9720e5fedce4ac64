/**
 * A region's wall clock: off by some amount, running a little fast or slow, jumping, and standing still. Virtual time
 * itself is true; what runs on intervals (ticks, disks, links) never sees this clock.
 */
import type { Prng } from './prng.ts';
import type { ClockPlan } from './scenario.ts';

/** Where all wall clocks start when they are right; any date does, as long as it is the same in every run. */
export const WALL_START_MS = 1_800_000_000_000;

export class SkewedClock {
  readonly #driftPpm: number;
  #offsetMs: number;
  /** What it shows while it stands still. */
  #frozenMs: number | undefined;

  constructor(prng: Prng, plan: ClockPlan) {
    this.#driftPpm = plan.driftPpm * (2 * prng.fraction() - 1);
    this.#offsetMs = Math.round(plan.offsetMs * (2 * prng.fraction() - 1));
  }

  /** The wall clock in whole ms. */
  nowMs(virtualUs: number): number {
    if (this.#frozenMs !== undefined) return this.#frozenMs;
    const elapsedMs = (virtualUs / 1000) * (1 + this.#driftPpm / 1e6);
    return WALL_START_MS + this.#offsetMs + Math.floor(elapsedMs);
  }

  step(byMs: number): void {
    this.#offsetMs += byMs;
  }

  /** It stands still until it is let go, and then shows the right time again. */
  freeze(virtualUs: number): void {
    this.#frozenMs = this.nowMs(virtualUs);
  }

  thaw(): void {
    this.#frozenMs = undefined;
  }
}
