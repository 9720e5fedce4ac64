/**
 * How fast a run goes: a page of rows, then a rest, so that requests come in between. A page is some milliseconds of
 * work at most, and a run over a million blobs takes about two minutes; nobody waits for it.
 */
import type { Clock } from '#runtime/clock.ts';

/** Rows that one statement looks at. Each may need a search or two in an index: 1 to 2 ms in all. */
export const PAGE_ROWS = 128;
const REST_MS = 10;

export type Pace = {
  /** Rejects with the reason of the run's signal. */
  rest(): Promise<void>;
};

export function openPace(clock: Pick<Clock, 'sleep'>, signal: AbortSignal): Pace {
  return { rest: () => clock.sleep(REST_MS, signal) };
}
