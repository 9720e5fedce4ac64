/**
 * The store's contract (`ClaimRows` of node/storage/metadata.ts) in memory: guards, stamping, one commit is one
 * transaction. It is stricter than a real store: it refuses, as a fault of the core, whatever a real one would have
 * to trust its caller for. What it holds is what is on stable storage; what is on the way there is `disk.ts`'s.
 */
import assert from 'node:assert/strict';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { stampClaim } from '#domain/claim-layout.ts';
import type { Dot } from '#domain/dot.ts';
import { type HybridTime, laterHybridTime, nextHybridTime } from '#domain/hybrid-time.ts';
import type { RegionNumber } from '#domain/region.ts';
import type {
  ClaimBatch,
  ClaimCommit,
  ClaimKey,
  ClaimRange,
  CursorRow,
  EpochChange,
  OriginRow,
  StoredClaim,
  StoredKey,
  ViewRow,
} from '#storage/metadata.ts';
import { hashBytes } from './trace.ts';

export type HeldClaim = {
  readonly key: ClaimKey;
  readonly dot: Dot;
  readonly bytes: Uint8Array;
  readonly hash: number;
};

/** Claims of one origin, by sequence and by key; `sum` is kept by addition, so that copies compare in one step. */
export type HeldOrigin = {
  readonly bySequence: ReadonlyMap<number, HeldClaim>;
  readonly count: number;
  readonly sum: number;
};

/** What a commit did, for those who check it. */
export type Committed = {
  readonly own: readonly HeldClaim[];
  readonly times: readonly HybridTime[];
  readonly foreign: readonly HeldClaim[];
  /** Views as they were before, in the order of the batch. */
  readonly viewsBefore: readonly (ViewRow | undefined)[];
  readonly cursorsBefore: readonly (CursorRow | undefined)[];
};

type KeyRow = { readonly key: ClaimKey; revision: number; readonly claims: Map<string, HeldClaim> };
type OriginMap = { readonly bySequence: Map<number, HeldClaim>; count: number; sum: number };
type RidingManifest = NonNullable<StoredClaim['manifest']>;

/** Bodies up to this size ride along with their claim. Source: decision 6 of the design, 64 KiB. */
const RIDING_BYTES_MAX = 64 * 1024;

export function keyText(key: ClaimKey): string {
  return `${key.kind} ${key.repository} ${key.name}`;
}

export function originText(origin: { readonly region: RegionNumber; readonly epoch: string }): string {
  return `${origin.region}.${origin.epoch}`;
}

export class ClaimStore {
  /** The id that the last start of the region wrote into it; empty before the first. */
  start = '';
  #keys = new Map<string, KeyRow>();
  #origins = new Map<string, OriginMap>();
  #views = new Map<string, ViewRow>();
  #cursors = new Map<string, CursorRow>();
  #manifests = new Map<string, RidingManifest>();
  #origin: OriginRow;

  constructor(origin: OriginRow) {
    this.#origin = origin;
  }

