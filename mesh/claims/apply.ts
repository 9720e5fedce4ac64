/**
 * Claims of other origins, from deltas into the store: in sequence order per origin, claims, views and cursor in one
 * commit, confirmed to the source after it. A delta that does not join what we have is a gap, and asked for again; one
 * that we have already changes nothing, and is confirmed again.
 *
 * Per origin one commit is in flight. What comes meanwhile waits and is then applied together; beyond
 * `WAITING_BYTES_MAX` it is dropped, unconfirmed, and a summary shows the source's follower that it is missing.
 *
 * `safe` rises to the end of an exact delta once everything before it is here and no claim beyond it can have hidden
 * an older one from us (`OriginState.ceiling`). Where we do not know that any more, only the origin itself is believed.
 */
import { HYBRID_TIME_ZERO, type HybridTime, laterHybridTime } from '#domain/hybrid-time.ts';
import type { RegionNumber } from '#domain/region.ts';
import type { ClaimCommit, StoredKey } from '#storage/metadata.ts';
import { type AppliedKeys, planApply } from './apply-plan.ts';
import { claimKeyOf } from './claim-codec.ts';
import { CEILING_UNKNOWN, type CoreState, noteHead, type OriginState } from './core-state.ts';
import { type CheckedClaim, checkDelta, DELTA_CLAIMS_MAX, sizeOfStored } from './delta-check.ts';
import { mayTellOf } from './granted.ts';
import { keyText, originText } from './key-text.ts';
import type { KeyTurns } from './key-turns.ts';
import type { DeltaMessage } from './message.ts';

/** Per origin: twice the credit of one source, as two may send the same at the same time. */
const WAITING_BYTES_MAX = 2 * 1024 * 1024;
/** What a delta without claims counts, so that those have an end too. */
const EMPTY_DELTA_BYTES = 256;
const ATTEMPTS_MAX = 100;
/** Times further ahead of our clock than this do not move it: a broken clock elsewhere must not become ours. */
const CLOCK_AHEAD_MAX_MS = 1000;

export type ApplyEvents = {
  /** We lack what comes before a delta of this peer. */
  gap(peer: RegionNumber): void;
  /** Our copy of the origin has grown, or become exact. */
  grew(origin: OriginState): void;
};

type Waiting = {
  readonly source: RegionNumber;
  readonly delta: DeltaMessage;
  readonly claims: readonly CheckedClaim[];
  readonly sizeBytes: number;
};

type Cursor = Pick<OriginState, 'have' | 'safe' | 'ceiling'>;

/** What one commit brings: contiguous deltas of one origin, joined. */
type Job = {
  readonly origin: OriginState;
  readonly deltas: readonly Waiting[];
  /** The newest of each key among claims that we lack. */
  readonly claims: ReadonlyMap<string, CheckedClaim>;
  attempts: number;
  done: () => void;
};

export class Apply {
  readonly #state: CoreState;
  readonly #turns: KeyTurns;
  readonly #events: ApplyEvents;
  readonly #lines = new Map<string, Waiting[]>();
  readonly #running = new Map<string, Job>();

  constructor(state: CoreState, turns: KeyTurns, events: ApplyEvents) {
    this.#state = state;
    this.#turns = turns;
    this.#events = events;
  }

  received(source: RegionNumber, delta: DeltaMessage): void {
    if (originText(delta) === originText(this.#state.own)) return;
    if (!mayTellOf(source, delta, this.#state.grants)) {
      this.#refuse(source, 'an edge region passes on nothing of others');
      return;
    }
    const check = checkDelta(delta);
    if ('refused' in check) {
      this.#refuse(source, check.refused);
      return;
    }
    const origin = this.#state.origin(delta);
    if (origin === undefined) {
      this.#refuse(source, 'there are too many origins');
      return;
    }
    if (delta.head !== CEILING_UNKNOWN) noteHead(origin, delta.head, this.#state.nowMs);
    const line = this.#line(origin);
    const before = [...(this.#running.get(originText(origin))?.deltas ?? []), ...line];
    const reach = before.reduce((end, waiting) => Math.max(end, waiting.delta.to), origin.have);
    if (delta.from > reach) {
      this.#state.emit({ output: 'event', event: { event: 'gap', from: source, region: delta.region } });
      this.#events.gap(source);
      return;
    }
    // Only what brings us on counts as an arrival: old news from one peer must not keep us from asking another.
    if (delta.to > reach) origin.arrivedMs = this.#state.nowMs;
    const sizeBytes = delta.claims.reduce((sum, stored) => sum + sizeOfStored(stored), EMPTY_DELTA_BYTES);
    const waitingBytes = line.reduce((sum, waiting) => sum + waiting.sizeBytes, 0);
    if (waitingBytes + sizeBytes > WAITING_BYTES_MAX) return;
    line.push({ source, delta, claims: check.claims, sizeBytes });
    this.#next(origin);
  }

  /** Starts the origin's next commit, unless one is running. */
  #next(origin: OriginState): void {
    const key = originText(origin);
    const deltas = this.#running.has(key) ? [] : this.#takeJoining(origin);
    if (deltas.length === 0) return;
    const claims = newestOfKeys(deltas, origin.have);
    const job: Job = { origin, deltas, claims, attempts: 0, done: () => undefined };
    if (claims.size === 0 && !this.#movesCursor(job)) {
      this.#confirm(job);
      this.#next(origin);
      return;
    }
    this.#running.set(key, job);
    this.#turns.take([...claims.keys()], (done) => {
      job.done = done;
      this.#read(job);
    });
  }

  /** The waiting deltas that follow each other from what we have, up to a commit's size. */
  #takeJoining(origin: OriginState): readonly Waiting[] {
    const line = this.#line(origin);
    const taken: Waiting[] = [];
    let have = origin.have;
    let count = 0;
    for (let next = line[0]; next !== undefined; next = line[0]) {
      if (next.delta.from > have || (taken.length > 0 && count + next.claims.length > DELTA_CLAIMS_MAX))
        break;
      taken.push(next);
      line.shift();
      have = Math.max(have, next.delta.to);
      count += next.claims.length;
    }
    return taken;
  }

  #read(job: Job): void {
    const keys = [...job.claims.values()].map(({ claim }) => claimKeyOf(claim));
    if (keys.length === 0) {
      this.#commit(job, []);
      return;
    }
    this.#state.readKeys(
      keys,
      (stored) => this.#commit(job, stored),
      () => this.#drop(job),
    );
  }

