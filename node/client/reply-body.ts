/**
 * The body of an answer: read whole within a bound, thrown away, or streamed with its length checked.
 *
 * A stream that is shorter or longer than announced, breaks off or stalls throws UnavailableError from its iteration;
 * one that is returned early closes its connection, also when nothing was read of it yet. Whoever drops a body
 * without any of these leaves its connection open until the request's signal aborts.
 */
import type { Dispatcher } from 'undici';
import { messageOf, UnavailableError } from '#domain/errors.ts';

/** An unread body up to this size is drained, which keeps its connection; a longer one costs the connection. */
const DISCARD_BYTES_MAX = 64 * 1024;

export type ReplyBodyOptions = {
  /** Who sends it, for errors. */
  readonly from: string;
  readonly signal: AbortSignal;
  /** Called once when the sender broke off or stalled. */
  readonly onFailure: () => void;
};

export class ReplyBody {
  readonly #readable: Dispatcher.ResponseData['body'];
  readonly #options: ReplyBodyOptions;

  constructor(readable: Dispatcher.ResponseData['body'], options: ReplyBodyOptions) {
    this.#readable = readable;
    this.#options = options;
  }

  /** `undefined` when it is longer than `maxBytes`. @throws UnavailableError when it breaks off. */
  async read(maxBytes: number): Promise<Uint8Array | undefined> {
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    try {
      for await (const piece of this.#readable as AsyncIterable<Uint8Array>) {
        sizeBytes += piece.byteLength;
        if (sizeBytes > maxBytes) return undefined;
        pieces.push(piece);
      }
    } catch (thrown) {
      throw this.#translate(thrown);
    }
    return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
  }

  /** Resolves when the connection is free or closed; never throws. */
  async discard(): Promise<void> {
    await this.#readable.dump({ limit: DISCARD_BYTES_MAX }).catch(() => undefined);
  }

  /** The first `skipBytes` of exactly `expectedBytes` are dropped. To be iterated once. */
  stream(expectedBytes: number, skipBytes = 0): AsyncIterableIterator<Uint8Array> {
    return new MeasuredStream(this.#readable, {
      expectedBytes,
      skipBytes,
      from: this.#options.from,
      translate: (thrown) => this.#translate(thrown),
    });
  }

  #translate(thrown: unknown): unknown {
    const { signal, from, onFailure } = this.#options;
    if (signal.aborted) return signal.reason;
    if (thrown instanceof UnavailableError) return thrown;
    onFailure();
    return new UnavailableError(`${from} broke off in the middle of its answer: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
}

type MeasuredStreamOptions = {
  readonly expectedBytes: number;
  readonly skipBytes: number;
  readonly from: string;
  readonly translate: (thrown: unknown) => unknown;
};

/** An iterator by hand: a generator that was never started does not run its `finally`, and would leak the connection. */
class MeasuredStream implements AsyncIterableIterator<Uint8Array> {
  readonly #readable: Dispatcher.ResponseData['body'];
  readonly #options: MeasuredStreamOptions;
  #pieces: AsyncIterator<Uint8Array> | undefined;
  #receivedBytes = 0;

  constructor(readable: Dispatcher.ResponseData['body'], options: MeasuredStreamOptions) {
    this.#readable = readable;
    this.#options = options;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    try {
      return await this.#nextPiece();
    } catch (thrown) {
      this.#readable.destroy();
      throw this.#options.translate(thrown);
    }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#readable.destroy();
    return { done: true, value: undefined };
  }

  async #nextPiece(): Promise<IteratorResult<Uint8Array>> {
    this.#pieces ??= this.#readable[Symbol.asyncIterator]();
    const { expectedBytes, skipBytes, from } = this.#options;
    for (;;) {
      const result = await this.#pieces.next();
      if (result.done === true) {
        if (this.#receivedBytes === expectedBytes) return { done: true, value: undefined };
        throw new UnavailableError(`${from} sent ${this.#receivedBytes} of ${expectedBytes} bytes`);
      }
      const skip = Math.max(0, skipBytes - this.#receivedBytes);
      this.#receivedBytes += result.value.byteLength;
      if (this.#receivedBytes > expectedBytes) {
        throw new UnavailableError(`${from} sent more than the ${expectedBytes} bytes it announced`);
      }
      if (skip < result.value.byteLength) return { done: false, value: result.value.subarray(skip) };
    }
  }
}
