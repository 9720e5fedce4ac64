/**
 * Tasks that take turns, one step at a time, in an order that a seed decides; and a crash, after which none of them
 * takes another step, runs a `finally`, or learns of it: what a SIGKILL does.
 */
import { setImmediate as settle } from 'node:timers/promises';
import type { Prng } from '#chaos/prng.ts';

/** Turns of the event loop in which nobody comes to a step, before the tasks are said to be stuck. */
const IDLE_TURNS_MAX = 50;
/**
 * How likely it is that the same task takes the next step too, so that one is also held up at one place while another
 * does all of its work. Orders of another kind; the planted faults show about as often without.
 */
const PERSISTENCES = [0, 0.8, 0.95];

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

  /**
   * Lets all tasks go on until they have ended, and what they began in the background, or until `steps` were taken.
   * True when they have ended.
   */
  async run(steps = Number.POSITIVE_INFINITY): Promise<boolean> {
    const persistence = this.#chance.pick(PERSISTENCES);
    let idle = 0;
    for (let taken = 0; taken < steps; ) {
      await settle();
      if (this.failure !== undefined) throw this.failure;
      if (this.#isQuiet()) return true;
      const [next] = this.#waiting.splice(this.#place(persistence), 1);
      idle = next === undefined ? idle + 1 : 0;
      if (idle > IDLE_TURNS_MAX) throw new Error(`${this.#active} tasks are stuck`);
      if (next === undefined) continue;
      taken += 1;
      next();
    }
    // Whoever took the last step goes on to its next one, and is not caught in between by a crash.
    await settle();
    return this.#isQuiet();
  }

  /** Whoever took the last step waits for its next one at the end. */
  #place(persistence: number): number {
    const count = this.#waiting.length;
    return this.#chance.chance(persistence) ? Math.max(0, count - 1) : this.#chance.below(count);
  }

  #isQuiet(): boolean {
    return this.#active === 0 && this.#waiting.length === 0;
  }

  crash(): void {
    this.#life += 1;
    this.#active = 0;
    this.#waiting = [];
  }
}
