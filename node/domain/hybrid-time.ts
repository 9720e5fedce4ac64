/**
 * Hybrid logical time: wall-clock milliseconds and a counter, larger than everything seen before. It breaks ties
 * between claims that did not see each other, and nothing else.
 *
 * On the wire: 48 bits of milliseconds and 16 of counter, big-endian, so that bytes compare like times.
 * Source: Kulkarni et al., "Logical Physical Clocks" (2014).
 */
export type HybridTime = { readonly ms: number; readonly counter: number };

export const HYBRID_TIME_ZERO: HybridTime = { ms: 0, counter: 0 };
const COUNTER_MAX = 0xffff;

export function compareHybridTimes(a: HybridTime, b: HybridTime): number {
  return a.ms === b.ms ? a.counter - b.counter : a.ms - b.ms;
}

/** The next time after `last`, at least the wall clock. A full counter borrows a millisecond from the future. */
export function nextHybridTime(last: HybridTime, nowMs: number): HybridTime {
  if (nowMs > last.ms) return { ms: nowMs, counter: 0 };
  if (last.counter < COUNTER_MAX) return { ms: last.ms, counter: last.counter + 1 };
  return { ms: last.ms + 1, counter: 0 };
}

export function laterHybridTime(a: HybridTime, b: HybridTime): HybridTime {
  return compareHybridTimes(a, b) >= 0 ? a : b;
}
