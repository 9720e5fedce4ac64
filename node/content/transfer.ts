/**
 * One blob, from whoever has it into the store: an upload is filled from one source after the other, each going on
 * at the byte where the last one ended, until it is complete and its digest is right.
 *
 * When the digest is wrong, nothing is stored, and another upload begins with those sources that are not to blame.
 * `candidates.ts` decides whom to ask; what is here does it.
 */
import type { Digest } from '#domain/digest.ts';
import { messageOf, RegistryError, UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import { type RequestContext, requestFields } from '#domain/request-context.ts';
import { type BackoffConfig, backoffMs } from '#runtime/backoff.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Random } from '#runtime/random.ts';
import type { BlobStore, Upload } from '#storage/blob-store.ts';
import { type Candidate, Candidates, contentSource } from './candidates.ts';
import { GrowingBlob } from './growing-blob.ts';
import { openSource, type SourceStream } from './source-stream.ts';
import type { Upstream } from './upstream.ts';

export type TransferDeps = {
  readonly blobs: BlobStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Called as bytes arrive. */
  readonly onBytes: (upstream: Upstream, bytes: number) => void;
};

export type TransferConfig = {
  readonly firstByteMs: number;
  readonly progressMs: number;
  readonly startMs: number;
  readonly blobBytesMax: number;
};

export type TransferRequest = {
  readonly repository: RepositoryName;
  readonly digest: Digest;
  readonly sizeBytes?: number | undefined;
  readonly sources: readonly Upstream[];
  /** The first byte of an upload has come; again when another one had to begin. */
  readonly onBegan: (blob: GrowingBlob) => void;
  /** What had begun had another digest; its readers have been told. */
  readonly onMismatch: () => void;
};

export type Transferred = { readonly sizeBytes: number; readonly source: Upstream };

const BACKOFF: BackoffConfig = { baseMs: 200, maxMs: 2000 };

export class Transfer {
  readonly #deps: TransferDeps;
  readonly #config: TransferConfig;
  readonly #request: TransferRequest;
  readonly #candidates: Candidates;
  readonly #startedMs: number;
  /** The upload at hand, once its first byte is here. */
  #growing: GrowingBlob | undefined;

  constructor(deps: TransferDeps, config: TransferConfig, request: TransferRequest) {
    this.#deps = deps;
    this.#config = config;
    this.#request = request;
    this.#candidates = new Candidates(request.sources);
    this.#startedMs = deps.clock.monotonicMs();
  }

  /**
   * `undefined`: every source says that it does not have the blob. To be called once.
   * @throws UnavailableError with what each source answered, or when the store refuses; the context's reason.
   */
  async run(context: RequestContext): Promise<Transferred | undefined> {
    for (;;) {
      const upload = await this.#deps.blobs.startUpload(this.#request.repository);
      try {
        const complete = await this.#receive(upload, context);
        if (complete === undefined) return undefined;
        const stored = await this.#commit(upload, complete, context);
        if (stored !== undefined) return stored;
        this.#growing = undefined;
      } catch (thrown) {
        // A refusal of the store is about our upload, and not about what a client asked for.
        const broken = thrown instanceof RegistryError ? storeRefused(thrown) : thrown;
        this.#growing?.broken(broken);
        throw broken;
      } finally {
        await upload.abort();
      }
    }
  }

  /** `undefined` when nobody has it. */
  async #receive(upload: Upload, context: RequestContext): Promise<GrowingBlob | undefined> {
    for (;;) {
      const growing = this.#growing;
      if (growing !== undefined && upload.sizeBytes === growing.sizeBytes) return growing;
      const candidate = this.#next();
      if (candidate === undefined && this.#candidates.allAbsent) return undefined;
      if (candidate === undefined) throw this.#nobody();
      if (candidate.failures > 0) {
        const waitMs = backoffMs(candidate.failures, BACKOFF, this.#deps.random);
        await this.#deps.clock.sleep(waitMs, context.signal);
      }
      await this.#try(candidate, upload, context);
    }
  }

  /** Whoever waits for the first byte is answered within `startMs` and one more try. */
  #next(): Candidate | undefined {
    const waitedMs = this.#deps.clock.monotonicMs() - this.#startedMs;
    return this.#growing === undefined && waitedMs > this.#config.startMs
      ? undefined
      : this.#candidates.next();
  }

  #nobody(): UnavailableError {
    const { digest, repository } = this.#request;
    return new UnavailableError(`no source delivered ${digest} of ${repository}`, {
      tried: this.#candidates.tried,
    });
  }

  async #try(candidate: Candidate, upload: Upload, context: RequestContext): Promise<void> {
    const { repository, digest, sizeBytes } = this.#request;
    const offset = upload.sizeBytes;
    const opening = await openSource(
      {
        upstream: candidate.upstream,
        repository,
        digest,
        offset,
        expectedBytes: this.#growing?.sizeBytes ?? sizeBytes,
      },
      context,
      { ...this.#config, clock: this.#deps.clock },
    );
    if ('stream' in opening) await this.#append(candidate, upload, { stream: opening.stream, context });
    const failure = 'stream' in opening ? opening.stream.failure : opening.failure;
    if (failure === undefined) return;
    this.#candidates.failed(candidate, failure, upload.sizeBytes - offset);
    const level = failure.fault === 'absent' ? 'debug' : 'warn';
    this.#deps.log[level]('source of a blob failed', {
      ...requestFields(context),
      repository,
      digest,
      upstream: candidate.upstream.name,
      bytes: upload.sizeBytes - offset,
      reason: failure.reason,
    });
  }

  async #append(
    candidate: Candidate,
    upload: Upload,
    { stream, context }: { readonly stream: SourceStream; readonly context: RequestContext },
  ): Promise<void> {
    const growing = this.#growing ?? this.#begin(candidate, upload, stream);
    let arrivedBytes = upload.sizeBytes;
    this.#candidates.received(candidate, 0);
    await upload.append(stream.pieces(), {
      signal: context.signal,
      onProgress: (sizeBytes) => {
        this.#candidates.received(candidate, sizeBytes - arrivedBytes);
        this.#deps.onBytes(candidate.upstream, sizeBytes - arrivedBytes);
        arrivedBytes = sizeBytes;
        growing.progressed(sizeBytes);
      },
    });
  }

  #begin(candidate: Candidate, upload: Upload, stream: SourceStream): GrowingBlob {
    const growing = new GrowingBlob(
      { blobs: this.#deps.blobs, upload },
      {
        digest: this.#request.digest,
        sizeBytes: stream.sizeBytes,
        source: contentSource(candidate.upstream),
      },
    );
    this.#growing = growing;
    this.#request.onBegan(growing);
    return growing;
  }

  /** `undefined` when the bytes are not those of the digest: they are gone, and their readers know. */
  async #commit(
    upload: Upload,
    growing: GrowingBlob,
    context: RequestContext,
  ): Promise<Transferred | undefined> {
    const { digest, repository } = this.#request;
    const source = this.#candidates.largest();
    if (source === undefined) throw this.#nobody();
    try {
      await upload.commit(digest);
    } catch (thrown) {
      if (!(thrown instanceof RegistryError) || thrown.code !== 'DIGEST_INVALID') throw thrown;
      this.#candidates.mismatched();
      const reason = messageOf(thrown);
      this.#deps.log.error('source of a blob sent wrong bytes', {
        ...requestFields(context),
        repository,
        digest,
        upstream: source.name,
        reason,
      });
      this.#request.onMismatch();
      growing.broken(
        new UnavailableError(`what ${source.name} sent is not ${digest}`, { tried: this.#candidates.tried }),
      );
      return undefined;
    }
    growing.stored();
    return { sizeBytes: growing.sizeBytes, source };
  }
}

function storeRefused(cause: RegistryError): UnavailableError {
  return new UnavailableError(`the store refused a fill: ${cause.message}`, { cause });
}
