/**
 * Tasks that take turns, one step at a time, in an order that a seed decides; and a crash, after which none of them
 * takes another step, runs a `finally`, or learns of it: what a SIGKILL does.
 */
import { setImmediate as settle } from 'node:timers/promises';
import type { Prng } from '#chaos/prng.ts';

/** Turns of the event loop in which nobody comes to a step, before the tasks are said to be stuck. */
const IDLE_TURNS_MAX = 50;

export class Stepping {
  readonly #chance: Prng;
  #life = 0;
  #active = 0;
  #waiting: (() => void)[] = [];

  constructor(chance: Prng) {
    this.#chance = chance;
  }

  /** Every effect on the outside takes a step first. */
  async step(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    await promise;
  }

  start(task: () => Promise<void>): void {
    const life = this.#life;
    this.#active += 1;
    const end = () => {
      if (this.#life === life) this.#active -= 1;
    };
    void this.step()
      .then(task)
      .then(end, (thrown) => {
        end();
        this.failure ??= thrown;
      });
  }

  /** The first error that a task ended with. */
  failure: unknown;

  /** Lets all tasks go on until they have ended, or until `steps` were taken. True when they have ended. */
  async run(steps = Number.POSITIVE_INFINITY): Promise<boolean> {
    let idle = 0;
    for (let taken = 0; taken < steps; ) {
      await settle();
      if (this.failure !== undefined) throw this.failure;
      if (this.#active === 0) return true;
      const [next] = this.#waiting.splice(this.#chance.below(this.#waiting.length), 1);
      idle = next === undefined ? idle + 1 : 0;
      if (idle > IDLE_TURNS_MAX) throw new Error(`${this.#active} tasks are stuck`);
      if (next === undefined) continue;
      taken += 1;
      next();
    }
    // Whoever took the last step goes on to its next one, and is not caught in between by a crash.
    await settle();
    return this.#active === 0;
  }

  crash(): void {
    this.#life += 1;
    this.#active = 0;
    this.#waiting = [];
  }
}
