/**
 * What the parts of the step share: the cursors, the outputs of the running step, and the questions that the store
 * has not answered yet. Everything here is bounded: origins by `ORIGINS_MAX`, followers by the roster, questions by
 * the bounds of who asks them.
 */
import assert from 'node:assert/strict';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type {
  ClaimBatch,
  ClaimCommit,
  ClaimKey,
  ClaimRange,
  OriginRow,
  StoredClaim,
  StoredKey,
} from '#storage/metadata.ts';
import type { Grants } from './granted.ts';
import { originText } from './key-text.ts';
import type { OriginCursor } from './message.ts';
import type { Input, Output, StepStart } from './step.ts';

export type ClaimsConfig = {
  /** Default 1,000 ms. Less heals sooner and talks more. */
  readonly summaryIntervalMs: number;
  /** After this long without progress what is missing is asked for again. Default 1,000 ms: a summary's interval. */
  readonly retryAfterMs: number;
  /** A delta's target size in bytes. Default 256 KiB: 20 ms at 100 Mbit/s, so that no delta holds up a link. */
  readonly deltaBytesMax: number;
  /** Default 1,000 claims: one apply transaction of about 50 ms. */
  readonly deltaClaimsMax: number;
  /** What we allow each source to have in flight to us. Default 1 MiB: the transport's window and queue. */
  readonly creditBytes: number;
  /** Writes that wait or run; one more is refused. Default 10,000: about 10 s of the store's group commits. */
  readonly writesMax: number;
};

export const DEFAULT_CLAIMS_CONFIG: ClaimsConfig = {
  summaryIntervalMs: 1000,
  retryAfterMs: 1000,
  deltaBytesMax: 256 * 1024,
  deltaClaimsMax: 1000,
  creditBytes: 1024 * 1024,
  writesMax: 10_000,
};

/** Origins and their epochs that a region keeps cursors for; what names one more is refused. */
export const ORIGINS_MAX = 1024;

/**
 * The ceiling of a copy that was not exact when this process started: it is not known which newer claims hide
 * older ones that were never received. See `OriginState.ceiling`.
 */
export const CEILING_UNKNOWN = Number.MAX_SAFE_INTEGER;

/** What we hold of one origin. Our own has have = safe = head. */
export type OriginState = {
  readonly region: RegionNumber;
  readonly epoch: Epoch;
  have: number;
  safe: number;
  /** The newest sequence that any region was heard to hold. */
  head: number;
  /**
   * Up to where claims may be that hid older ones from us. A source keeps only the newest claim of each key, so a
   * delta cut off at its size limit leaves out what a claim behind the cut replaced. Below its ceiling a copy is
   * not exact at any point, whatever a source says about its own copy.
   */
  ceiling: number;
  /** When a delta last brought us on, and since when we know that we lack something, or do not know that we do not. */
  arrivedMs: number;
  behindSinceMs: number | undefined;
};

type Question = {
  readonly keysRead?: (keys: readonly StoredKey[]) => void;
  readonly rangeRead?: (claims: readonly StoredClaim[]) => void;
  readonly committed?: (result: ClaimCommit) => void;
  readonly begun?: (origin: OriginRow) => void;
  readonly failed: (reason: string) => void;
};
type Answer = Extract<Input, { input: 'keys-read' | 'range-read' | 'committed' | 'epoch-begun' | 'failed' }>;

export class CoreState {
  readonly self: RegionNumber;
  readonly config: ClaimsConfig;
  readonly peers: readonly RegionNumber[];
  readonly grants: Grants | undefined;
  /** Another one when an epoch begins. */
  own: OriginState;
  /** Wall clock of the running step; may go back. */
  nowMs = 0;
  #origins = new Map<string, OriginState>();
  readonly #questions = new Map<number, Question>();
  /** Commits with claims of our own whose outcome is open, by question, oldest first. */
  readonly #ownCommits = new Set<number>();
  #lastId = 0;
  #outputs: Output[] = [];

  constructor(start: StepStart, config: ClaimsConfig) {
    this.self = start.self;
    this.config = config;
    this.grants = start.grants;
    this.peers = start.peers.filter((peer) => peer !== start.self).toSorted((a, b) => a - b);
    assert.equal(start.origin.region, start.self, 'the store belongs to another region');
    const { region, epoch, sequence } = start.origin;
    this.own = newOrigin({ region, epoch, have: sequence, safe: sequence });
    this.#origins.set(originText(this.own), this.own);
    for (const cursor of start.cursors) {
      assert.ok(cursor.safe <= cursor.have, 'a cursor is exact beyond what it has');
      this.#origins.set(originText(cursor), newOrigin(cursor));
    }
  }

  /** Our own first, then in the order in which they became known. */
  origins(): Iterable<OriginState> {
    return this.#origins.values();
  }

