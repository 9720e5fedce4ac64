/** A clock that stands still until a test moves it; what is due then happens in order of time. */
import type { Clock } from '#runtime/clock.ts';

type Alarm = { atMs: number; readonly ring: () => void; readonly everyMs: number | undefined };

export class ManualClock implements Clock {
  #nowMs = 1_700_000_000_000;
  readonly #startMs = this.#nowMs;
  readonly #alarms = new Set<Alarm>();

  /** Number of timers that are set. */
  get pending(): number {
    return this.#alarms.size;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs - this.#startMs;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = this.after(ms, resolve);
    signal.addEventListener('abort', () => {
      timer[Symbol.dispose]();
      reject(signal.reason);
    });
    return promise;
  }

  every(ms: number, tick: () => void): Disposable {
    return this.#set({ atMs: this.#nowMs + ms, ring: tick, everyMs: ms });
  }

  after(ms: number, callback: () => void): Disposable {
    return this.#set({ atMs: this.#nowMs + ms, ring: callback, everyMs: undefined });
  }

  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#alarms].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      if (due.everyMs === undefined) this.#alarms.delete(due);
      else due.atMs += due.everyMs;
      due.ring();
    }
    this.#nowMs = untilMs;
  }

  #set(alarm: Alarm): Disposable {
    this.#alarms.add(alarm);
    return { [Symbol.dispose]: () => this.#alarms.delete(alarm) };
  }
}
