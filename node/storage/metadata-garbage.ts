/**
 * Two slices of the metadata seam: what keeps a blob alive that no manifest refers to, and what can be collected.
 *
 * `usedMs` of a blob is when a push last relied on it, or when it was last pulled from a cache; it only grows, and grows with every record and every touch, so
 * that it is the blob's revision as well. Everything that removes decides inside of its transaction, so nothing that
 * was committed before it is overlooked.
 */
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';

/** The grace of blobs that are here. */
export interface BlobUseRows {
  /** When it was last used; `undefined` when it is not here. */
  usedMs(digest: Digest): Promise<number | undefined>;
  /**
   * Begins its grace anew. False when it is not here. Written only when the last use is more than `everyMs` old, so
   * that a blob which is asked for all the time is not written all the time.
   */
  touch(digest: Digest, use: { readonly nowMs: number; readonly everyMs: number }): Promise<boolean>;
  /**
   * Forgets that it is here, and through which repositories it was, unless it was recorded or touched after `usedMs`
   * was read. True when it was forgotten.
   */
  forgetUnused(digest: Digest, usedMs: number): Promise<boolean>;
}

/** What nothing needs any longer, and its removal. Every list is one short statement; a caller goes on after its last row. */
export interface GarbageRows {
  /** Manifests whose deletion is older than `deletedBeforeMs` and that may still be kept here, in the order of their deletion. */
  deletedManifests(page: DeletedPage): Promise<readonly DeletedManifest[]>;
  /** What needs a deleted manifest nevertheless. */
  needsOf(manifest: LinkedManifest, limits: ManifestLimits): Promise<ManifestNeeds>;
  /**
   * Takes a deleted manifest out of its repository, with what it refers to there; its bytes go with its last
   * repository. Nothing happens when something needs it by now: the answer is then `undefined`.
   */
  unlinkManifest(manifest: LinkedManifest, limits: ManifestLimits): Promise<UnlinkedManifest | undefined>;
  /** Repositories that a manifest is kept in, ordered by name. */
  repositoriesOf(manifest: Digest, limit: number): Promise<readonly RepositoryName[]>;
  /** Blobs that are here, ordered by digest. */
  blobs(page: BlobPage): Promise<readonly BlobUsage[]>;
  /** Manifests that refer to the blob, in no order. */
  referrersOf(blob: Digest, limit: number): Promise<readonly Digest[]>;
  /** Blobs that are here, ordered by digest, and which of them a cache may give up. */
  cachedBlobs(page: CachePage): Promise<readonly CachedBlob[]>;
  /**
   * Forgets that the blob is here, and through which repositories it was; its bytes may then be removed. False when
   * it is not here, was used after `usedBeforeMs`, or a manifest refers to it; with `onlyOf`, manifests of that cache
   * may, and nothing else.
   */
  dropBlob(digest: Digest, limits: DropLimits): Promise<boolean>;
}

export type LinkedManifest = { readonly repository: RepositoryName; readonly digest: Digest };

export type ManifestLimits = {
  readonly deletedBeforeMs: number;
  /** The losers of conflicts that are younger than this are kept. */
  readonly conflictsSinceMs: number;
};

/** `after`: the place of the last row that was seen. */
export type DeletedPage = {
  readonly deletedBeforeMs: number;
  readonly after: DeletionPlace;
  readonly limit: number;
};
export type DeletionPlace = { readonly deletedMs: number; readonly row: number };

export type DeletedManifest = LinkedManifest & {
  readonly place: DeletionPlace;
  /** `undefined` when it is not kept here any longer. */
  readonly sizeBytes: number | undefined;
};

export type ManifestNeeds = {
  /** A live tag that has it. */
  readonly tag?: string;
  /** A tag in conflict, one of whose values it is. */
  readonly conflict?: string;
  /** Indexes of the repository that name it; up to 100, which is as many as any that counts. */
  readonly parents: readonly Digest[];
};

/** `removedBytes`: size of the manifest, when this was its last repository. */
export type UnlinkedManifest = { readonly removedBytes: number | undefined };

/** Digests, as text, strictly between `after` and `before`. */
export type DigestRange = { readonly after: string; readonly before: string };
export type BlobPage = DigestRange & { readonly limit: number };

export type BlobUsage = {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly usedMs: number;
  /** One of the manifests that refer to it. */
  readonly referrer: Digest | undefined;
};

/** `prefix`: of the repositories of a proxy cache. */
export type CachePage = { readonly prefix: string; readonly after: string; readonly limit: number };

export type CachedBlob = {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly usedMs: number;
  /**
   * It was not pushed here, manifests of the cache refer to it, and nothing of any repository outside does. False of
   * one that 100 manifests or more refer to: nobody looks through all of those.
   */
  readonly isOnlyOfCache: boolean;
};

export type DropLimits = { readonly usedBeforeMs: number; readonly onlyOf?: { readonly prefix: string } };