  /** The origin's state, made at 0 when it is not known; `undefined` when there are too many. */
  origin(of: Pick<OriginCursor, 'region' | 'epoch'>): OriginState | undefined {
    const known = this.#origins.get(originText(of));
    if (known !== undefined || this.#origins.size >= ORIGINS_MAX) return known;
    const made = newOrigin({ region: of.region, epoch: of.epoch, have: 0, safe: 0 });
    this.#origins.set(originText(made), made);
    return made;
  }

  cursors(): readonly OriginCursor[] {
    return [...this.#origins.values()]
      .filter((origin) => origin.have > 0)
      .map(({ region, epoch, have, safe }) => ({ region, epoch, have, safe }));
  }

  /**
   * Whether others may be told that what they hold of an origin is all. Of a region's own history its word counts
   * more than any other's, so it is not given of an epoch that ended: claims may have been lost from it here.
   */
  mayTellExact(origin: OriginState): boolean {
    return origin === this.own || origin.region !== this.self;
  }

  /** Our own history goes on as this one; the former stays, as an origin like any other. */
  closeEpoch(origin: OriginRow): void {
    const { region, epoch, sequence } = origin;
    this.own.ceiling = this.own.have;
    this.own = newOrigin({ region, epoch, have: sequence, safe: sequence });
    this.#origins = new Map([[originText(this.own), this.own], ...this.#origins]);
  }

  emit(output: Output): void {
    this.#outputs.push(output);
  }

  takeOutputs(): readonly Output[] {
    const outputs = this.#outputs;
    this.#outputs = [];
    return outputs;
  }

  readKeys(
    keys: readonly ClaimKey[],
    keysRead: (keys: readonly StoredKey[]) => void,
    failed: (reason: string) => void,
  ): void {
    this.emit({ output: 'read-keys', id: this.#ask({ keysRead, failed }), keys });
  }

  readRange(
    range: ClaimRange,
    rangeRead: (claims: readonly StoredClaim[]) => void,
    failed: (reason: string) => void,
  ): number {
    const id = this.#ask({ rangeRead, failed });
    this.emit({ output: 'read-range', id, range });
    return id;
  }

  commit(
    batch: ClaimBatch,
    committed: (result: ClaimCommit) => void,
    failed: (reason: string) => void,
  ): void {
    const id = this.#ask({ committed, failed });
    if (batch.own.length > 0) this.#ownCommits.add(id);
    this.emit({ output: 'commit', id, batch });
  }

  beginEpoch(
    guard: { readonly former: Epoch; readonly below: number },
    begun: (origin: OriginRow) => void,
    failed: (reason: string) => void,
  ): void {
    this.emit({ output: 'begin-epoch', id: this.#ask({ begun, failed }), ...guard });
  }

  /** Hands an answer of the store to who asked. */
  answer(input: Answer): void {
    const question = this.#questions.get(input.id);
    assert.ok(question !== undefined, `the store answered ${input.id}, which nobody asked`);
    this.#questions.delete(input.id);
    this.#ownCommits.delete(input.id);
    switch (input.input) {
      case 'failed':
        question.failed(input.reason);
        break;
      case 'keys-read':
        assert.ok(question.keysRead !== undefined, `${input.id} is no read of keys`);
        question.keysRead(input.keys);
        break;
      case 'range-read':
        assert.ok(question.rangeRead !== undefined, `${input.id} is no read of a range`);
        question.rangeRead(input.claims);
        break;
      case 'epoch-begun':
        assert.ok(question.begun !== undefined, `${input.id} begins no epoch`);
        question.begun(input.origin);
        break;
      case 'committed':
        assert.ok(question.committed !== undefined, `${input.id} is no commit`);
        question.committed(input.result);
    }
  }

  /** The newest question; those after it have greater numbers. */
  get lastQuestion(): number {
    return this.#lastId;
  }

  /** True while a commit of our own claims that was asked for by then is open. */
  hasOwnCommitSince(question: number): boolean {
    const [oldest] = this.#ownCommits;
    return oldest !== undefined && oldest <= question;
  }

  /** True when `ms` have passed; also when the clock was set back behind `sinceMs`. */
  hasPassed(sinceMs: number, ms: number): boolean {
    return this.nowMs - sinceMs >= ms || this.nowMs < sinceMs;
  }

  #ask(question: Question): number {
    this.#lastId += 1;
    this.#questions.set(this.#lastId, question);
    return this.#lastId;
  }
}

/** Notes that something up to `head` exists, and since when our copy is behind. */
export function noteHead(origin: OriginState, head: number, nowMs: number): void {
  origin.head = Math.max(origin.head, head);
  if (origin.head <= origin.have && origin.safe === origin.have) origin.behindSinceMs = undefined;
  else origin.behindSinceMs ??= nowMs;
}

function newOrigin(cursor: OriginCursor): OriginState {
  const { region, epoch, have, safe } = cursor;
  const ceiling = safe === have ? have : CEILING_UNKNOWN;
  return { region, epoch, have, safe, head: have, ceiling, arrivedMs: 0, behindSinceMs: undefined };
}
