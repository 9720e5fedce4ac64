/**
 * What `fairway status` shows of the index: per origin what we hold and lack, per follower what it has confirmed of
 * our own claims, and for how long either has been behind.
 */
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { CoreState, OriginState } from './core-state.ts';
import type { Follower, Followers } from './followers.ts';
import type { OriginCursor } from './message.ts';

export type CoreStatus = {
  readonly region: RegionNumber;
  readonly epoch: Epoch;
  /** The newest sequence of our own. */
  readonly head: number;
  /** Writes that wait or run. */
  readonly writes: number;
  /** Our own origin first. */
  readonly origins: readonly OriginStatus[];
  /** One per peer of the roster, by number. */
  readonly followers: readonly FollowerStatus[];
};

export type OriginStatus = OriginCursor & {
  /** The newest sequence that any region was heard to hold. */
  readonly head: number;
  /** head - have: at most so many claims are missing here; replaced ones are counted, but will not come. */
  readonly behindClaims: number;
  /** For how long something has been missing, or the copy not been known to be exact; 0 when it is. */
  readonly lagMs: number;
};

export type FollowerStatus = {
  readonly region: RegionNumber;
  /** We reach it: its claims arrive. */
  readonly linkUp: boolean;
  /** It has asked for our claims: they go there as long as its link to us holds. */
  readonly following: boolean;
  /** What it said it holds, of each origin. */
  readonly cursors: readonly OriginCursor[];
  /** At most so many of its own claims are missing here. */
  readonly behindClaims: number;
  /** Our own claims that it has not confirmed. */
  readonly unconfirmedClaims: number;
  /** For how long either has been the case, the longer; 0 when neither is. */
  readonly lagMs: number;
};

export function coreStatus(state: CoreState, followers: Followers, writes: number): CoreStatus {
  const { region, epoch, have } = state.own;
  return {
    region,
    epoch,
    head: have,
    writes,
    origins: [...state.origins()].map((origin) => originStatus(state, origin)),
    followers: [...followers.all()].map((follower) => followerStatus(state, followers, follower)),
  };
}

function originStatus(state: CoreState, origin: OriginState): OriginStatus {
  const { region, epoch, have, safe, head, behindSinceMs } = origin;
  return { region, epoch, have, safe, head, behindClaims: head - have, lagMs: since(state, behindSinceMs) };
}

function followerStatus(state: CoreState, followers: Followers, follower: Follower): FollowerStatus {
  const { region, linkUp, following } = follower;
  const cursors = [...state.origins()].map((origin) => {
    const { confirmed, confirmedSafe } = followers.stream(follower, origin);
    return { region: origin.region, epoch: origin.epoch, have: confirmed, safe: confirmedSafe };
  });
  const theirs = [...state.origins()]
    .filter((origin) => origin.region === region)
    .map((origin) => originStatus(state, origin));
  const { confirmed, behindSinceMs } = followers.stream(follower, state.own);
  return {
    region,
    linkUp,
    following,
    cursors,
    behindClaims: theirs.reduce((sum, origin) => sum + origin.behindClaims, 0),
    unconfirmedClaims: Math.max(0, state.own.have - confirmed),
    lagMs: Math.max(since(state, behindSinceMs), ...theirs.map((origin) => origin.lagMs)),
  };
}

function since(state: CoreState, sinceMs: number | undefined): number {
  return sinceMs === undefined ? 0 : Math.max(0, state.nowMs - sinceMs);
}