  #commit(job: Job, stored: readonly StoredKey[]): void {
    const applied = planApply(job.claims, stored, this.#state.grants);
    const cursor = this.#cursorAfter(job);
    this.#state.commit(
      {
        guards: stored.map(({ key, revision }) => ({ key, revision })),
        own: [],
        foreign: applied.foreign,
        views: applied.views,
        cursors: [
          { region: job.origin.region, epoch: job.origin.epoch, have: cursor.have, safe: cursor.safe },
        ],
        observed: this.#observed(job),
        manifests: applied.manifests,
        nowMs: this.#state.nowMs,
      },
      (result) => this.#committed(job, { ...applied, cursor }, result),
      () => this.#drop(job),
    );
  }

  #committed(job: Job, applied: AppliedKeys & { readonly cursor: Cursor }, result: ClaimCommit): void {
    if (result.outcome === 'conflict') {
      job.attempts += 1;
      if (job.attempts < ATTEMPTS_MAX) this.#read(job);
      else this.#drop(job);
      return;
    }
    const { origin } = job;
    Object.assign(origin, applied.cursor);
    origin.behindSinceMs = undefined;
    noteHead(origin, origin.head, this.#state.nowMs);
    this.#running.delete(originText(origin));
    if (applied.changed.length > 0) this.#state.emit({ output: 'changed', keys: applied.changed });
    for (const key of applied.conflicts) {
      this.#state.emit({ output: 'event', event: { event: 'conflict', key } });
    }
    for (const key of applied.closed) {
      this.#state.emit({ output: 'event', event: { event: 'conflict-closed', key } });
    }
    const [refused] = applied.refused;
    if (refused !== undefined) {
      const [{ region }, count] = [origin, applied.refused.length];
      this.#state.emit({ output: 'event', event: { event: 'refused-claims', region, count, key: refused } });
    }
    this.#confirm(job);
    job.done();
    this.#events.grew(origin);
    this.#next(origin);
  }

  /** Nothing was stored: what waits behind it does not join any more, and comes again after a summary. */
  #drop(job: Job): void {
    this.#running.delete(originText(job.origin));
    this.#line(job.origin).length = 0;
    job.done();
  }

  #cursorAfter({ origin, deltas }: Job): Cursor {
    let { have, safe, ceiling } = origin;
    for (const { delta, source } of deltas) {
      if (delta.to < have || (delta.to === have && !delta.exact)) continue;
      have = delta.to;
      // An origin's word that is older than what was heard of it since is not believed either.
      const isUnknown = ceiling === CEILING_UNKNOWN;
      const isProven = isUnknown ? source === origin.region && delta.to >= origin.head : delta.to >= ceiling;
      if (delta.exact && isProven) {
        safe = have;
        ceiling = have;
      } else {
        ceiling = Math.max(ceiling, delta.head);
      }
    }
    return { have, safe, ceiling };
  }

  #movesCursor(job: Job): boolean {
    const { have, safe } = this.#cursorAfter(job);
    return have !== job.origin.have || safe !== job.origin.safe;
  }

  #observed({ claims }: Job): HybridTime {
    return [...claims.values()]
      .map(({ claim }) => claim.time)
      .filter((time) => time.ms <= this.#state.nowMs + CLOCK_AHEAD_MAX_MS)
      .reduce(laterHybridTime, HYBRID_TIME_ZERO);
  }

  #confirm({ origin, deltas }: Job): void {
    const { region, epoch, have, safe } = origin;
    for (const to of new Set(deltas.map((waiting) => waiting.source))) {
      const message = { type: 'ack', cursors: [{ region, epoch, have, safe }] } as const;
      this.#state.emit({ output: 'send', to, message });
    }
  }

  #refuse(from: RegionNumber, reason: string): void {
    this.#state.emit({ output: 'event', event: { event: 'refused-delta', from, reason } });
  }

  #line(origin: OriginState): Waiting[] {
    const key = originText(origin);
    const line = this.#lines.get(key) ?? [];
    this.#lines.set(key, line);
    return line;
  }
}

/** Of each key the newest claim behind `have`. Deltas may overlap, so that an older claim can come after a newer. */
function newestOfKeys(deltas: readonly Waiting[], have: number): ReadonlyMap<string, CheckedClaim> {
  const newest = new Map<string, CheckedClaim>();
  for (const checked of deltas.flatMap((waiting) => waiting.claims)) {
    const key = keyText(claimKeyOf(checked.claim));
    const known = newest.get(key)?.claim.dot.sequence ?? have;
    if (checked.claim.dot.sequence > known) newest.set(key, checked);
  }
  return newest;
}
