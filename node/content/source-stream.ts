/**
 * One try to read a blob from one source, from an offset to its end, watched by a clock.
 *
 * What a source does wrong is a value here, not an exception: the caller goes on with the next source, and an
 * exception would be mixed up with those of the store that the bytes go to. The clock runs only while we wait for
 * the source, so that a slow disk of ours is never held against it. A source that sends more than it announced is cut
 * at that size: the digest says whether the bytes are the right ones.
 */
import type { Digest } from '#domain/digest.ts';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import { orAborted } from './or-aborted.ts';
import type { Upstream } from './upstream.ts';

/** `absent`: it does not have the blob. `silent`: it may be asked again. `wrong`: it talks nonsense. */
export type SourceFailure = { readonly fault: 'absent' | 'silent' | 'wrong'; readonly reason: string };

export type SourceRequest = {
  readonly upstream: Upstream;
  readonly repository: RepositoryName;
  readonly digest: Digest;
  readonly offset: number;
  /** The blob's whole size, where it is known; a source that says another one is refused. */
  readonly expectedBytes: number | undefined;
};

export type SourceLimits = {
  readonly clock: Clock;
  readonly firstByteMs: number;
  readonly progressMs: number;
  readonly blobBytesMax: number;
};

export type SourceOpening = { readonly stream: SourceStream } | { readonly failure: SourceFailure };

type Step = IteratorResult<Uint8Array, unknown>;

/**
 * Resolves when the first byte is here (of an empty blob: its end). Rejects only with the reason of the context's
 * signal; everything that the source does wrong is a `failure`.
 */
export async function openSource(
  request: SourceRequest,
  context: RequestContext,
  limits: SourceLimits,
): Promise<SourceOpening> {
  const watch = new SilenceWatch(limits.clock, context.signal);
  const { upstream, repository, digest, offset } = request;
  let iterator: AsyncIterator<Uint8Array> | undefined;
  const begin = async (): Promise<SourceOpening> => {
    const asked = { ...context, signal: watch.signal };
    const blob = await upstream.openBlob({ repository, digest, offset }, asked);
    if (blob === undefined) return { failure: { fault: 'absent', reason: 'does not have it' } };
    iterator = blob.body[Symbol.asyncIterator]();
    // A source that answers after its time is closed, and not read from.
    if (watch.signal.aborted) watch.leave(iterator);
    watch.signal.throwIfAborted();
    const refused = refusal(blob.sizeBytes, request, limits);
    if (refused !== undefined) return { failure: { fault: 'wrong', reason: refused } };
    const first = await iterator.next();
    if (first.done === true && offset < blob.sizeBytes) {
      return { failure: { fault: 'silent', reason: `ended at byte ${offset} of ${blob.sizeBytes}` } };
    }
    const about = { sizeBytes: blob.sizeBytes, offset, progressMs: limits.progressMs };
    return { stream: new SourceStream({ iterator, first, watch }, about) };
  };
  try {
    const opening = await watch.wait(limits.firstByteMs, begin);
    if ('failure' in opening) watch.leave(iterator);
    return opening;
  } catch (thrown) {
    watch.leave(iterator);
    context.signal.throwIfAborted();
    return { failure: { fault: 'silent', reason: messageOf(thrown) } };
  }
}

function refusal(sizeBytes: number, request: SourceRequest, limits: SourceLimits): string | undefined {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) return `says a size of ${sizeBytes}`;
  if (sizeBytes > limits.blobBytesMax) {
    return `says ${sizeBytes} bytes, which is more than the limit of ${limits.blobBytesMax}`;
  }
  const { expectedBytes } = request;
  if (expectedBytes === undefined || expectedBytes === sizeBytes) return undefined;
  return `says ${sizeBytes} bytes instead of ${expectedBytes}`;
}

export class SourceStream {
  /** Of the whole blob. */
  readonly sizeBytes: number;
  readonly #parts: { iterator: AsyncIterator<Uint8Array>; first: Step; watch: SilenceWatch };
  readonly #progressMs: number;
  #position: number;
  #failure: SourceFailure | undefined;

  constructor(
    parts: {
      readonly iterator: AsyncIterator<Uint8Array>;
      readonly first: Step;
      readonly watch: SilenceWatch;
    },
    about: { readonly sizeBytes: number; readonly offset: number; readonly progressMs: number },
  ) {
    this.#parts = parts;
    this.sizeBytes = about.sizeBytes;
    this.#position = about.offset;
    this.#progressMs = about.progressMs;
  }

  /** Why `pieces` ended before the blob did, or what was odd about its end; `undefined` when all was well. */
  get failure(): SourceFailure | undefined {
    return this.#failure;
  }

  /** Never more than the blob's size in all. Throws only the reason of the context's signal. To be read once. */
  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    const { iterator, watch } = this.#parts;
    let step = this.#parts.first;
    try {
      while (step.done !== true) {
        const room = this.sizeBytes - this.#position;
        const piece = step.value.byteLength > room ? step.value.subarray(0, room) : step.value;
        if (piece.byteLength > 0) {
          this.#position += piece.byteLength;
          yield piece;
        }
        if (step.value.byteLength > room) {
          this.#failure = {
            fault: 'wrong',
            reason: `sent more than the ${this.sizeBytes} bytes it announced`,
          };
          return;
        }
        step = await watch.wait(this.#progressMs, () => iterator.next());
      }
      if (this.#position < this.sizeBytes) this.#end('ended');
    } catch (thrown) {
      watch.parent.throwIfAborted();
      if (this.#position < this.sizeBytes) this.#end(messageOf(thrown));
    } finally {
      watch.leave(iterator);
    }
  }

  #end(reason: string): void {
    this.#failure = {
      fault: 'silent',
      reason: `${reason} (at byte ${this.#position} of ${this.sizeBytes})`,
    };
  }
}

/** Ends a wait after a while, or with its parent. What waited too long is left for good. */
class SilenceWatch {
  readonly parent: AbortSignal;
  readonly signal: AbortSignal;
  readonly #clock: Clock;
  readonly #controller = new AbortController();

  constructor(clock: Clock, parent: AbortSignal) {
    this.#clock = clock;
    this.parent = parent;
    this.signal = AbortSignal.any([parent, this.#controller.signal]);
  }

  async wait<Value>(ms: number, work: () => Promise<Value>): Promise<Value> {
    using _timer = this.#clock.after(ms, () =>
      this.#controller.abort(new UnavailableError(`sent nothing for ${ms} ms`)),
    );
    return await orAborted(work(), this.signal);
  }

  /** Closes the connection. A source that fails while it is being left has nothing more to say to us. */
  leave(iterator: AsyncIterator<Uint8Array> | undefined): void {
    this.#controller.abort(new UnavailableError('left'));
    iterator?.return?.().then(undefined, () => undefined);
  }
}
