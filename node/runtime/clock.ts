/**
 * Time, as a seam: everything that reads a clock or waits takes a `Clock`, so that a test or a simulation decides
 * what time it is. `node/runtime` is the only room that touches dates and timers.
 */
import { setTimeout as sleepMs } from 'node:timers/promises';

export interface Clock {
  /** Wall-clock time in ms since 1970; may jump. */
  nowMs(): number;
  /** Milliseconds that only grow; for durations. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Calls back every `ms` until disposed; a tick that is late is not made up for. */
  every(ms: number, tick: () => void): Disposable;
  /** Calls back once after `ms` unless disposed before. */
  after(ms: number, callback: () => void): Disposable;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) => sleepMs(ms, undefined, { signal }),
  every: (ms, tick) => {
    const timer = setInterval(tick, ms);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  },
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** Aborts with the parent, or after `ms` with a TimeoutError that names what was waited for. */
export function deadline(parent: AbortSignal, ms: number): AbortSignal {
  return AbortSignal.any([parent, AbortSignal.timeout(ms)]);
}
