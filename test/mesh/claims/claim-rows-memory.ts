/**
 * The store of claims in memory, for tests of the step: synchronous, and no more than the contract of `ClaimRows`
 * says. `asClaimRows` dresses it as the asynchronous seam.
 */
import assert from 'node:assert/strict';
import { stampClaim } from '#domain/claim-layout.ts';
import { laterHybridTime, nextHybridTime } from '#domain/hybrid-time.ts';
import { decodeClaim } from '#mesh/claims/claim-codec.ts';
import { keyText, originText } from '#mesh/claims/key-text.ts';
import type {
  ClaimBatch,
  ClaimCommit,
  ClaimKey,
  ClaimRange,
  ClaimRows,
  CursorRow,
  EpochChange,
  OriginRow,
  StoredClaim,
  StoredKey,
  ViewRow,
} from '#storage/metadata.ts';

type Row = {
  readonly key: ClaimKey;
  readonly origin: string;
  readonly sequence: number;
  readonly bytes: Uint8Array;
};

export class ClaimRowsMemory {
  origin: OriginRow;
  /** Rows by key and origin. */
  readonly #rows = new Map<string, Row>();
  readonly #revisions = new Map<string, number>();
  readonly #views = new Map<string, ViewRow>();
  readonly #cursors = new Map<string, CursorRow>();
  readonly #manifests = new Map<string, NonNullable<StoredClaim['manifest']>>();

  constructor(origin: OriginRow) {
    this.origin = origin;
  }

  /** A backup; rows are never changed in place. */
  copy(): ClaimRowsMemory {
    const copy = new ClaimRowsMemory(this.origin);
    for (const [text, value] of this.#rows) copy.#rows.set(text, value);
    for (const [text, value] of this.#revisions) copy.#revisions.set(text, value);
    for (const [text, value] of this.#views) copy.#views.set(text, value);
    for (const [text, value] of this.#cursors) copy.#cursors.set(text, value);
    for (const [text, value] of this.#manifests) copy.#manifests.set(text, value);
    return copy;
  }

  get cursors(): readonly CursorRow[] {
    return [...this.#cursors.values()];
  }

  view(key: ClaimKey): ViewRow | undefined {
    return this.#views.get(keyText(key));
  }

  /** Everything that regions with equal indexes have in common, as text. */
  fingerprint(): string {
    const claims = [...this.#rows.values()].map(
      (row) => `${row.origin} ${row.sequence} ${Buffer.from(row.bytes).toString('hex')}`,
    );
    const views = [...this.#views.values()].map((view) =>
      JSON.stringify(
        { ...view, value: Buffer.from(view.value).toString('hex') },
        Object.keys(view).concat('region', 'epoch', 'sequence').sort(),
      ),
    );
    return [...claims.sort(), ...views.sort()].join('\n');
  }

  ofKeys(keys: readonly ClaimKey[]): readonly StoredKey[] {
    return keys.map((key) => ({
      key,
      revision: this.#revisions.get(keyText(key)) ?? 0,
      claims: [...this.#rows.values()]
        .filter((row) => keyText(row.key) === keyText(key))
        .map((row) => row.bytes),
    }));
  }

  range({ region, epoch, after, maxCount, maxBytes }: ClaimRange): readonly StoredClaim[] {
    const rows = [...this.#rows.values()]
      .filter((row) => row.origin === originText({ region, epoch }) && row.sequence > after)
      .sort((a, b) => a.sequence - b.sequence)
      .slice(0, maxCount);
    let sizeBytes = 0;
    const past = rows.findIndex((row, position) => {
      sizeBytes += row.bytes.length;
      return position > 0 && sizeBytes > maxBytes;
    });
    return rows.slice(0, past === -1 ? rows.length : past).map(({ key, sequence, bytes }) => {
      const manifest = this.#manifests.get(key.name);
      return manifest === undefined ? { sequence, bytes } : { sequence, bytes, manifest };
    });
  }

  commit(batch: ClaimBatch): ClaimCommit {
    const isStale = batch.guards.some(
      ({ key, revision }) => (this.#revisions.get(keyText(key)) ?? 0) !== revision,
    );
    if (isStale) return { outcome: 'conflict' };
    for (const { key, revision } of batch.guards) this.#revisions.set(keyText(key), revision + 1);
    for (const { key, dot, bytes } of batch.foreign) {
      this.#put({ key, origin: originText(dot), sequence: dot.sequence, bytes });
    }
    this.origin = { ...this.origin, time: laterHybridTime(this.origin.time, batch.observed) };
    const firstSequence = this.origin.sequence + 1;
    const stamped = batch.own.map(({ key, bytes }) => this.#stamp(key, bytes, batch.nowMs));
    for (const { winner, ...view } of batch.views) {
      if (!('own' in winner)) this.#views.set(keyText(view), { ...view, ...winner });
      else {
        const bytes = stamped[winner.own];
        assert.ok(bytes !== undefined, 'a view names an own claim that is not there');
        const { dot, time } = decodeClaim(bytes);
        this.#views.set(keyText(view), { ...view, dot, changedMs: time.ms });
      }
    }
    for (const cursor of batch.cursors) this.#cursors.set(originText(cursor), cursor);
    for (const { digest, mediaType, bytes } of batch.manifests)
      this.#manifests.set(digest, { mediaType, bytes });
    return { outcome: 'committed', firstSequence, origin: this.origin };
  }

  beginEpoch({ former, epoch, below }: EpochChange): OriginRow {
    const { region, sequence } = this.origin;
    if (this.origin.epoch !== former || sequence >= below) return this.origin;
    const closed = { region, epoch: former, have: sequence, safe: sequence };
    if (sequence > 0) this.#cursors.set(originText(closed), closed);
    this.origin = { ...this.origin, epoch, sequence: 0 };
    return this.origin;
  }

  asClaimRows(): ClaimRows {
    return {
      origin: async () => this.origin,
      cursors: async () => this.cursors,
      ofKeys: async (keys) => this.ofKeys(keys),
      range: async (request) => this.range(request),
      commit: async (batch) => this.commit(batch),
      beginEpoch: async (change) => this.beginEpoch(change),
    };
  }

  #stamp(key: ClaimKey, bytes: Uint8Array, nowMs: number): Uint8Array {
    const time = nextHybridTime(this.origin.time, nowMs);
    this.origin = { ...this.origin, sequence: this.origin.sequence + 1, time };
    const stamped = stampClaim(bytes, this.origin.sequence, time);
    this.#put({ key, origin: originText(this.origin), sequence: this.origin.sequence, bytes: stamped });
    return stamped;
  }

  #put(row: Row): void {
    this.#rows.set(`${row.origin} ${keyText(row.key)}`, row);
  }
}
