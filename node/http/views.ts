/**
 * The small roles that the HTTP room asks of others for its management API and its peers. The mesh and the roof
 * implement them structurally; nothing here knows how.
 */
import type { RepositoryName, Tag } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';

/** What this region knows of the mesh: `GET /api/v1/status`. */
export interface MeshView {
  status(context: RequestContext): Promise<MeshStatus>;
  /** Per region, how much of the image is there: `GET /api/v1/images?name=<repository>[:tag|@digest]`. */
  image(repository: string, reference: string, context: RequestContext): Promise<ImageStatus>;
}

export type MeshStatus = {
  readonly mesh: string;
  readonly region: string;
  readonly epoch: string;
  readonly sequence: number;
  /** Epochs of this region that ended, after a restore or a crash. */
  readonly formerEpochs: readonly { readonly epoch: string; readonly behindClaims: number }[];
  readonly registry: string;
  readonly management: string;
  readonly startedMs: number;
  readonly tags: number;
  readonly manifests: number;
  readonly blobs: { readonly count: number; readonly sizeBytes: number };
  readonly tasks: {
    readonly queued: number;
    readonly running: number;
    readonly done: number;
    readonly parked: number;
  };
  readonly peers: readonly PeerStatus[];
  /** Manifests that only this region holds whole, as far as the reachable regions know; capped, see `soleCopiesCapped`. */
  readonly soleCopies: readonly {
    readonly repository: string;
    readonly digest: string;
    readonly tags: readonly string[];
  }[];
  readonly soleCopiesCapped: boolean;
};

export type PeerStatus = {
  readonly region: string;
  readonly up: boolean;
  readonly sinceMs: number;
  readonly roundTripMs: number;
  readonly reason: string;
  /** Claims of this peer that it announced and we have not got. */
  readonly behindClaims: number;
  /** Our own claims that it has not confirmed. */
  readonly unconfirmedClaims: number;
  /** Since when we are continuously behind, in ms; 0 when we are not. */
  readonly lagMs: number;
};

export type ImageStatus = {
  readonly repository: string;
  readonly reference: string;
  readonly digest: string;
  readonly mediaType: string;
  readonly tags: readonly string[];
  readonly conflict: boolean;
  readonly regions: readonly ImageInRegion[];
};

export type ImageInRegion = {
  readonly region: string;
  /** `silent`: the region did not answer. */
  readonly state: 'complete' | 'filling' | 'known' | 'absent' | 'silent';
  readonly sizeBytes: number;
  readonly sizeBytesHere: number;
  readonly bytesBySource: Readonly<Record<string, number>>;
  readonly storedMs: number;
};

/** The policies in force: `/api/v1/policies`. */
export interface PolicyBook {
  list(): Promise<readonly PolicyEntry[]>;
  /**
   * Validates and applies every document of the YAML text, all or none.
   * @throws PolicyRefused-shaped errors: `{ problems: [{ file, line, column, message }] }`, answered as 422.
   */
  apply(text: string, file: string, context: RequestContext): Promise<readonly AppliedPolicy[]>;
  remove(name: string, context: RequestContext): Promise<boolean>;
}

export type PolicyEntry = {
  readonly kind: string;
  readonly name: string;
  readonly document: string;
  readonly appliedBy: string;
  readonly appliedIn: string;
  readonly appliedMs: number;
};

export type AppliedPolicy = {
  readonly kind: string;
  readonly name: string;
  readonly change: 'created' | 'changed' | 'unchanged';
};

/** Tags that two regions moved without seeing each other: `/api/v1/conflicts`. */
export interface ConflictBook {
  /** Ordered by repository and tag, those after one (empty: from the first). */
  list(
    after: { readonly repository: string; readonly tag: string },
    limit: number,
  ): Promise<{
    readonly conflicts: readonly TagConflict[];
    /** There may be more after this one. */
    readonly next?: { readonly repository: string; readonly tag: string };
  }>;
  /** `undefined`: the tag is in no conflict that this region knows of. */
  find(name: TagName): Promise<TagConflict | undefined>;
  /**
   * Ends it in every region. `to`: the digest of a side, or its region. `undefined`: the tag is in no conflict.
   * @throws RegistryError (409) when `to` names none of the sides; UnavailableError.
   */
  resolve(
    choice: TagName & { readonly to: string },
    context: RequestContext,
  ): Promise<ResolvedConflict | undefined>;
}

export type TagName = { readonly repository: RepositoryName; readonly tag: Tag };

export type TagConflict = {
  readonly repository: string;
  readonly tag: string;
  /** When the second of its sides was pushed, by the clock of its region. */
  readonly sinceMs: number;
  /** The one that wins first. Two may have one digest. */
  readonly sides: readonly ConflictSide[];
};

export type ConflictSide = {
  readonly digest: string;
  readonly region: string;
  readonly principal: string;
  readonly changedMs: number;
  readonly wins: boolean;
};

export type ResolvedConflict = {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
};

/** Live and ready: what `/livez` and `/readyz` answer; `reasons` is empty when all is well. */
export interface Health {
  live(): readonly string[];
  ready(): readonly string[];
}

/** Who changed what, where and when: `/api/v1/log`. */
export interface ChangeLog {
  /** Newest first. @throws RegistryError UNSUPPORTED (400) for a cursor that is none. */
  read(query: ChangeQuery, context: RequestContext): Promise<ChangePage>;
}

export type ChangeQuery = {
  /** A glob. */
  readonly repository?: string | undefined;
  /** A principal: an account, or `administrator`. */
  readonly who?: string | undefined;
  /** Only what a region wrote outside of its grant. Default false: everything. */
  readonly refused?: boolean | undefined;
  readonly sinceMs: number;
  readonly limit: number;
  /** `next` of the page before. */
  readonly cursor?: string | undefined;
};

export type ChangePage = {
  /** Fewer than asked for where much had to be passed over; then there is a next page still. */
  readonly changes: readonly Change[];
  /** Absent on the last page. */
  readonly next?: string;
};

export type Change = {
  readonly atMs: number;
  readonly region: string;
  readonly who: string;
  /** `tag`, `manifest`, `policy`, `account`, `key` … */
  readonly kind: string;
  readonly change: 'set' | 'deleted';
  /** Empty for what belongs to none. */
  readonly repository: string;
  readonly name: string;
  /** Of a tag that was set; else empty. */
  readonly digest: string;
  /** `<region>.<epoch>.<sequence>` of the claim. */
  readonly version: string;
  /** True when the roster does not grant it to its region: it is shown nowhere. */
  readonly refused: boolean;
};
