/**
 * The seam for facts, cut into small slices; a consumer is handed the slice it uses. Two dialects implement it over
 * one Kysely code base; the embedded profile's is SQLite. Everything is asynchronous; reads of the embedded profile
 * answer from the main thread in statements of at most 5 ms, and writes go to one writer in a worker, which groups
 * them: a write that resolved is on stable storage (`synchronous=FULL`).
 *
 * Text is ordered by bytes everywhere. The conformance suite is `test/suites/metadata-suite.ts`.
 */
import type { Digest } from '#domain/digest.ts';
import type { Dot } from '#domain/dot.ts';
import type { HybridTime } from '#domain/hybrid-time.ts';
import type { ReferenceKind } from '#domain/manifest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { BlobUseRows, GarbageRows } from './metadata-garbage.ts';

export interface Metadata extends AsyncDisposable {
  readonly blobs: BlobRows;
  readonly manifests: ManifestRows;
  readonly views: ViewRows;
  readonly claims: ClaimRows;
  readonly tasks: TaskRows;
  readonly cachedTags: CachedTagRows;
  readonly blobUses: BlobUseRows;
  readonly garbage: GarbageRows;
  readonly viewWrites: ViewWrites;
}

/**
 * For whoever remembers what views said: called after every commit that had to do with these keys, whether it was
 * made, refused or failed in the middle, and before the promise of that commit settles. So nothing that was remembered
 * outlives the acknowledgement of a write to it.
 */
export interface ViewWrites {
  onWritten(listener: (keys: readonly ClaimKey[]) => void): Disposable;
}

/** Which blobs are here, where they came from, and through which repositories they may be read. */
export interface BlobRows {
  find(digest: Digest): Promise<BlobRow | undefined>;
  /** Records a blob that is committed in the blob store, and links it to `repository`. Safe to repeat. */
  record(row: BlobRow, repository: RepositoryName): Promise<void>;
  /** Links a blob that is here to one more repository (a mount). Safe to repeat. */
  link(repository: RepositoryName, digest: Digest): Promise<void>;
  /**
   * True when the repository may serve it: it was uploaded or mounted there, or a manifest that it shows refers to
   * it. One that was deleted there counts no longer.
   */
  isReadable(repository: RepositoryName, digest: Digest): Promise<boolean>;
  /** Repositories with a link of their own to it, ordered by name. */
  repositoriesOf(digest: Digest, limit: number): Promise<readonly RepositoryName[]>;
  /** Removes the repository's own link; a manifest's reference stays. True when there was one. */
  unlink(repository: RepositoryName, digest: Digest): Promise<boolean>;
  /** Forgets that the blob is here (its bytes are damaged or gone). */
  forget(digest: Digest): Promise<void>;
  /** Count and bytes of all blobs here. */
  totals(): Promise<{ readonly count: number; readonly sizeBytes: number }>;
}

export type BlobRow = {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** `push`, or the name of the region or upstream that it was filled from. */
  readonly source: string;
  readonly storedMs: number;
};

/** Manifests whose bytes are known here, and what they refer to. Whether one is *visible* is a view's matter. */
export interface ManifestRows {
  find(digest: Digest): Promise<ManifestRow | undefined>;
  /** Stores bytes and references (parsed by `domain/manifest`), for content that no claim of ours announces. Safe to repeat. */
  record(repository: RepositoryName, manifest: ManifestRow): Promise<void>;
  /** True when the manifest was recorded in, or announced for, this repository. */
  isLinked(repository: RepositoryName, digest: Digest): Promise<boolean>;
  /** Its direct references, in manifest order. */
  references(digest: Digest): Promise<readonly ReferenceRow[]>;
  /** Manifests of the repository with this subject, ordered by digest. */
  referrers(repository: RepositoryName, subject: Digest): Promise<readonly ManifestRow[]>;
  /** How much of the closure (children included; subjects, foreign layers and absent blobs not) is here. */
  presence(digest: Digest): Promise<Presence>;
}

export type ManifestRow = {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
};

/** A manifest as it is pushed: `absent` are the blobs that nobody had then. Without it nothing is said of that. */
export type PushedManifest = ManifestRow & {
  readonly absent?: readonly Digest[];
  /**
   * All of its other blobs must be here when it is committed; when one has gone by then, the commit is refused like one
   * whose guard does not hold. Default false.
   */
  readonly isWhole?: boolean;
};

export type ReferenceRow = {
  /**
   * `absent`: a blob that nobody had when the manifest was pushed, which is complete without it. Like a foreign layer
   * it may be here by now, uploaded to this repository or another; the reference gives no right to read it.
   */
  readonly kind: ReferenceKind | 'absent';
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly mediaType: string;
  /** `os/architecture[/variant]` of an index's child, when it says so. */
  readonly platform?: string;
};

