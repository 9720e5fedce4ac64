/**
 * Single flight: work for one key runs once, however many ask for it at the same moment.
 *
 * The work has its own signal, and is aborted when its last waiter has left; a waiter that leaves early rejects
 * with its own reason and harms nobody. A key is free again as soon as its work has settled: this is no cache.
 */
export class Flight<Key, Value> {
  readonly #flying = new Map<Key, Journey<Value>>();

  /** Number of keys in the air. */
  get size(): number {
    return this.#flying.size;
  }

  /** Joins the work for `key`, or starts it. Rejects with what the work threw, or with `signal`'s reason. */
  async join(key: Key, signal: AbortSignal, work: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    signal.throwIfAborted();
    const journey = this.#flying.get(key) ?? this.#start(key, work);
    journey.waiters += 1;
    const left = Promise.withResolvers<never>();
    const leave = () => left.reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([journey.done, left.promise]);
    } finally {
      signal.removeEventListener('abort', leave);
      journey.waiters -= 1;
      if (journey.waiters === 0) journey.controller.abort(new Error('nobody waits for this any more'));
    }
  }

  #start(key: Key, work: (signal: AbortSignal) => Promise<Value>): Journey<Value> {
    const controller = new AbortController();
    const done = work(controller.signal);
    const journey: Journey<Value> = { controller, done, waiters: 0 };
    this.#flying.set(key, journey);
    const free = () => {
      if (this.#flying.get(key) === journey) this.#flying.delete(key);
    };
    done.then(free, free);
    controller.signal.addEventListener('abort', free, { once: true });
    return journey;
  }
}

type Journey<Value> = {
  readonly controller: AbortController;
  readonly done: Promise<Value>;
  waiters: number;
};
