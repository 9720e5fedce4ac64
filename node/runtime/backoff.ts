/** Exponential back-off with full jitter. Source: "Exponential Backoff and Jitter", AWS Architecture Blog (2015). */
import type { Random } from './random.ts';

export type BackoffConfig = {
  /** The first wait is at most this. */
  readonly baseMs: number;
  /** No wait is longer. */
  readonly maxMs: number;
};

/** The wait before try `attempt` (from 1), at least a tenth of its ceiling so that retries never spin. */
export function backoffMs(attempt: number, config: BackoffConfig, random: Random): number {
  const ceiling = Math.min(config.maxMs, config.baseMs * 2 ** Math.min(attempt - 1, 30));
  return Math.round(ceiling * (0.1 + 0.9 * random.fraction()));
}
