/**
 * What regions say to each other about the index. Four messages; each may be lost, repeated, delayed or reordered,
 * and the next summary mends what that broke.
 *
 * A *follower* asks (`follow`), a *source* answers (`delta`, `summary`), the follower confirms (`ack`). Every region
 * is both, towards every other. A source passes on what it holds of any origin, not only its own claims.
 */
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { StoredClaim } from '#storage/metadata.ts';

export type Message = FollowMessage | DeltaMessage | SummaryMessage | AckMessage;

/** "Send me what comes after these cursors." Origins that are not named are wanted from the beginning. */
export type FollowMessage = {
  readonly type: 'follow';
  readonly cursors: readonly OriginCursor[];
  /** Bytes of unacknowledged deltas that the source may have in flight to this follower. */
  readonly creditBytes: number;
};

/**
 * Claims of one origin, in sequence order: all that the source still holds in (from, to]. `head` is the newest
 * sequence that the source knows of this origin, and 2^53 - 1 when its copy has holes and it does not know which later
 * claims hide them (`OriginState.ceiling`); `exact`: its copy is exactly the origin's at `head`, and to = head.
 */
export type DeltaMessage = {
  readonly type: 'delta';
  readonly region: RegionNumber;
  readonly epoch: Epoch;
  readonly from: number;
  readonly to: number;
  readonly head: number;
  readonly exact: boolean;
  readonly claims: readonly StoredClaim[];
};

/** Every second: up to where the source holds each origin, its own included. */
export type SummaryMessage = { readonly type: 'summary'; readonly heads: readonly OriginCursor[] };

/** After commit: up to where the follower holds each origin that changed. Returns credit. */
export type AckMessage = { readonly type: 'ack'; readonly cursors: readonly OriginCursor[] };

/** `have`: everything up to here was received. `safe`: the copy is exactly the origin's map as of here; safe ≤ have. */
export type OriginCursor = {
  readonly region: RegionNumber;
  readonly epoch: Epoch;
  readonly have: number;
  readonly safe: number;
};
