/**
 * The trace of each request: taken from its `traceparent`, or begun. Ids that are made are a random beginning of this
 * server and a count, which costs no randomness per request.
 */
import { parseTraceparent, type Trace } from '#domain/trace.ts';
import { type Random, randomId } from '#runtime/random.ts';

export class Traces {
  readonly #tracePrefix: string;
  readonly #spanPrefix: string;
  #count = 0;

  constructor(random: Random) {
    this.#tracePrefix = randomId(random, 10);
    this.#spanPrefix = randomId(random, 4);
  }

  /** Of a request that came with this header. The step is always ours. */
  of(header: string | string[] | undefined): Trace {
    this.#count += 1;
    const spanId = `${this.#spanPrefix}${hexadecimal(this.#count % 2 ** 32, 8)}`;
    const parent = typeof header === 'string' ? parseTraceparent(header) : undefined;
    if (parent !== undefined) return { ...parent, spanId };
    return { traceId: `${this.#tracePrefix}${hexadecimal(this.#count, 12)}`, spanId, sampled: false };
  }
}

function hexadecimal(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
