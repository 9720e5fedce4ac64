/**
 * Turns policies into tasks: for this region, which images must be whole here and are not.
 *
 * By level, not by event: what is wanted follows from the policies and the tags as they are now, so that a lost
 * event, a lost blob or a region that was away is made up for by the next look. Events only make it fast: a changed
 * tag is looked at at once. All tags are looked at when this starts, when a policy changes, and every ten minutes.
 * Looking twice is harmless: a task exists once per policy, repository and digest.
 */
import { LRUCache } from 'lru-cache';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestFromBytes } from '#domain/digest.ts';
import { messageOf } from '#domain/errors.ts';
import { parseRepositoryName } from '#domain/name.ts';
import type { RegionName } from '#domain/region.ts';
import type { PolicySet } from '#policies/policy-set.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { TaskGroup } from '#runtime/task-group.ts';
import type { ClaimKey, ManifestRows, NewTask, TaskRows, ViewRow, ViewRows } from '#storage/metadata.ts';
import type { ReplicationMetrics } from './replication-metrics.ts';
import { WakeUp } from './wake-up.ts';
import { isComplete, policiesFor, policyWanting } from './wanted.ts';

export type PlannerDeps = {
  readonly views: Pick<ViewRows, 'get' | 'scan'>;
  readonly manifests: Pick<ManifestRows, 'presence'>;
  readonly tasks: Pick<TaskRows, 'enqueue' | 'retain'>;
  readonly policies: PoliciesInForce;
  /** Reports the keys of views that changed, by this region or another one. */
  readonly onChanged: (listener: (keys: readonly ClaimKey[]) => void) => Disposable;
  /** Called after tasks were added. */
  readonly onPlanned: () => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ReplicationMetrics;
};

export type PoliciesInForce = {
  current(): PolicySet;
  onChange(listener: () => void): Disposable;
};

export type PlannerConfig = {
  readonly region: RegionName;
  /** Between looks at all tags. Default 600,000: what events missed is mended within this; each look costs a query per wanted tag. */
  readonly scanIntervalMs?: number;
  /**
   * What a periodic look planned is planned again by one only after so long: it was parked meanwhile, or it is an
   * index with children that nobody has, and is asked for in vain each time. Default 3,600,000.
   */
  readonly replanIntervalMs?: number;
};

/** More changed tags than this are not remembered one by one: all tags are looked at instead. */
const CHANGED_TAGS_MAX = 10_000;
const PAGE_ROWS = 200;
/** After so many queries other work of the process has its turn. */
const LOOKS_PER_TURN = 16;
const TURN_MS = 1;
const FAILED_RETRY_MS = 1000;
/** Images beyond these are planned by every periodic look that finds them not whole. */
const REPLANNED_MAX = 50_000;

type ScanReason = 'start' | 'policy' | 'interval';
type Tag = Pick<ViewRow, 'repository' | 'name' | 'live' | 'value'>;

export class Planner implements AsyncDisposable {
  readonly #deps: PlannerDeps;
  readonly #scanIntervalMs: number;
  readonly #replanIntervalMs: number;
  readonly #region: RegionName;
  readonly #wakeUp: WakeUp;
  readonly #tasks: TaskGroup;
  readonly #resources = new DisposableStack();
  /** Keyed by repository and tag: a tag that moves often is looked at once. */
  #changed = new Map<string, ClaimKey>();
  /** When a periodic look last planned an image. */
  readonly #replanned = new LRUCache<string, number>({ max: REPLANNED_MAX });
  #scanDue: ScanReason | undefined = 'start';
  #nextScanMs: number;
  #looks = 0;

  constructor(deps: PlannerDeps, config: PlannerConfig) {
    this.#deps = deps;
    this.#region = config.region;
    this.#scanIntervalMs = config.scanIntervalMs ?? 600_000;
    this.#replanIntervalMs = config.replanIntervalMs ?? 3_600_000;
    this.#wakeUp = new WakeUp(deps.clock);
    this.#nextScanMs = deps.clock.monotonicMs() + this.#scanIntervalMs;
    this.#tasks = new TaskGroup((err) => deps.log.error('replication planner failed', { err }));
  }

  /** Plans until disposed. */
  start(): void {
    this.#resources.use(this.#deps.onChanged((keys) => this.#noteChanged(keys)));
    this.#resources.use(this.#deps.policies.onChange(() => this.#scanSoon('policy')));
    this.#tasks.start((signal) => this.#run(signal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#resources.dispose();
    await this.#tasks[Symbol.asyncDispose]();
  }

  #noteChanged(keys: readonly ClaimKey[]): void {
    for (const key of keys) {
      if (key.kind === CLAIM_KIND.tag) this.#changed.set(`${key.repository}:${key.name}`, key);
    }
    if (this.#changed.size === 0) return;
    if (this.#changed.size > CHANGED_TAGS_MAX) {
      this.#changed.clear();
      this.#scanSoon('interval');
    }
    this.#wakeUp.ring();
  }

