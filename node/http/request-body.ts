/**
 * The body of a request as it arrives. There is no parser and no global limit: whoever reads says how much is
 * allowed. Nothing is read, and no `100 Continue` is sent, before somebody asks; so a request that is refused by
 * its headers costs no transfer.
 *
 * Reading never closes the connection: a reader that stops early can still be followed by an answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { RegistryError } from '#domain/errors.ts';
import type { Clock } from '#runtime/clock.ts';
import { drain } from '#storage/upload-source.ts';

/** Up to this, an unwanted body is read to its end, so that the connection stays usable. */
const DISCARD_BYTES_MAX = 256 * 1024;
/** How long the rest of such a body may take to arrive, before the answer is ended without it. */
const LINGER_MS = 2000;

export class RequestBody {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #signal: () => AbortSignal;
  #started = false;

  constructor(request: IncomingMessage, response: ServerResponse, signal: () => AbortSignal) {
    this.#request = request;
    this.#response = response;
    this.#signal = signal;
  }

  /** What `Content-Length` announces; `undefined` for a chunked body, 0 for none. */
  get announcedBytes(): number | undefined {
    const { headers } = this.#request;
    if (headers['transfer-encoding'] !== undefined) return undefined;
    return Number(headers['content-length'] ?? 0);
  }

  /**
   * The pieces, once; they are the reader's own. `exactly`: the only length that is accepted; a piece that would exceed it is not yielded.
   * The iteration throws RegistryError SIZE_INVALID when the body is too long, too short, or cut off.
   */
  async *pieces(exactly?: number): AsyncGenerator<Uint8Array> {
    let arrived = 0;
    for await (const piece of this.#read()) {
      arrived += piece.length;
      if (exactly !== undefined && arrived > exactly) throw wrongLength(exactly, `at least ${arrived}`);
      yield piece;
    }
    if (exactly !== undefined && arrived < exactly) throw wrongLength(exactly, String(arrived));
  }

  /**
   * All of it, in memory of its own: a piece is a view into a larger buffer, which must not live as long as it does.
   * @throws RegistryError SIZE_INVALID (413) past `bytesMax`, before reading where the length is announced; the
   *   signal's reason, also while the client is silent.
   */
  async bytes(bytesMax: number): Promise<Uint8Array> {
    if ((this.announcedBytes ?? 0) > bytesMax) throw tooLarge(bytesMax);
    const pieces: Uint8Array[] = [];
    let arrived = 0;
    for await (const piece of drain(this.#read(), this.#signal())) {
      arrived += piece.length;
      if (arrived > bytesMax) throw tooLarge(bytesMax);
      pieces.push(piece);
    }
    const bytes = new Uint8Array(arrived);
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    if (this.announcedBytes === 0) return;
    if (!this.#started && this.#expectsContinue) this.#response.writeContinue();
    this.#started = true;
    const source: AsyncIterable<Uint8Array> = this.#request.iterator({ destroyOnReturn: false });
    try {
      yield* source;
    } catch (cause) {
      throw new RegistryError('SIZE_INVALID', 'the body was cut off before its end', { cause });
    }
  }

  /** True while bytes may still come that nobody wants. */
  get isUnread(): boolean {
    return !this.#request.complete && this.announcedBytes !== 0;
  }

  /** True when the unread rest is not worth waiting for: the answer then announces that the connection closes. */
  get closesConnection(): boolean {
    if (!this.isUnread) return false;
    return this.#isWithheld || (this.announcedBytes ?? Number.POSITIVE_INFINITY) > DISCARD_BYTES_MAX;
  }

  /** Takes and drops the rest of a body for which the connection stays open, for a bounded time. */
  async discard(clock: Clock, signal: AbortSignal): Promise<void> {
    if (!this.isUnread || signal.aborted) return;
    const ended = Promise.withResolvers<void>();
    for (const event of ['end', 'close', 'error']) this.#request.once(event, () => ended.resolve());
    this.#request.resume();
    const waited = new AbortController();
    const linger = clock.sleep(LINGER_MS, AbortSignal.any([signal, waited.signal])).catch(() => undefined);
    await Promise.race([ended.promise, linger]);
    waited.abort();
  }

  get #expectsContinue(): boolean {
    return this.#request.headers.expect?.toLowerCase() === '100-continue';
  }

  /** The client waits for a word before it sends, and did not get it. */
  get #isWithheld(): boolean {
    return !this.#started && this.#expectsContinue;
  }
}

function wrongLength(exactly: number, arrived: string): RegistryError {
  return new RegistryError('SIZE_INVALID', `${exactly} bytes were announced, and ${arrived} arrived`);
}

function tooLarge(bytesMax: number): RegistryError {
  return new RegistryError('SIZE_INVALID', `the body is larger than ${bytesMax} bytes`, { status: 413 });
}
