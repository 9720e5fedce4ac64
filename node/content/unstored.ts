/**
 * Content that our store refuses, because its disk is full or read-only: it goes from its source straight to whoever
 * asked, and nothing of it is kept. Pulls go on as long as somebody else has the content.
 *
 * It is verified all the same: the last piece of a whole body is held back until the digest of all of it is known
 * (DESIGN.md, P2). A part of a blob cannot be, and passes as it comes; whoever puts parts together checks the whole. A
 * source that fails in the middle is followed by the next one at the same byte.
 * Limit: nothing is shared, so each reader has a stream of its own, and `STREAMS_MAX` of them go on at once.
 */
import { algorithmOf, type Digest, Digester } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { ByteRange } from '#storage/blob-store.ts';
import { type Candidate, Candidates, contentSource } from './candidates.ts';
import { openSource } from './source-stream.ts';
import type { ContentSource, Upstream } from './upstream.ts';

export type UnstoredDeps = { readonly clock: Clock; readonly log: Log };

export type UnstoredRequest = {
  readonly repository: RepositoryName;
  readonly digest: Digest;
  readonly sources: readonly Upstream[];
};

export type UnstoredBlob = {
  readonly sizeBytes: number;
  readonly source: ContentSource;
  /** Ends with an error, short of its last piece, when the bytes are wrong or cannot be had. */
  read(range: ByteRange | undefined, signal: AbortSignal): AsyncIterable<Uint8Array>;
};

/** As patient as fills are by default. */
const LIMITS = { firstByteMs: 3000, progressMs: 10_000, blobBytesMax: 256 * 1024 ** 3 };
/** One more is refused as unavailable: each has a connection to a source. Twice what fills have. */
const STREAMS_MAX = 64;
/** How long the store is not tried again after it refused: room comes back by somebody's doing, not by itself. */
const REFUSED_MS = 10_000;

type Reading = UnstoredRequest & {
  readonly sizeBytes: number;
  readonly range: ByteRange;
  readonly context: RequestContext;
};

export class Unstored {
  readonly #deps: UnstoredDeps;
  #streams = 0;
  #refusedUntilMs = Number.NEGATIVE_INFINITY;

  constructor(deps: UnstoredDeps) {
    this.#deps = deps;
  }

  /** True for a while after the store refused: who asks then need not try it first. */
  get isStoreRefusing(): boolean {
    return this.#deps.clock.monotonicMs() < this.#refusedUntilMs;
  }

  storeRefused(digest: Digest, err: unknown): void {
    if (!this.isStoreRefusing) this.#deps.log.warn('store refused content', { digest, err });
    this.#refusedUntilMs = this.#deps.clock.monotonicMs() + REFUSED_MS;
  }

  /** `undefined`: every source says that it does not have it. @throws UnavailableError; the context's reason. */
  async open(request: UnstoredRequest, context: RequestContext): Promise<UnstoredBlob | undefined> {
    const candidates = new Candidates(request.sources);
    for (;;) {
      const candidate = candidates.next();
      if (candidate === undefined && candidates.allAbsent) return undefined;
      if (candidate === undefined) throw nobody(request, candidates);
      const opening = await this.#openAt({ ...request, offset: 0 }, candidate, context);
      if ('failure' in opening) {
        candidates.failed(candidate, opening.failure, 0);
        continue;
      }
      const { sizeBytes } = opening.stream;
      // It was opened for its size; whoever reads opens it where the reading begins.
      for await (const _ of opening.stream.pieces()) break;
      const whole = { start: 0, end: sizeBytes - 1 };
      return {
        sizeBytes,
        source: contentSource(candidate.upstream),
        read: (range, signal) =>
          this.#read({ ...request, sizeBytes, range: range ?? whole, context: { ...context, signal } }),
      };
    }
  }

  async *#read(reading: Reading): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#streams >= STREAMS_MAX) {
      throw new UnavailableError(`the store refuses content, and ${STREAMS_MAX} streams go past it already`);
    }
    this.#streams += 1;
    try {
      const { range, sizeBytes } = reading;
      const isWhole = range.start === 0 && range.end === sizeBytes - 1;
      yield* isWhole ? verified(reading.digest, this.#pieces(reading)) : this.#pieces(reading);
    } finally {
      this.#streams -= 1;
    }
  }

  /** Exactly the range, from one source after the other. */
  async *#pieces(reading: Reading): AsyncGenerator<Uint8Array, void, undefined> {
    const { range, context, sizeBytes } = reading;
    const candidates = new Candidates(reading.sources);
    let position = range.start;
    while (position <= range.end) {
      const candidate = candidates.next();
      if (candidate === undefined) throw nobody(reading, candidates);
      const asked = { ...reading, offset: position, expectedBytes: sizeBytes };
      const opening = await this.#openAt(asked, candidate, context);
      const before = position;
      if ('stream' in opening) {
        for await (const piece of opening.stream.pieces()) {
          const wanted = piece.subarray(0, range.end + 1 - position);
          position += wanted.byteLength;
          yield wanted;
          if (position > range.end) return;
        }
      }
      const failure = 'stream' in opening ? opening.stream.failure : opening.failure;
      if (failure !== undefined) candidates.failed(candidate, failure, position - before);
    }
  }

  async #openAt(
    asked: UnstoredRequest & { readonly offset: number; readonly expectedBytes?: number },
    { upstream }: Candidate,
    context: RequestContext,
  ) {
    const { repository, digest, offset, expectedBytes } = asked;
    const limits = { ...LIMITS, clock: this.#deps.clock };
    return await openSource({ upstream, repository, digest, offset, expectedBytes }, context, limits);
  }
}

/** All but the last piece at once, and that one when the whole is what it should be. */
async function* verified(
  digest: Digest,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const digester = new Digester(algorithmOf(digest));
  let held: Uint8Array | undefined;
  for await (const piece of pieces) {
    digester.update(piece);
    if (held !== undefined) yield held;
    held = piece;
  }
  const actual = digester.digest();
  if (actual !== digest) throw new UnavailableError(`what was received is ${actual}, not ${digest}`);
  if (held !== undefined) yield held;
}

function nobody({ digest, repository }: UnstoredRequest, candidates: Candidates): UnavailableError {
  return new UnavailableError(`no source delivered ${digest} of ${repository}`, { tried: candidates.tried });
}
