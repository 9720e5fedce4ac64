/** A clock that a test moves: timers fire in order of time, only while it is moved. */
import type { Clock } from '#runtime/clock.ts';

type Timer = { dueMs: number; readonly everyMs: number | undefined; readonly tick: () => void };

export class ManualClock implements Clock {
  #nowMs: number;
  readonly #timers = new Set<Timer>();

  constructor(nowMs = 1_800_000_000_000) {
    this.#nowMs = nowMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (signal.aborted) reject(signal.reason);
    const timer = this.after(ms, resolve);
    const leave = () => {
      timer[Symbol.dispose]();
      reject(signal.reason);
    };
    signal.addEventListener('abort', leave, { once: true });
    return promise.finally(() => signal.removeEventListener('abort', leave));
  }

  every(ms: number, tick: () => void): Disposable {
    return this.#add({ dueMs: this.#nowMs + ms, everyMs: ms, tick });
  }

  after(ms: number, callback: () => void): Disposable {
    return this.#add({ dueMs: this.#nowMs + ms, everyMs: undefined, tick: callback });
  }

  /** Fires everything that is due within the next `ms`. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const next = [...this.#timers].sort((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined || next.dueMs > untilMs) break;
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      if (next.everyMs === undefined) this.#timers.delete(next);
      else next.dueMs += next.everyMs;
      next.tick();
    }
    this.#nowMs = untilMs;
  }

  #add(timer: Timer): Disposable {
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }
}
