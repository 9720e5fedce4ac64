/**
 * Carries out the region's tasks: a few images at a time, each until it is whole here or its turn is over.
 *
 * Tasks are leased from the store, so that a crash gives them back and other processes of the region leave them
 * alone; the lease is renewed while a copy runs, however long that takes. Repeating a task is harmless: a fill
 * copies only what is missing. What fails is tried again ever more rarely; what cannot succeed is parked, with its
 * reason, until the planner finds it wanted anew.
 */
import PQueue from 'p-queue';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestToBytes } from '#domain/digest.ts';
import { messageOf, RegistryError, UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RegionName } from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import { type BackoffConfig, backoffMs } from '#runtime/backoff.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log, LogFields } from '#runtime/log.ts';
import { type Random, randomId } from '#runtime/random.ts';
import { TaskGroup } from '#runtime/task-group.ts';
import type { TaskOutcome, TaskRow, TaskRows, ViewRows } from '#storage/metadata.ts';
import type { PoliciesInForce } from './planner.ts';
import type { ReplicationMetrics, TaskEnd } from './replication-metrics.ts';
import { WakeUp } from './wake-up.ts';
import { policiesFor, policyWanting } from './wanted.ts';

export type WorkerDeps = {
  readonly tasks: Pick<TaskRows, 'lease' | 'renew' | 'settle'>;
  readonly views: Pick<ViewRows, 'withValue'>;
  readonly closure: ClosureCopier;
  readonly policies: PoliciesInForce;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: ReplicationMetrics;
};

/** Brings a manifest and all below it here; copies only what is missing. */
export type ClosureCopier = {
  complete(
    repository: RepositoryName,
    digest: Digest,
    context: RequestContext,
  ): Promise<{ readonly bytes: number; readonly blobs: number }>;
};

export type WorkerConfig = {
  readonly region: RegionName;
  /** Images copied at a time. Default 4: more share the same links, and leave less for pulls. */
  readonly concurrency?: number;
  /** Default 30,000: a crashed process's tasks wait for so long. Renewed after a third of it. */
  readonly leaseMs?: number;
  /** Default 5,000: how late tasks start that another process added. */
  readonly pollMs?: number;
  /** Failed attempts before a task is parked. Default 20: about two hours. */
  readonly attemptsMax?: number;
  /** Default 1,000 to 600,000. */
  readonly backoff?: BackoffConfig;
  /** How long stopping waits for copies to end; what has not ended then is due again when its lease is over. Default 1,500. */
  readonly stopMs?: number;
};

type Settings = Required<WorkerConfig>;
/** `withdraw` ends the copy because no policy asks for it any longer. */
type Running = { readonly task: TaskRow; readonly withdraw: AbortController };
type End = { readonly end: TaskEnd; readonly outcome: TaskOutcome };

export class ReplicationWorker implements AsyncDisposable {
  readonly #deps: WorkerDeps;
  readonly #settings: Settings;
  readonly #wakeUp: WakeUp;
  readonly #group: TaskGroup;
  readonly #queue: PQueue;
  readonly #running = new Map<number, Running>();
  readonly #resources = new DisposableStack();
  /** When the next of the tasks that failed here is due. */
  #nextRetryMs = Number.POSITIVE_INFINITY;

