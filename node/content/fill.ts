/**
 * Fill: bring the content of one digest into our store, verified, once, however many ask.
 *
 * A fill is shared by digest, over all requests and repositories of this process. It answers as soon as the first byte
 * is here; those who asked then follow the growing blob. It belongs to nobody who asked: when they leave it goes on,
 * because the next pull wants the same bytes, and it ends by itself when no source brings bytes any more
 * (`transfer.ts`). At the limit of concurrent fills, further ones wait; when too many wait, or for too long, they
 * are refused as unavailable.
 */
import PQueue from 'p-queue';
import type { Digest } from '#domain/digest.ts';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import { type RequestContext, requestFields } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { Counter, Gauge, type Registry } from '#runtime/metrics.ts';
import type { Random } from '#runtime/random.ts';
import { TaskGroup } from '#runtime/task-group.ts';
import type { BlobStore, ByteRange } from '#storage/blob-store.ts';
import type { BlobRow, BlobRows } from '#storage/metadata.ts';
import { recordStored } from './blob-use.ts';
import { FillJob } from './fill-job.ts';
import { orAborted } from './or-aborted.ts';
import { Transfer, type Transferred } from './transfer.ts';
import type { ContentSource, Upstream } from './upstream.ts';

export type FillDeps = {
  readonly blobs: BlobStore;
  readonly rows: Pick<BlobRows, 'find' | 'record' | 'link' | 'isReadable'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Registry;
};

export type FillConfig = {
  /** Names what is here, in `ContentSource`. */
  readonly region: string;
  /** How long a source may take to its first byte. Default 3000: over any ocean, and short enough to try another. */
  readonly firstByteMs?: number;
  /** How long a source may be silent in the middle. Default 10000: longer than a lost packet's retransmissions. */
  readonly progressMs?: number;
  /** No further source is asked for a first byte after this. Default 10000: clients give up at 15 s. */
  readonly startMs?: number;
  /** Fills at once. Default 32: each has a connection and a file open, and writes to the same disk. */
  readonly concurrentMax?: number;
  /** Fills that may wait for their turn. Default 1024: a few images' layers for each of many clients. */
  readonly waitingMax?: number;
  /** How long a fill may wait for its turn. Default 10000, as `startMs`. */
  readonly waitMs?: number;
  /** The largest blob. Default 256 GiB: beyond any layer, and a stop before a disk is filled by mistake. */
  readonly blobBytesMax?: number;
};

export type FillRequest = {
  readonly repository: RepositoryName;
  readonly digest: Digest;
  /** A source that says another size is refused. */
  readonly sizeBytes?: number;
  /** Asked once, by whoever comes first. The context given to it ends with the fill, not with a client. */
  readonly sources: (context: RequestContext) => Promise<readonly Upstream[]>;
  /** Fill although the blob is here, because what is here cannot be read. Default false. */
  readonly replace?: boolean;
};