/** The manifests whose bytes are missing make the counts of blobs a lower bound. */
export type Presence = {
  readonly manifests: number;
  readonly manifestsHere: number;
  readonly blobs: number;
  readonly blobsHere: number;
  readonly sizeBytes: number;
  readonly sizeBytesHere: number;
  readonly missingBlobs: readonly { readonly digest: Digest; readonly sizeBytes: number }[];
  readonly missingManifests: readonly Digest[];
  /** Where the blobs here came from: source → bytes. */
  readonly bytesBySource: Readonly<Record<string, number>>;
  /** When the newest of its blobs was stored here; 0 when none is. */
  readonly newestStoredMs: number;
};

/**
 * The resolved state of every key of the replicated index: one row a key, written in the transaction that applies
 * the claims it follows from. The numbers of kinds are `mesh/claims`'s; the store compares them only.
 */
export interface ViewRows {
  get(key: ClaimKey): Promise<ViewRow | undefined>;
  /** Live rows of one kind and repository with `name > after`, ordered by bytes. */
  list(kind: number, repository: string, after: string, limit: number): Promise<readonly ViewRow[]>;
  /** Names of repositories with a live row of this kind, after `after`, ordered by bytes. */
  repositories(kind: number, after: string, limit: number): Promise<readonly string[]>;
  /** Live rows of one kind and repository whose value is this (e.g. all tags of a digest). */
  withValue(kind: number, repository: string, value: Uint8Array): Promise<readonly ViewRow[]>;
  /** Live rows of one kind over all repositories, after a key, ordered by (repository, name). */
  scan(
    kind: number,
    after: { readonly repository: string; readonly name: string },
    limit: number,
  ): Promise<readonly ViewRow[]>;
  /** Rows of one kind whose key is in conflict, after a key, ordered by (repository, name). */
  conflicts(
    kind: number,
    after: { readonly repository: string; readonly name: string },
    limit: number,
  ): Promise<readonly ViewRow[]>;
  /** Number of live rows of one kind. */
  count(kind: number): Promise<number>;
}

/** `repository` is empty for kinds that belong to none (policies, accounts, keys). */
export type ClaimKey = { readonly kind: number; readonly repository: string; readonly name: string };

export type ViewRow = ClaimKey & {
  readonly live: boolean;
  /**
   * The winner's value; empty when nothing is live. Of a tag: `digestToBytes` of its digest. Of a manifest:
   * `domain/manifest-summary`. Of a policy: its YAML document in UTF-8.
   */
  readonly value: Uint8Array;
  /** The winner's dot (of the newest covering delete, when nothing is live). */
  readonly dot: Dot;
  /** Hybrid time of that claim, in ms. */
  readonly changedMs: number;
  readonly principal: string;
  /** True when more than one value is live and uncovered. */
  readonly conflict: boolean;
};

/**
 * The claims themselves: per origin region and epoch, the newest claim of each key; only `mesh/claims` decides what
 * goes in. A commit is one transaction, guarded by the revision of every key it touches, so that a decision made
 * on a stale read is refused as a whole, never half applied.
 */
export interface ClaimRows {
  origin(): Promise<OriginRow>;
  cursors(): Promise<readonly CursorRow[]>;
  /** For each key, in order: all stored claims of all origins, and the revision to commit against (0: never seen). */
  ofKeys(keys: readonly ClaimKey[]): Promise<readonly StoredKey[]>;
  /** Claims of one origin and epoch with `sequence > after`, in order, up to `maxCount` and about `maxBytes` (at least one). */
  range(request: ClaimRange): Promise<readonly StoredClaim[]>;
  commit(batch: ClaimBatch): Promise<ClaimCommit>;
  /**
   * Ends our epoch and begins another at sequence 0, its time going on; the former gets a cursor, as another's origin
   * has. Changes nothing when the epoch is not `former` any more, or has reached `below`. Answers what is then.
   */
  beginEpoch(change: EpochChange): Promise<OriginRow>;
}

export type EpochChange = { readonly former: Epoch; readonly epoch: Epoch; readonly below: number };

/** This region's own history. `sequence` and `time` are those of the last claim committed. */
export type OriginRow = {
  readonly region: RegionNumber;
  readonly epoch: Epoch;
  readonly sequence: number;
  readonly time: HybridTime;
};

/** Up to where this region holds an origin's claims; see `mesh/claims`. Our own epoch has none: its head is `OriginRow`. */
export type CursorRow = {
  readonly region: RegionNumber;
  readonly epoch: Epoch;
  readonly have: number;
  readonly safe: number;
};

export type StoredKey = {
  readonly key: ClaimKey;
  readonly revision: number;
  readonly claims: readonly Uint8Array[];
};

export type StoredClaim = {
  readonly sequence: number;
  /** The claim's canonical bytes. */
  readonly bytes: Uint8Array;
  /** Media type and bytes of the manifest that rides along: manifest claims, bodies up to 64 KiB. */
  readonly manifest?: { readonly mediaType: string; readonly bytes: Uint8Array };
};

