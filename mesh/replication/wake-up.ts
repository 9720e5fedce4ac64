/**
 * A bell for a loop: whoever has work for it rings, and the loop, which waits in between, goes on at once. A ring
 * while nobody waits is kept, once: the next wait returns immediately.
 */
import type { Clock } from '#runtime/clock.ts';

export class WakeUp {
  readonly #clock: Clock;
  #rung = false;
  #waiting: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  ring(): void {
    this.#rung = true;
    this.#waiting?.();
  }

  /**
   * Returns at the next ring, or after `timeoutMs`. One loop waits at a time.
   * Rejects with the signal's reason when it aborts.
   */
  async wait(timeoutMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#rung && timeoutMs > 0) await this.#ringOrTimeout(timeoutMs, signal);
    signal.throwIfAborted();
    this.#rung = false;
  }

  async #ringOrTimeout(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = () => resolve();
    this.#waiting = wake;
    signal.addEventListener('abort', wake, { once: true });
    using _timer = this.#clock.after(timeoutMs, wake);
    await promise;
    signal.removeEventListener('abort', wake);
    this.#waiting = undefined;
  }
}
