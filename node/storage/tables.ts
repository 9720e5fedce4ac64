/**
 * The tables, as Kysely sees them. Both dialects have the same ones: booleans are integers 0 and 1, an epoch is
 * text of 16 digits, a hybrid time is two integers, times are milliseconds, text is ordered by bytes, and no column
 * holds JSON. What they mean is said where each slice is written (`rows-*.ts`); their shape is in `migrations/`.
 */
import type { Generated } from 'kysely';

export type Tables = {
  readonly origin: OriginTable;
  readonly origin_cursor: CursorTable;
  readonly claim: ClaimTable;
  readonly view: ViewTable;
  readonly blob: BlobTable;
  readonly blob_link: LinkTable;
  readonly manifest: ManifestTable;
  readonly manifest_link: LinkTable;
  readonly manifest_reference: ManifestReferenceTable;
  readonly repository_reference: RepositoryReferenceTable;
  readonly task: TaskTable;
  readonly cached_tag: CachedTagTable;
  readonly tally: TallyTable;
};

/** One row, `id` 1. */
export type OriginTable = {
  readonly id: number;
  readonly region: number;
  readonly epoch: string;
  readonly sequence: number;
  readonly time_ms: number;
  readonly time_counter: number;
  readonly start: string;
};

export type CursorTable = {
  readonly region: number;
  readonly epoch: string;
  readonly have: number;
  readonly safe: number;
};

type KeyColumns = { readonly kind: number; readonly repository: string; readonly name: string };
type DotColumns = { readonly region: number; readonly epoch: string; readonly sequence: number };

export type ClaimTable = KeyColumns &
  DotColumns & { readonly id: Generated<number>; readonly bytes: Uint8Array };

/** `sequence` 0: the key was touched and has no view yet. */
export type ViewTable = KeyColumns &
  DotColumns & {
    readonly id: Generated<number>;
    readonly revision: number;
    readonly live: number;
    readonly value: Uint8Array;
    readonly changed_ms: number;
    readonly principal: string;
    readonly conflict: number;
  };

export type BlobTable = {
  readonly digest: string;
  readonly size_bytes: number;
  readonly source: string;
  readonly stored_ms: number;
  /** When a push last relied on it, or it was pulled from a cache; grows with every use, and is its revision. */
  readonly used_ms: number;
};

export type LinkTable = { readonly repository: string; readonly digest: string };

export type ManifestTable = {
  readonly id: Generated<number>;
  readonly digest: string;
  readonly media_type: string;
  readonly size_bytes: number;
  readonly bytes: Uint8Array;
};

/** What a manifest refers to, in its order; `platform` is empty where it says none. */
export type ManifestReferenceTable = {
  readonly manifest: string;
  readonly position: number;
  readonly kind: string;
  readonly digest: string;
  readonly size_bytes: number;
  readonly media_type: string;
  readonly platform: string;
};

/** The same the other way round, per repository: who in it refers to this digest. */
export type RepositoryReferenceTable = {
  readonly repository: string;
  readonly kind: string;
  readonly digest: string;
  readonly manifest: string;
};

export type TaskTable = {
  readonly id: Generated<number>;
  readonly policy: string;
  readonly repository: string;
  readonly digest: string;
  readonly tag: string;
  readonly state: string;
  readonly attempts: number;
  /** When it may be taken; of a running one, when its lease ends; null of one that ended. */
  readonly due_ms: number | null;
  readonly bytes: number;
  readonly reason: string;
  readonly enqueued_ms: number;
  readonly changed_ms: number;
};

export type CachedTagTable = {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
  readonly checked_ms: number;
};

/** Counts that triggers keep, so that a total never needs a scan: `blob`, `view/<kind>`, `task/<state>`. */
export type TallyTable = { readonly name: string; readonly count: number; readonly size_bytes: number };
