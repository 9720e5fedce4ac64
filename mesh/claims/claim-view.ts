/**
 * The view of a key: which of its claims wins, as a function of the set of claims and of nothing else. Regions that
 * know the same claims therefore resolve every key alike, in whatever order the claims came.
 *
 * A claim is covered when another one saw it: names its origin and epoch with at least its sequence in its context,
 * or follows it in the same origin and epoch (one region's writes of one key are in one line). Of what is left, live
 * values win over deletes, since a delete removes only what it saw; among several live ones, the latest hybrid time
 * wins, then the higher region and epoch. More than one live value is a conflict, equal values are none.
 * Source of the rule: add-wins sets with dotted version vectors.
 */
import type { Dot } from '#domain/dot.ts';
import { compareHybridTimes } from '#domain/hybrid-time.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import { type Claim, ClaimFormatError, decodeClaim } from './claim-codec.ts';
import { type Grants, granted } from './granted.ts';
import { originText } from './key-text.ts';

export type KeyResolution = {
  readonly live: boolean;
  /** What the key is resolved to; the newest uncovered delete when nothing is live; absent without any claim. */
  readonly winner: Claim | undefined;
  readonly conflict: boolean;
  /** Live and uncovered, ascending as for winning: the sides of a conflict, where there is one. */
  readonly standing: readonly Claim[];
  /** Live and uncovered, with another value than the winner's. */
  readonly losers: readonly Claim[];
  /** What other claims have replaced. */
  readonly covered: readonly Claim[];
};

/** `claims` are all of one key. */
export function resolveKey(claims: readonly Claim[]): KeyResolution {
  const sorted = claims.toSorted(compareForWinning);
  const isCovered = coverage(sorted);
  const covered = sorted.filter(isCovered);
  // Contexts that cover each other in a circle are nobody's honest claims; all are then as good as each other.
  const uncovered = covered.length === sorted.length ? sorted : sorted.filter((claim) => !isCovered(claim));
  const live = uncovered.filter((claim) => claim.state === 'live');
  const winner = live.at(-1) ?? uncovered.at(-1);
  const losers = live.filter((claim) => winner !== undefined && !bytesEqual(claim.value, winner.value));
  return { live: live.length > 0, winner, conflict: losers.length > 0, standing: live, losers, covered };
}

/**
 * As `resolveKey`, of encoded claims: stored ones, and those that other regions answered to a Locate. Of regions with
 * a grant only what it allows counts.
 * @throws ClaimFormatError when one is malformed or, if a key is given, belongs to another key. It is not skipped,
 * as what is missing from the set could make a live key look absent.
 */
export function resolveStored(stored: readonly Uint8Array[], key?: ClaimKey, grants?: Grants): KeyResolution {
  const claims = stored.map(decodeClaim);
  if (key !== undefined && !claims.every((claim) => isOfKey(claim, key))) {
    throw new ClaimFormatError(`a claim is not of the key ${key.repository} ${key.name}`);
  }
  return resolveKey(granted(withoutCopies(claims), grants));
}

/** Ascending by (hybrid time, region, epoch, sequence). */
function compareForWinning(a: Claim, b: Claim): number {
  const byTime = compareHybridTimes(a.time, b.time);
  if (byTime !== 0) return byTime;
  if (a.dot.region !== b.dot.region) return a.dot.region - b.dot.region;
  if (a.dot.epoch !== b.dot.epoch) return a.dot.epoch < b.dot.epoch ? -1 : 1;
  return a.dot.sequence - b.dot.sequence;
}

/** Whether one of these claims has seen a claim, or follows it in its origin. */
function coverage(claims: readonly Claim[]): (claim: Claim) => boolean {
  const seen = new Map<string, number>();
  const newest = new Map<string, number>();
  const raise = (sequences: Map<string, number>, dot: Dot) => {
    const origin = originText(dot);
    sequences.set(origin, Math.max(sequences.get(origin) ?? 0, dot.sequence));
  };
  for (const claim of claims) {
    raise(newest, claim.dot);
    for (const dot of claim.context) raise(seen, dot);
  }
  return ({ dot }) => {
    const origin = originText(dot);
    return (seen.get(origin) ?? 0) >= dot.sequence || (newest.get(origin) ?? 0) > dot.sequence;
  };
}

function withoutCopies(claims: readonly Claim[]): readonly Claim[] {
  const byDot = new Map(claims.map((claim) => [`${originText(claim.dot)}.${claim.dot.sequence}`, claim]));
  return [...byDot.values()];
}

function isOfKey(claim: Claim, key: ClaimKey): boolean {
  return claim.kind === key.kind && claim.repository === key.repository && claim.name === key.name;
}

function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, position) => byte === b[position]);
}
