/**
 * Slows guessing: after some failures in a row, each further one under the same key (an account, an address) doubles
 * the time that must pass before the next try. Tries are counted when they begin, so that many at once are no way
 * around it.
 *
 * Bounded in memory: beyond `KEYS_MAX` keys the ones that were quiet the longest are forgotten. To push one out, an
 * attacker must fail that often under other keys, each at the price of a hash.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '#runtime/clock.ts';

export type GuessLimitConfig = {
  /** Failures that cost nothing. */
  readonly free: number;
  /** The wait after the first one that does; it doubles with each further one. */
  readonly baseMs: number;
  /** No wait is longer. Higher values let an attacker keep the owner out for longer, too. */
  readonly maxMs: number;
};

const KEYS_MAX = 10_000;
/** A key without a failure for so long begins anew. */
const FORGOTTEN_MS = 15 * 60_000;

type Failures = { readonly count: number; readonly lastMs: number };

export class GuessLimit {
  readonly #clock: Clock;
  readonly #config: GuessLimitConfig;
  readonly #failures = new LRUCache<string, Failures>({ max: KEYS_MAX });

  constructor(deps: { readonly clock: Clock }, config: GuessLimitConfig) {
    this.#clock = deps.clock;
    this.#config = config;
  }

  /** How long a try under this key has to wait; 0 when it may be made now. */
  waitMs(key: string): number {
    const known = this.#known(key);
    if (known === undefined || known.count <= this.#config.free) return 0;
    const doublings = Math.min(known.count - this.#config.free - 1, 30);
    const delayMs = Math.min(this.#config.maxMs, this.#config.baseMs * 2 ** doublings);
    return Math.max(0, known.lastMs + delayMs - this.#clock.monotonicMs());
  }

  /** A try begins: counted as a failure until it turns out to be none. */
  began(key: string): void {
    const count = (this.#known(key)?.count ?? 0) + 1;
    this.#failures.set(key, { count, lastMs: this.#clock.monotonicMs() });
  }

  /** A try was no guess after all. */
  takeBack(key: string): void {
    const known = this.#failures.get(key);
    if (known !== undefined) this.#failures.set(key, { ...known, count: Math.max(0, known.count - 1) });
  }

  /** Whoever has this key knows the secret. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  #known(key: string): Failures | undefined {
    const known = this.#failures.get(key);
    if (known === undefined || this.#clock.monotonicMs() - known.lastMs < FORGOTTEN_MS) return known;
    this.#failures.delete(key);
    return undefined;
  }
}
