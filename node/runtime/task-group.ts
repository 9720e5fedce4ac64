/**
 * Background work with an owner: tasks start in a group, share its signal, and are waited for when it is disposed.
 * A task that throws (other than because the group ended) is reported, never lost.
 */
export class TaskGroup implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #onError: (thrown: unknown) => void;

  constructor(onError: (thrown: unknown) => void) {
    this.#onError = onError;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  start(work: (signal: AbortSignal) => Promise<void>): void {
    const running = work(this.signal)
      .catch((thrown: unknown) => {
        if (!this.signal.aborted) this.#onError(thrown);
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#controller.abort(new Error('stopping'));
    await Promise.allSettled(this.#running);
  }
}