export type FillingBlob = {
  readonly sizeBytes: number;
  /** Where the first byte came from; `local` when nothing had to come. */
  readonly source: ContentSource;
  /** Waits for bytes that have not arrived. A reader that leaves while it waits must abort its signal. */
  read(range: ByteRange | undefined, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Resolves when it is verified, durable, recorded and linked; rejects with why not. */
  readonly done: Promise<BlobRow>;
};

export class Fill implements AsyncDisposable {
  readonly #deps: FillDeps;
  readonly #config: Required<FillConfig>;
  readonly #jobs = new Map<Digest, FillJob>();
  readonly #turns: PQueue;
  readonly #running: TaskGroup;
  readonly #metrics: FillMetrics;

  constructor(deps: FillDeps, config: FillConfig) {
    this.#deps = deps;
    this.#config = {
      firstByteMs: 3000,
      progressMs: 10_000,
      startMs: 10_000,
      concurrentMax: 32,
      waitingMax: 1024,
      waitMs: 10_000,
      blobBytesMax: 256 * 1024 ** 3,
      ...config,
    };
    this.#turns = new PQueue({ concurrency: this.#config.concurrentMax });
    this.#running = new TaskGroup((err) => deps.log.error('fill broke', { err }));
    this.#metrics = openMetrics(deps.metrics);
  }

  /**
   * Resolves when the first byte is here. `undefined`: all sources say that they do not have it.
   * Joins the fill that is under way, if there is one; its sources are then those of whoever began it. If they do not
   * have it and were asked for another repository, one's own are asked after them.
   * @throws UnavailableError that names each source and why it failed; the reason of the context's signal.
   */
  async blob(request: FillRequest, context: RequestContext): Promise<FillingBlob | undefined> {
    const { repository, digest } = request;
    for (;;) {
      context.signal.throwIfAborted();
      const job = this.#jobs.get(digest) ?? this.#start(request, context);
      job.repositories.add(repository);
      const blob = await orAborted(job.opened, context.signal);
      if (blob !== undefined || job.askedFor === repository) return blob;
      this.#forget(job, digest);
    }
  }

  /** True while this blob is on its way here. */
  isFilling(digest: Digest): boolean {
    return this.#jobs.has(digest);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running[Symbol.asyncDispose]();
  }

  #start(request: FillRequest, context: RequestContext): FillJob {
    const job = new FillJob(request.repository);
    this.#jobs.set(request.digest, job);
    this.#running.start(async (signal) => {
      const asked = { ...context, signal };
      const endInFlight = this.#metrics.began();
      try {
        const here = request.replace === true ? undefined : await this.#here(request);
        if (here !== undefined) return await this.#answerHere(job, request, here);
        await this.#inTurn(signal, () => this.#run(job, request, asked));
      } catch (thrown) {
        this.#fail(job, request, { thrown, context: asked });
      } finally {
        this.#forget(job, request.digest);
        endInFlight();
      }
    });
    return job;
  }

  /** Another fill may have ended between the caller's look and now. */
  async #here({ repository, digest }: FillRequest): Promise<BlobRow | undefined> {
    const { rows, blobs } = this.#deps;
    if (!(await rows.isReadable(repository, digest))) return undefined;
    const row = await rows.find(digest);
    return row !== undefined && (await blobs.stat(digest)) !== undefined ? row : undefined;
  }

  async #answerHere(job: FillJob, { repository, digest }: FillRequest, row: BlobRow): Promise<void> {
    const { blobs } = this.#deps;
    await this.#linkOthers(job, repository, digest);
    job.complete(row, {
      sizeBytes: row.sizeBytes,
      source: { kind: 'local', name: this.#config.region },
      async *read(range, signal) {
        const stream = await blobs.read(digest, range, signal);
        if (stream === undefined) throw new UnavailableError(`${digest} was removed while it was read`);
        yield* stream;
      },
    });
  }

  /** Runs `work` when it is its turn. @throws UnavailableError when that does not come. */
  async #inTurn(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const { waitingMax, waitMs, concurrentMax } = this.#config;
    signal.throwIfAborted();
    if (this.#turns.size >= waitingMax) {
      throw new UnavailableError(`${waitingMax} fills are waiting already`);
    }
    const waiting = new AbortController();
    const stop = () => waiting.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    using late = this.#deps.clock.after(waitMs, () =>
      waiting.abort(new UnavailableError(`${concurrentMax} other fills took longer than ${waitMs} ms`)),
    );
    const begin = async () => {
      late[Symbol.dispose]();
      signal.removeEventListener('abort', stop);
      await work();
    };
    await this.#turns.add(begin, { signal: waiting.signal });
  }

  async #run(job: FillJob, request: FillRequest, context: RequestContext): Promise<void> {
    const deps = this.#deps;
    const startedMs = deps.clock.monotonicMs();
    const { repository, digest } = request;
    const sources = await orAborted(request.sources(context), context.signal);
    const transfer = new Transfer(
      { ...deps, onBytes: (upstream, bytes) => this.#metrics.bytes.inc({ source: upstream.kind }, bytes) },
      this.#config,
      {
        repository,
        digest,
        sizeBytes: request.sizeBytes,
        sources,
        onBegan: (blob) => job.began(blob),
        onMismatch: () => job.beginAgain(),
      },
    );
    const transferred = await transfer.run(context);
    if (transferred === undefined) {
      this.#metrics.fills.inc({ outcome: 'absent' });
      return job.absent();
    }
    const row = await this.#record(job, request, transferred);
    this.#metrics.fills.inc({ outcome: 'stored' });
    deps.log.info('blob filled', {
      ...requestFields(context),
      repository,
      digest,
      bytes: row.sizeBytes,
      source: row.source,
      durationMs: Math.round(deps.clock.monotonicMs() - startedMs),
    });
    job.complete(row);
  }

  async #record(job: FillJob, request: FillRequest, transferred: Transferred): Promise<BlobRow> {
    const { clock } = this.#deps;
    const { digest, repository } = request;
    const { sizeBytes, source } = transferred;
    const row: BlobRow = { digest, sizeBytes, source: source.name, storedMs: clock.nowMs() };
    await recordStored(this.#deps, row, repository);
    await this.#linkOthers(job, repository, digest);
    return row;
  }

  /** Everybody who joined has the blob in their own repository; whoever joins meanwhile is seen by the loop. */
  async #linkOthers(job: FillJob, first: RepositoryName, digest: Digest): Promise<void> {
    for (const joined of job.repositories) {
      if (joined !== first) await this.#deps.rows.link(joined, digest);
    }
    this.#forget(job, digest);
  }

  /** Nobody joins any more; the next who asks looks again. */
  #forget(job: FillJob, digest: Digest): void {
    if (this.#jobs.get(digest) === job) this.#jobs.delete(digest);
  }

  #fail(
    job: FillJob,
    { repository, digest }: FillRequest,
    { thrown, context }: { readonly thrown: unknown; readonly context: RequestContext },
  ): void {
    this.#metrics.fills.inc({ outcome: 'failed' });
    const stopped = context.signal.aborted;
    job.fail(stopped ? new UnavailableError('this node is stopping', { cause: thrown }) : thrown);
    const tried = thrown instanceof UnavailableError ? thrown.tried : [];
    this.#deps.log[stopped ? 'info' : 'warn']('fill failed', {
      ...requestFields(context),
      repository,
      digest,
      reason: [messageOf(thrown), ...tried].join('; '),
    });
  }
}

type FillMetrics = {
  readonly fills: Counter<'outcome'>;
  readonly bytes: Counter<'source'>;
  /** Counts a fill as in flight until the answer is called. */
  began(): () => void;
};

function openMetrics(registry: Registry): FillMetrics {
  const registers = [registry];
  const inFlight = new Gauge({
    name: 'fairway_fills_in_flight',
    help: 'Fills that run or wait for their turn.',
    registers,
  });
  return {
    fills: new Counter({
      name: 'fairway_fills_total',
      help: 'Fills that ended: stored, absent (every source said no), failed.',
      labelNames: ['outcome'],
      registers,
    }),
    bytes: new Counter({
      name: 'fairway_fill_bytes_total',
      help: 'Bytes received by fills, by kind of source: region or registry.',
      labelNames: ['source'],
      registers,
    }),
    began() {
      inFlight.inc();
      return () => inFlight.dec();
    },
  };
}
