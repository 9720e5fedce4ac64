/**
 * The small roles that the HTTP room asks of others for its management API and its peers. The mesh and the roof
 * implement them structurally; nothing here knows how.
 */
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

/** Live and ready: what `/livez` and `/readyz` answer; `reasons` is empty when all is well. */
export interface Health {
  live(): readonly string[];
  ready(): readonly string[];
}
