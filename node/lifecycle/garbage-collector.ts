/**
 * When garbage is collected: every interval, and when somebody asks. Runs go one after the other; who asks for one that
 * waits or goes on already is told of that one, so there are two at most, a real and a dry one.
 *
 * A run that fails, because the disk refuses for example, has left nothing half done; the next one goes on.
 */
import assert from 'node:assert/strict';
import PQueue from 'p-queue';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import { Counter, type Registry } from '#runtime/metrics.ts';
import type { Random } from '#runtime/random.ts';
import { TaskGroup } from '#runtime/task-group.ts';
import { Collection, type CollectionConfig, type CollectionDeps } from './collection.ts';
import type { GarbageReport, GarbageRun } from './garbage-run.ts';

export type GarbageCollectorDeps = CollectionDeps & {
  readonly clock: CollectionDeps['clock'];
  readonly random: Random;
  readonly metrics: Registry;
};

export type GarbageCollectorConfig = Omit<CollectionConfig, 'dryRun'> & {
  /** Between two runs, give or take a tenth, so that regions do not all work at the same moment. */
  readonly intervalMs: number;
};

/** The first run comes after a tenth of the interval, so that a node which restarts often is tidied up as well. */
const FIRST_FRACTION = 0.1;
const NOTHING = { count: 0, sizeBytes: 0 };

type Job = {
  readonly id: number;
  readonly dryRun: boolean;
  readonly ended: PromiseWithResolvers<void>;
  state: GarbageRun['state'];
  startedMs: number;
  endedMs: number;
  reason: string;
  report: () => GarbageReport;
};

export class GarbageCollector implements AsyncDisposable {
  readonly #deps: GarbageCollectorDeps;
  readonly #config: GarbageCollectorConfig;
  readonly #group: TaskGroup;
  readonly #queue = new PQueue({ concurrency: 1 });
  readonly #metrics: GarbageMetrics;
  /** The newest of each kind. */
  readonly #jobs = new Map<'real' | 'dry', Job>();
  #count = 0;

  constructor(deps: GarbageCollectorDeps, config: GarbageCollectorConfig) {
    this.#deps = deps;
    this.#config = config;
    this.#group = new TaskGroup((err) => deps.log.error('garbage collection broke', { err }));
    this.#metrics = openMetrics(deps.metrics);
  }

  /** Collects every interval until disposed. */
  start(): void {
    const { clock, random } = this.#deps;
    const { intervalMs } = this.#config;
    this.#group.start(async (signal) => {
      await clock.sleep(intervalMs * FIRST_FRACTION * (0.5 + random.fraction()), signal);
      for (;;) {
        await this.#begin(false).ended.promise;
        await clock.sleep(intervalMs * (0.9 + 0.2 * random.fraction()), signal);
      }
    });
  }

  /** Begins a run, unless one of its kind waits or goes on. Its progress is in `runs`. */
  request(dryRun: boolean): GarbageRun {
    return runOf(this.#begin(dryRun));
  }

  /** The newest run of each kind, the newest first. */
  runs(): readonly GarbageRun[] {
    return [...this.#jobs.values()].map(runOf).sort((a, b) => b.id - a.id);
  }

  /** Ends what goes on within a page of rows. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#group[Symbol.asyncDispose]();
  }

  #begin(dryRun: boolean): Job {
    const kind = dryRun ? 'dry' : 'real';
    const known = this.#jobs.get(kind);
    if (known?.state === 'waiting' || known?.state === 'running') return known;
    this.#count += 1;
    const job: Job = {
      ...{ id: this.#count, dryRun, ended: Promise.withResolvers<void>(), state: 'waiting' },
      ...{ startedMs: 0, endedMs: 0, reason: '', report: emptyReport },
    };
    this.#jobs.set(kind, job);
    this.#group.start(async (signal) => {
      await this.#queue.add(() => this.#run(job, signal));
    });
    return job;
  }

  async #run(job: Job, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    job.state = 'running';
    job.startedMs = clock.nowMs();
    const collection = new Collection(this.#deps, { ...this.#config, dryRun: job.dryRun }, signal);
    job.report = () => collection.report();
    try {
      await collection.run();
      job.state = 'done';
    } catch (thrown) {
      job.state = 'failed';
      job.reason = signal.aborted ? 'the node was stopped' : messageOf(thrown);
      if (!signal.aborted && !(thrown instanceof UnavailableError)) throw thrown;
    } finally {
      assert.notEqual(job.state, 'running');
      job.endedMs = clock.nowMs();
      job.ended.resolve();
      this.#tell(job);
    }
    if (job.reason !== '') log.warn('garbage collection failed', { reason: job.reason });
  }

  #tell(job: Job): void {
    if (job.dryRun) return;
    const { blobs, evicted, orphans, manifests, uploads, lost } = job.report();
    const removed = [blobs, evicted, orphans, manifests, uploads];
    const bytes = removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const count = removed.reduce((sum, amount) => sum + amount.count, 0);
    this.#metrics.runs.inc({ outcome: job.state });
    for (const [what, amount] of Object.entries({ blobs, evicted, orphans, manifests, uploads, lost })) {
      this.#metrics.removed.inc({ what }, amount.count);
      this.#metrics.removedBytes.inc({ what }, amount.sizeBytes);
    }
    const durationMs = job.endedMs - job.startedMs;
    if (count > 0) this.#deps.log.info('garbage collected', { count, bytes, durationMs });
  }
}

function runOf({ id, dryRun, state, startedMs, endedMs, reason, report }: Job): GarbageRun {
  return { id, dryRun, state, startedMs, endedMs, reason, report: report() };
}

function emptyReport(): GarbageReport {
  return {
    ...{ manifests: NOTHING, blobs: NOTHING, evicted: NOTHING, uploads: NOTHING },
    ...{ orphans: NOTHING, lost: NOTHING, examined: NOTHING, largest: [] },
  };
}

type GarbageMetrics = {
  readonly runs: Counter<'outcome'>;
  readonly removed: Counter<'what'>;
  readonly removedBytes: Counter<'what'>;
};

function openMetrics(registry: Registry): GarbageMetrics {
  const registers = [registry];
  return {
    runs: new Counter({
      name: 'fairway_gc_runs_total',
      help: 'Runs of garbage collection that ended: done, failed.',
      labelNames: ['outcome'],
      registers,
    }),
    removed: new Counter({
      name: 'fairway_gc_removed_total',
      help: 'What garbage collection removed: manifests, blobs, uploads, orphans (files without a row); lost: rows without a file.',
      labelNames: ['what'],
      registers,
    }),
    removedBytes: new Counter({
      name: 'fairway_gc_removed_bytes_total',
      help: 'Bytes of what garbage collection removed.',
      labelNames: ['what'],
      registers,
    }),
  };
}
