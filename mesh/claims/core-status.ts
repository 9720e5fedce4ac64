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
  /**
   * For how long something has been missing, or the copy not been known to be exact; 0 when it is. Of an epoch that
   * another one of its region followed, only what is missing counts: its copies may never be known to be exact.
   */
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
  const origins = [...state.origins()];
  const newest = new Map<RegionNumber, Epoch>();
  for (const origin of origins) {
    const known = newest.get(origin.region);
    if (known === undefined || known < origin.epoch) newest.set(origin.region, origin.epoch);
  }
  const statuses = origins.map((origin) => originStatus(state, origin, newest));
  return {
    region,
    epoch,
    head: have,
    writes,
    origins: statuses,
    followers: [...followers.all()].map((follower) =>
      followerStatus({ state, followers, origins: statuses }, follower),
    ),
  };
}

function originStatus(
  state: CoreState,
  origin: OriginState,
  newest: ReadonlyMap<RegionNumber, Epoch>,
): OriginStatus {
  const { region, epoch, have, safe, head, behindSinceMs } = origin;
  const isFollowed = newest.get(region) !== epoch;
  const lagMs = isFollowed && head === have ? 0 : since(state, behindSinceMs);
  return { region, epoch, have, safe, head, behindClaims: head - have, lagMs };
}

type Known = {
  readonly state: CoreState;
  readonly followers: Followers;
  readonly origins: readonly OriginStatus[];
};

function followerStatus({ state, followers, origins }: Known, follower: Follower): FollowerStatus {
  const { region, linkUp, following } = follower;
  const cursors = [...state.origins()].map((origin) => {
    const { confirmed, confirmedSafe } = followers.stream(follower, origin);
    return { region: origin.region, epoch: origin.epoch, have: confirmed, safe: confirmedSafe };
  });
  const theirs = origins.filter((origin) => origin.region === region);
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
