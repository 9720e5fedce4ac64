/**
 * A roster that grants a region something else than before: what that region wrote is judged again, all of it, before
 * anything is served. A view is then what the claims and the roster give, whenever either arrived, so that regions
 * with the same claims and the same roster show the same.
 *
 * Safe to repeat: the views that it writes follow from what is stored. Limit: claims that were replaced by the region
 * itself are gone, and so a key that it may write no longer goes back to what others wrote, not to what it wrote.
 */

import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import type { RegionNumber } from '#domain/region.ts';
import { viewOfKey } from '#mesh/claims/apply-plan.ts';
import { claimKeyOf, decodeClaim } from '#mesh/claims/claim-codec.ts';
import type { Grants } from '#mesh/claims/granted.ts';
import type { ClaimKey, ClaimRows } from '#storage/metadata.ts';

export type RejudgeDeps = {
  readonly claims: Pick<ClaimRows, 'origin' | 'cursors' | 'range' | 'ofKeys' | 'commit'>;
  readonly grants: Grants;
  readonly nowMs: () => number;
};

/** One read and one commit of the store; some 10 ms. */
const PAGE_CLAIMS = 500;
const PAGE_BYTES_MAX = 1024 * 1024;

/** Answers how many claims of the region were looked at. Nobody else may write meanwhile. */
export async function rejudge(deps: RejudgeDeps, region: RegionNumber): Promise<number> {
  const [own, cursors] = await Promise.all([deps.claims.origin(), deps.claims.cursors()]);
  const origins = [own, ...cursors].filter((origin) => origin.region === region);
  let count = 0;
  for (const { epoch } of origins) {
    for (let after = 0; ; ) {
      const range = { region, epoch, after, maxCount: PAGE_CLAIMS, maxBytes: PAGE_BYTES_MAX };
      const page = await deps.claims.range(range);
      const last = page.at(-1);
      if (last === undefined) break;
      await writeViews(
        deps,
        page.map(({ bytes }) => claimKeyOf(decodeClaim(bytes))),
      );
      count += page.length;
      after = last.sequence;
    }
  }
  return count;
}

async function writeViews({ claims, grants, nowMs }: RejudgeDeps, keys: readonly ClaimKey[]): Promise<void> {
  const stored = await claims.ofKeys(keys);
  const { outcome } = await claims.commit({
    guards: stored.map(({ key, revision }) => ({ key, revision })),
    own: [],
    foreign: [],
    views: stored.map((read) => viewOfKey(read, grants)),
    cursors: [],
    observed: HYBRID_TIME_ZERO,
    manifests: [],
    nowMs: nowMs(),
  });
  if (outcome === 'conflict') throw new Error('the index was written to while grants were applied to it');
}