  #scanSoon(reason: ScanReason): void {
    // A periodic look leaves out what it planned a while ago: it takes the place of no other one.
    if (reason === 'interval') this.#scanDue ??= reason;
    else this.#scanDue = reason;
    this.#wakeUp.ring();
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#planChanged(signal);
        while (this.#scanDue !== undefined) await this.#scan(this.#scanDue, signal);
      } catch (thrown) {
        signal.throwIfAborted();
        this.#deps.log.error('replication not planned', { reason: messageOf(thrown), err: thrown });
        this.#scanDue ??= 'interval';
        await this.#deps.clock.sleep(FAILED_RETRY_MS, signal);
        continue;
      }
      const waitMs = Math.max(0, this.#nextScanMs - this.#deps.clock.monotonicMs());
      await this.#wakeUp.wait(waitMs, signal);
      if (this.#deps.clock.monotonicMs() >= this.#nextScanMs) this.#scanDue ??= 'interval';
    }
  }

  /** A failure leaves the tags to the scan that follows it. */
  async #planChanged(signal: AbortSignal): Promise<void> {
    while (this.#changed.size > 0) {
      const keys = [...this.#changed.values()];
      this.#changed = new Map();
      for (let start = 0; start < keys.length; start += PAGE_ROWS) {
        const page = keys.slice(start, start + PAGE_ROWS);
        const rows = await Promise.all(page.map((key) => this.#deps.views.get(key)));
        await this.#plan(
          rows.filter((row) => row !== undefined),
          signal,
        );
      }
    }
  }

  /** Ends early when a policy changed meanwhile: the caller begins again. */
  async #scan(reason: ScanReason, signal: AbortSignal): Promise<void> {
    const { clock, policies, tasks, views, log } = this.#deps;
    this.#scanDue = undefined;
    this.#nextScanMs = clock.monotonicMs() + this.#scanIntervalMs;
    const startedMs = clock.monotonicMs();
    const active = policiesFor(policies.current(), this.#region);
    await tasks.retain(active.map((policy) => policy.name));
    if (active.length === 0) return;
    let after = { repository: '', name: '' };
    let count = 0;
    for (;;) {
      const page = await views.scan(CLAIM_KIND.tag, after, PAGE_ROWS);
      count += await this.#plan(page, signal, reason);
      const last = page.at(-1);
      if (page.length < PAGE_ROWS || last === undefined) break;
      after = { repository: last.repository, name: last.name };
      await this.#planChanged(signal);
      if (this.#scanDue !== undefined) return;
    }
    log.info('replication planned', {
      source: reason,
      count,
      durationMs: Math.round(clock.monotonicMs() - startedMs),
    });
  }

  /** Adds tasks for those that are wanted and not whole here; resolves to their number. */
  async #plan(rows: readonly Tag[], signal: AbortSignal, reason?: ScanReason): Promise<number> {
    const set = this.#deps.policies.current();
    const active = policiesFor(set, this.#region);
    const planned = new Map<string, NewTask>();
    for (const row of active.length === 0 ? [] : rows) {
      const digest = row.live ? digestFromBytes(row.value) : undefined;
      if (digest === undefined) continue;
      const key = `${row.repository}@${digest}`;
      if (planned.has(key) || (reason === 'interval' && this.#wasReplanned(key))) continue;
      const policy = policyWanting(set, active, { repository: row.repository, tag: row.name });
      if (policy === undefined || (await this.#isHere(digest, signal))) continue;
      const repository = parseRepositoryName(row.repository);
      const nowMs = this.#deps.clock.nowMs();
      planned.set(key, { policy: policy.name, repository, digest, tag: row.name, nowMs });
    }
    if (planned.size === 0) return 0;
    await this.#deps.tasks.enqueue([...planned.values()]);
    if (reason === 'interval') {
      for (const key of planned.keys()) this.#replanned.set(key, this.#deps.clock.monotonicMs());
    }
    this.#deps.metrics.planned.inc(planned.size);
    this.#deps.onPlanned();
    return planned.size;
  }

  async #isHere(digest: Digest, signal: AbortSignal): Promise<boolean> {
    this.#looks += 1;
    if (this.#looks % LOOKS_PER_TURN === 0) await this.#deps.clock.sleep(TURN_MS, signal);
    return isComplete(await this.#deps.manifests.presence(digest));
  }

  #wasReplanned(key: string): boolean {
    const atMs = this.#replanned.get(key);
    return atMs !== undefined && this.#deps.clock.monotonicMs() - atMs < this.#replanIntervalMs;
  }
}