export type ClaimRange = {
  readonly region: RegionNumber;
  readonly epoch: Epoch;
  readonly after: number;
  readonly maxCount: number;
  readonly maxBytes: number;
};

export type ClaimBatch = {
  /** Every key that the batch changes, with the revision that was read; each is raised by one. */
  readonly guards: readonly { readonly key: ClaimKey; readonly revision: number }[];
  /** Claims of our own, their sequence and time still zero: stamped in order by the commit. */
  readonly own: readonly OwnClaim[];
  /** Claims of others, verbatim. Each replaces its origin's former claim of that key. */
  readonly foreign: readonly ForeignClaim[];
  /** New views. An own claim's view names its `own` position instead of a dot. */
  readonly views: readonly ViewWrite[];
  readonly cursors: readonly CursorRow[];
  /** Raises our clock: the next own time is later than this. */
  readonly observed: HybridTime;
  /** Manifest bytes to store with their references, beside the claims that announce them. */
  readonly manifests: readonly (PushedManifest & { readonly repository: string })[];
  /** Wall clock for stamping, in ms. */
  readonly nowMs: number;
};

export type OwnClaim = { readonly key: ClaimKey; readonly bytes: Uint8Array };
export type ForeignClaim = { readonly key: ClaimKey; readonly dot: Dot; readonly bytes: Uint8Array };

export type ViewWrite = ClaimKey & {
  readonly live: boolean;
  readonly value: Uint8Array;
  readonly winner: { readonly own: number } | { readonly dot: Dot; readonly changedMs: number };
  readonly principal: string;
  readonly conflict: boolean;
};

/** `conflict`: a guard did not hold; nothing was written; read again and decide again. */
export type ClaimCommit =
  | { readonly outcome: 'committed'; readonly firstSequence: number; readonly origin: OriginRow }
  | { readonly outcome: 'conflict' };

/** Durable work of this region: what must be copied here because a policy says so. */
export interface TaskRows {
  /**
   * Adds what is not there yet (one row per policy, repository and digest). A row that is done or parked is queued
   * again, its attempts forgotten; one that is queued or running is left alone.
   */
  enqueue(tasks: readonly NewTask[]): Promise<void>;
  /** Takes up to `limit` due tasks for `leaseMs`. An expired lease makes a task due again. */
  lease(request: {
    readonly nowMs: number;
    readonly leaseMs: number;
    readonly limit: number;
  }): Promise<readonly TaskRow[]>;
  /** Extends the leases of tasks that are still running; those that are not are left alone. */
  renew(ids: readonly number[], untilMs: number): Promise<void>;
  /** Ends a leased task: done, due again at `retryAtMs`, or parked with its reason. A task that is gone is left gone. */
  settle(id: number, outcome: TaskOutcome): Promise<void>;
  list(filter: {
    readonly states: readonly TaskState[];
    readonly limit: number;
  }): Promise<readonly TaskRow[]>;
  counts(): Promise<Readonly<Record<TaskState, number>>>;
  /** Removes every task of a policy that is not in `keep`. */
  retain(keep: readonly string[]): Promise<void>;
}

export type TaskState = 'queued' | 'running' | 'done' | 'parked';
export type NewTask = {
  readonly policy: string;
  readonly repository: RepositoryName;
  readonly digest: Digest;
  readonly tag: string;
  readonly nowMs: number;
};
export type TaskRow = NewTask & {
  readonly id: number;
  readonly state: TaskState;
  readonly attempts: number;
  readonly dueMs: number;
  readonly bytes: number;
  readonly reason: string;
  readonly changedMs: number;
};
export type TaskOutcome =
  /** `reason`: why there was nothing to do. */
  | { readonly state: 'done'; readonly bytes: number; readonly reason?: string; readonly nowMs: number }
  | { readonly state: 'queued'; readonly retryAtMs: number; readonly reason: string; readonly nowMs: number }
  | { readonly state: 'parked'; readonly reason: string; readonly nowMs: number };

/** Tags of proxied registries: a cache of this region, never claims. */
export interface CachedTagRows {
  get(repository: RepositoryName, tag: string): Promise<CachedTagRow | undefined>;
  put(row: CachedTagRow): Promise<void>;
  /** Forgets a tag that the upstream no longer has, so that it is not served when the upstream is down. Again is fine. */
  remove(repository: RepositoryName, tag: string): Promise<void>;
  list(repository: RepositoryName, after: string, limit: number): Promise<readonly CachedTagRow[]>;
}

export type CachedTagRow = {
  readonly repository: RepositoryName;
  readonly tag: string;
  readonly digest: Digest;
  /** When the upstream last confirmed it. */
  readonly checkedMs: number;
};
