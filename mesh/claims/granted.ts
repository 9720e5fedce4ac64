/**
 * What receivers make of grants. A claim outside of its region's grant is stored and passed on like any other, because
 * copies are compared with their origin's, and cursors must not stop at it; but it is looked at by nobody: it wins
 * nothing, covers nothing, and what it says that it saw is not repeated. So `have` and `safe` mean what they always do,
 * and a view is a function of the claims and of the roster.
 *
 * Of an edge region only its own history is taken from it. What it says of others' could be made up: claims carry no
 * signature of their origin, and who holds more of our epoch than we do would make us begin another one.
 */
import type { RegionNumber } from '#domain/region.ts';
import type { Grant } from '#mesh/membership/grant.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import { type Claim, decodeClaim } from './claim-codec.ts';
import type { OriginCursor } from './message.ts';

/** What the roster says of the regions; absent where no region is limited. */
export type Grants = {
  /** `undefined`: a region that the roster does not limit. */
  of(region: RegionNumber): Grant | undefined;
  /** Whether it is an edge region. */
  isEdge(region: RegionNumber): boolean;
};

/** True for claims that count. The same for every claim that a region makes of one key. */
export function isGranted(claim: Pick<Claim, 'kind' | 'repository' | 'name' | 'dot'>, grants?: Grants) {
  return grants?.of(claim.dot.region)?.mayWrite(claim) ?? true;
}

/** Those that count, in the same order. */
export function granted(claims: readonly Claim[], grants?: Grants): readonly Claim[] {
  return grants === undefined ? claims : claims.filter((claim) => isGranted(claim, grants));
}

/** Whether a region's word about this origin's history is taken. */
export function mayTellOf(from: RegionNumber, origin: { readonly region: RegionNumber }, grants?: Grants) {
  return origin.region === from || grants?.isEdge(from) !== true;
}

/** Of the cursors that a region names those that it is believed. */
export function believed<Cursor extends OriginCursor>(
  from: RegionNumber,
  cursors: readonly Cursor[],
  grants?: Grants,
): readonly Cursor[] {
  return cursors.filter((cursor) => mayTellOf(from, cursor, grants));
}

/** Whether a region is worth asking for claims of this key: an edge only where it may have made one. */
export function isAskedFor(region: RegionNumber, key: ClaimKey, grants?: Grants): boolean {
  return grants?.isEdge(region) !== true || grants.of(region)?.mayWrite(key) === true;
}

/** Of the claims that a region answered those that it is believed. @throws ClaimFormatError when one is malformed. */
export function answered(from: RegionNumber, claims: readonly Uint8Array[], grants?: Grants) {
  return claims.filter((bytes) => mayTellOf(from, decodeClaim(bytes).dot, grants));
}