  constructor(deps: WorkerDeps, config: WorkerConfig) {
    this.#deps = deps;
    this.#settings = {
      concurrency: 4,
      leaseMs: 30_000,
      pollMs: 5000,
      attemptsMax: 20,
      backoff: { baseMs: 1000, maxMs: 600_000 },
      stopMs: 1500,
      ...config,
    };
    this.#wakeUp = new WakeUp(deps.clock);
    this.#queue = new PQueue({ concurrency: this.#settings.concurrency });
    this.#group = new TaskGroup((err) => deps.log.error('replication worker failed', { err }));
  }

  /** Works until disposed. */
  start(): void {
    this.#resources.use(this.#deps.policies.onChange(() => this.#withdrawUnwanted()));
    this.#group.start((signal) => this.#leaseTasks(signal));
    this.#group.start((signal) => this.#renewLeases(signal));
  }

  /** There may be tasks: looks at once. */
  wake(): void {
    this.#wakeUp.ring();
  }

  /** Ends all copies and gives their tasks back. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#resources.dispose();
    await this.#group[Symbol.asyncDispose]();
    const patience = new AbortController();
    await Promise.race([
      this.#queue.onIdle(),
      this.#deps.clock.sleep(this.#settings.stopMs, patience.signal).catch(() => undefined),
    ]);
    patience.abort();
  }

  async #leaseTasks(signal: AbortSignal): Promise<void> {
    const { clock, log, tasks } = this.#deps;
    const { concurrency, leaseMs, pollMs } = this.#settings;
    for (;;) {
      const limit = concurrency - this.#running.size;
      const nowMs = clock.nowMs();
      if (this.#nextRetryMs <= nowMs) this.#nextRetryMs = Number.POSITIVE_INFINITY;
      try {
        if (limit > 0) this.#begin(await tasks.lease({ nowMs, leaseMs, limit }));
      } catch (thrown) {
        log.warn('replication tasks not leased', { reason: messageOf(thrown) });
      }
      await this.#wakeUp.wait(Math.min(pollMs, this.#nextRetryMs - clock.nowMs()), signal);
    }
  }

  #begin(leased: readonly TaskRow[]): void {
    for (const task of leased) {
      // Its lease had run out, although it runs here: leasing it again renewed it.
      if (this.#running.has(task.id)) continue;
      const running = { task, withdraw: new AbortController() };
      this.#running.set(task.id, running);
      void this.#queue.add(() => this.#work(running));
    }
  }

  async #renewLeases(signal: AbortSignal): Promise<void> {
    const { clock, log, tasks } = this.#deps;
    const { leaseMs } = this.#settings;
    for (;;) {
      await clock.sleep(leaseMs / 3, signal);
      const ids = [...this.#running.keys()];
      if (ids.length === 0) continue;
      await tasks.renew(ids, clock.nowMs() + leaseMs).catch((thrown: unknown) => {
        log.warn('replication leases not renewed', { count: ids.length, reason: messageOf(thrown) });
      });
    }
  }

  #withdrawUnwanted(): void {
    const active = this.#activePolicies();
    for (const { task, withdraw } of this.#running.values()) {
      const policy = active.find((one) => one.name === task.policy);
      if (policy?.selection.repository(task.repository) !== true) withdraw.abort(new Error(NOT_ASKED));
    }
  }

  #activePolicies() {
    return policiesFor(this.#deps.policies.current(), this.#settings.region);
  }

  /** Never rejects: whatever happens, the task is settled, or due again when its lease is over. */
  async #work(running: Running): Promise<void> {
    const { clock, log, metrics, random, tasks } = this.#deps;
    const { task, withdraw } = running;
    const context: RequestContext = {
      requestId: randomId(random),
      signal: AbortSignal.any([this.#group.signal, withdraw.signal]),
      principal: `policy:${task.policy}`,
    };
    const startedMs = clock.monotonicMs();
    const { end, outcome } = await this.#attempt(task, context).catch((thrown: unknown) =>
      this.#failure(running, thrown),
    );
    this.#running.delete(task.id);
    metrics.ended.inc({ outcome: end });
    if (outcome.state === 'done' && end === 'done') {
      metrics.bytes.inc(outcome.bytes);
      metrics.lag.observe(Math.max(0, clock.nowMs() - task.nowMs) / 1000);
    }
    if (outcome.state === 'queued') this.#nextRetryMs = Math.min(this.#nextRetryMs, outcome.retryAtMs);
    this.#report(
      task,
      { end, outcome },
      { requestId: context.requestId, durationMs: Math.round(clock.monotonicMs() - startedMs) },
    );
    await tasks.settle(task.id, outcome).catch((thrown: unknown) => {
      log.warn('replication task not settled', { requestId: context.requestId, reason: messageOf(thrown) });
    });
    this.#wakeUp.ring();
  }

  async #attempt(task: TaskRow, context: RequestContext): Promise<End> {
    const { clock, closure } = this.#deps;
    context.signal.throwIfAborted();
    const reason = await this.#needless(task);
    if (reason === NOT_ASKED) return this.#notAsked();
    if (reason !== undefined) {
      return { end: 'skipped', outcome: { state: 'done', bytes: 0, reason, nowMs: clock.nowMs() } };
    }
    const { bytes } = await closure.complete(task.repository, task.digest, context);
    return { end: 'done', outcome: { state: 'done', bytes, nowMs: clock.nowMs() } };
  }

  /** Why the task is not wanted any longer. Since it was planned, its tag may have moved and its policy changed. */
  async #needless(task: TaskRow): Promise<string | undefined> {
    const set = this.#deps.policies.current();
    const policies = this.#activePolicies().filter((policy) => policy.name === task.policy);
    if (policies.length === 0) return NOT_ASKED;
    const rows = await this.#deps.views.withValue(
      CLAIM_KIND.tag,
      task.repository,
      digestToBytes(task.digest),
    );
    if (rows.length === 0) return 'no tag points at it any more';
    const wanted = rows.some((row) =>
      policyWanting(set, policies, { repository: row.repository, tag: row.name }),
    );
    return wanted ? undefined : 'the policy does not select it any more';
  }

  /**
   * The planner removes tasks of policies that are gone. One that it still wants, because the policy came back
   * meanwhile, must not be closed here: it could not tell that from a task that is running.
   */
  #notAsked(): End {
    const nowMs = this.#deps.clock.nowMs();
    const retryAtMs = nowMs + this.#settings.backoff.baseMs;
    return { end: 'skipped', outcome: { state: 'queued', retryAtMs, reason: NOT_ASKED, nowMs } };
  }

  #failure({ task, withdraw }: Running, thrown: unknown): End {
    const { clock, random } = this.#deps;
    const { attemptsMax, backoff } = this.#settings;
    const nowMs = clock.nowMs();
    if (this.#group.signal.aborted) {
      return {
        end: 'stopped',
        outcome: { state: 'queued', retryAtMs: nowMs, reason: 'the node stopped', nowMs },
      };
    }
    if (withdraw.signal.aborted) return this.#notAsked();
    const reason = messageOf(thrown);
    if (!(thrown instanceof RegistryError || thrown instanceof UnavailableError)) {
      this.#deps.log.error('replication task broke', { ...fieldsOf(task), err: thrown });
    }
    const isPermanent = thrown instanceof RegistryError && thrown.code !== 'TOOMANYREQUESTS';
    if (isPermanent) return { end: 'parked', outcome: { state: 'parked', reason, nowMs } };
    if (task.attempts >= attemptsMax) {
      const gaveUp = `gave up after ${task.attempts} attempts: ${reason}`;
      return { end: 'parked', outcome: { state: 'parked', reason: gaveUp, nowMs } };
    }
    const askedMs = thrown instanceof UnavailableError ? Math.min(thrown.retryAfterMs, backoff.maxMs) : 0;
    const waitMs = Math.max(askedMs, backoffMs(Math.max(1, task.attempts), backoff, random));
    return { end: 'retried', outcome: { state: 'queued', retryAtMs: nowMs + waitMs, reason, nowMs } };
  }

  #report(task: TaskRow, { end, outcome }: End, more: LogFields): void {
    const log = this.#deps.log.with({ ...fieldsOf(task), ...more });
    const reason = outcome.reason ?? '';
    if (outcome.state === 'done' && end === 'done') log.info('task done', { bytes: outcome.bytes });
    else if (end === 'skipped') log.info('task skipped', { reason });
    else if (end === 'stopped') log.info('task stopped', { reason });
    else log.warn('task failed', { reason, count: task.attempts });
  }
}

const NOT_ASKED = 'no policy asks for it any more';

function fieldsOf(task: TaskRow): LogFields {
  return { policy: task.policy, repository: task.repository, tag: task.tag, digest: task.digest };
}
