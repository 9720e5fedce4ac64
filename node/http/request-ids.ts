/**
 * Request ids: `Fairway-Request-Id` is taken from the request when it is harmless in a log line and a header, and
 * made otherwise. A made one is a random prefix of this server and a count, which costs no randomness per request.
 */
import { type Random, randomId } from '#runtime/random.ts';

const HARMLESS = /^[A-Za-z0-9._-]{1,64}$/;

export class RequestIds {
  readonly #prefix: string;
  #count = 0;

  constructor(random: Random) {
    this.#prefix = randomId(random, 8);
  }

  /** The id of a request that came with this header. */
  of(header: string | string[] | undefined): string {
    if (typeof header === 'string' && HARMLESS.test(header)) return header;
    this.#count += 1;
    return `${this.#prefix}-${this.#count.toString(36)}`;
  }
}