  /** A backup: everything as it is now, apart from this one. */
  image(): ClaimStore {
    const image = new ClaimStore(this.#origin);
    image.restore(this);
    return image;
  }

  /** Becomes what the image is. */
  restore(image: ClaimStore): void {
    this.start = image.start;
    this.#origin = image.#origin;
    this.#keys = new Map(
      [...image.#keys].map(([text, row]) => [text, { ...row, claims: new Map(row.claims) }]),
    );
    this.#origins = new Map(
      [...image.#origins].map(([text, map]) => [text, { ...map, bySequence: new Map(map.bySequence) }]),
    );
    this.#views = new Map(image.#views);
    this.#cursors = new Map(image.#cursors);
    this.#manifests = new Map(image.#manifests);
  }

  beginEpoch({ former, epoch, below }: EpochChange): OriginRow {
    const { region, sequence } = this.#origin;
    if (this.#origin.epoch !== former || sequence >= below) return this.#origin;
    const closed = { region, epoch: former, have: sequence, safe: sequence };
    if (sequence > 0) this.#cursors.set(originText(closed), closed);
    this.#origin = { ...this.#origin, epoch, sequence: 0 };
    return this.#origin;
  }

  get origin(): OriginRow {
    return this.#origin;
  }

  get cursors(): readonly CursorRow[] {
    return [...this.#cursors.values()];
  }

  get views(): ReadonlyMap<string, ViewRow> {
    return this.#views;
  }

  cursor(origin: { readonly region: RegionNumber; readonly epoch: string }): CursorRow | undefined {
    return this.#cursors.get(originText(origin));
  }

  originMap(origin: { readonly region: RegionNumber; readonly epoch: string }): HeldOrigin | undefined {
    return this.#origins.get(originText(origin));
  }

  claimsOf(key: ClaimKey): readonly HeldClaim[] {
    return [...(this.#keys.get(keyText(key))?.claims.values() ?? [])];
  }

  ofKeys(keys: readonly ClaimKey[]): readonly StoredKey[] {
    return keys.map((key) => {
      const row = this.#keys.get(keyText(key));
      const claims = [...(row?.claims.values() ?? [])].map((claim) => claim.bytes);
      return { key, revision: row?.revision ?? 0, claims };
    });
  }

  range(request: ClaimRange): readonly StoredClaim[] {
    const held = this.#origins.get(originText(request))?.bySequence ?? new Map<number, HeldClaim>();
    const sequences = [...held.keys()]
      .filter((sequence) => sequence > request.after)
      .sort((a, b) => a - b)
      .slice(0, request.maxCount);
    const answer: StoredClaim[] = [];
    let sizeBytes = 0;
    for (const sequence of sequences) {
      const claim = held.get(sequence);
      assert.ok(claim !== undefined);
      const manifest =
        claim.key.kind === CLAIM_KIND.manifest ? this.#manifests.get(claim.key.name) : undefined;
      sizeBytes += claim.bytes.length + (manifest?.bytes.length ?? 0);
      if (answer.length > 0 && sizeBytes > request.maxBytes) break;
      answer.push({ sequence, bytes: claim.bytes, ...(manifest && { manifest }) });
    }
    return answer;
  }

  /** What another process of the region leaves behind that committed to these keys: guards read before fail. */
  raiseRevisions(keys: readonly ClaimKey[]): void {
    for (const key of keys) this.#row(key).revision += 1;
  }

  /** One transaction: all of it, or, when a guard does not hold, none. */
  commit(batch: ClaimBatch, onCommitted: (committed: Committed) => void): ClaimCommit {
    const guarded = new Set(batch.guards.map((guard) => keyText(guard.key)));
    for (const { key } of [...batch.own, ...batch.foreign]) {
      assert.ok(guarded.has(keyText(key)), `a commit changes ${keyText(key)} without a guard`);
    }
    const stale = batch.guards.some(
      (guard) => (this.#keys.get(keyText(guard.key))?.revision ?? 0) !== guard.revision,
    );
    if (stale) return { outcome: 'conflict' };
    const viewsBefore = batch.views.map((view) => this.#views.get(keyText(view)));
    const cursorsBefore = batch.cursors.map((cursor) => this.#cursors.get(originText(cursor)));
    this.raiseRevisions(batch.guards.map((guard) => guard.key));
    for (const manifest of batch.manifests) {
      const { mediaType, bytes } = manifest;
      if (bytes.length <= RIDING_BYTES_MAX) this.#manifests.set(manifest.digest, { mediaType, bytes });
    }
    const foreign = batch.foreign.map(({ key, dot, bytes }) => ({ key, dot, bytes, hash: hashBytes(bytes) }));
    for (const claim of foreign) this.#put(claim);
    const firstSequence = this.#origin.sequence + 1;
    const { own, times } = this.#stampOwn(batch);
    this.#writeViews(batch, own, times);
    for (const cursor of batch.cursors) this.#cursors.set(originText(cursor), cursor);
    onCommitted({ own, times, foreign, viewsBefore, cursorsBefore });
    return { outcome: 'committed', firstSequence, origin: this.#origin };
  }

  #stampOwn(batch: ClaimBatch): { readonly own: HeldClaim[]; readonly times: HybridTime[] } {
    const times: HybridTime[] = [];
    let { sequence, time } = this.#origin;
    time = laterHybridTime(time, batch.observed);
    const own = batch.own.map((claim) => {
      sequence += 1;
      time = nextHybridTime(time, batch.nowMs);
      times.push(time);
      const bytes = stampClaim(claim.bytes, sequence, time);
      const dot: Dot = { region: this.#origin.region, epoch: this.#origin.epoch, sequence };
      return { key: claim.key, dot, bytes, hash: hashBytes(bytes) };
    });
    for (const claim of own) this.#put(claim);
    this.#origin = { ...this.#origin, sequence, time };
    return { own, times };
  }

  #writeViews(batch: ClaimBatch, own: readonly HeldClaim[], times: readonly HybridTime[]): void {
    for (const { winner, ...view } of batch.views) {
      const [dot, changedMs] =
        'own' in winner ? [own[winner.own]?.dot, times[winner.own]?.ms] : [winner.dot, winner.changedMs];
      assert.ok(dot !== undefined && changedMs !== undefined, 'a view names an own claim that is not there');
      this.#views.set(keyText(view), { ...view, dot, changedMs });
    }
  }

  #row(key: ClaimKey): KeyRow {
    const text = keyText(key);
    const row = this.#keys.get(text) ?? { key, revision: 0, claims: new Map() };
    this.#keys.set(text, row);
    return row;
  }

  #put(claim: HeldClaim): void {
    const text = originText(claim.dot);
    const origin = this.#origins.get(text) ?? { bySequence: new Map(), count: 0, sum: 0 };
    this.#origins.set(text, origin);
    const claims = this.#row(claim.key).claims;
    const former = claims.get(text);
    if (former !== undefined) {
      origin.bySequence.delete(former.dot.sequence);
      origin.count -= 1;
      origin.sum = (origin.sum - former.hash) >>> 0;
    }
    claims.set(text, claim);
    origin.bySequence.set(claim.dot.sequence, claim);
    origin.count += 1;
    origin.sum = (origin.sum + claim.hash) >>> 0;
  }
}
