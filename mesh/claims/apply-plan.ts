/**
 * What received claims change: per key, the view before and after, from all that is stored of it. Views that stay the
 * same are not written again.
 */

import { dotEquals } from '#domain/dot.ts';
import type { ClaimBatch, ClaimKey, ForeignClaim, StoredKey, ViewWrite } from '#storage/metadata.ts';
import { type Claim, decodeClaim } from './claim-codec.ts';
import { type KeyResolution, resolveKey } from './claim-view.ts';
import type { CheckedClaim } from './delta-check.ts';
import { type Grants, granted, isGranted } from './granted.ts';
import { keyText } from './key-text.ts';

export type AppliedKeys = {
  readonly foreign: readonly ForeignClaim[];
  readonly views: readonly ViewWrite[];
  readonly manifests: ClaimBatch['manifests'];
  /** Keys whose view became another. */
  readonly changed: readonly ClaimKey[];
  /** Keys that are in conflict now, and were not. */
  readonly conflicts: readonly ClaimKey[];
  /** Keys that were in conflict, and are not any more. */
  readonly closed: readonly ClaimKey[];
  /** Keys of claims that are stored and do not count. */
  readonly refused: readonly ClaimKey[];
};

/** `claims`: at most one a key, all of one origin; `stored`: each of those keys once. */
export function planApply(
  claims: ReadonlyMap<string, CheckedClaim>,
  stored: readonly StoredKey[],
  grants?: Grants,
): AppliedKeys {
  const foreign: ForeignClaim[] = [];
  const views: ViewWrite[] = [];
  const manifests: ClaimBatch['manifests'][number][] = [];
  const conflicts: ClaimKey[] = [];
  const closed: ClaimKey[] = [];
  const refused: ClaimKey[] = [];
  for (const { key, claims: known } of stored) {
    const received = claims.get(keyText(key));
    if (received === undefined) continue;
    const before = known.map(decodeClaim);
    const after = replaced(before, received.claim);
    if (after === undefined) continue;
    foreign.push({ key, dot: received.claim.dot, bytes: received.bytes });
    if (!isGranted(received.claim, grants)) {
      refused.push(key);
      continue;
    }
    if (received.manifest !== undefined) manifests.push(received.manifest);
    const [was, is] = [resolveKey(granted(before, grants)), resolveKey(granted(after, grants))];
    if (!isSameView(was, is)) views.push(viewOf(key, is));
    if (is.conflict && !was.conflict) conflicts.push(key);
    if (was.conflict && !is.conflict) closed.push(key);
  }
  const changed = views.map(({ kind, repository, name }) => ({ kind, repository, name }));
  return { foreign, views, manifests, changed, conflicts, closed, refused };
}

/** The view of all that is stored of a key. Where no claim of it counts, nothing is live, under the newest dot. */
export function viewOfKey({ key, claims }: StoredKey, grants?: Grants): ViewWrite {
  const decoded = claims.map(decodeClaim);
  const resolution = resolveKey(granted(decoded, grants));
  if (resolution.winner !== undefined) return viewOf(key, resolution);
  return viewOf(key, { ...resolveKey(decoded), live: false, conflict: false });
}

/** The origin's former claim of the key gives way; `undefined` when what is stored is as new. */
function replaced(before: readonly Claim[], received: Claim): readonly Claim[] | undefined {
  const { region, epoch, sequence } = received.dot;
  const isFormer = (claim: Claim) => claim.dot.region === region && claim.dot.epoch === epoch;
  if (before.some((claim) => isFormer(claim) && claim.dot.sequence >= sequence)) return undefined;
  return [...before.filter((claim) => !isFormer(claim)), received];
}

function isSameView(a: KeyResolution, b: KeyResolution): boolean {
  if (a.winner === undefined || b.winner === undefined) return a.winner === b.winner;
  return dotEquals(a.winner.dot, b.winner.dot) && a.live === b.live && a.conflict === b.conflict;
}

function viewOf(key: ClaimKey, resolution: KeyResolution): ViewWrite {
  const { winner, live, conflict } = resolution;
  if (winner === undefined) throw new Error('a key with claims has a winner');
  const { kind, repository, name } = key;
  return {
    kind,
    repository,
    name,
    live,
    value: live ? winner.value : new Uint8Array(0),
    winner: { dot: winner.dot, changedMs: winner.time.ms },
    principal: winner.principal,
    conflict,
  };
}
