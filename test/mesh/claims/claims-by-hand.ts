/** Claims and deltas of region 1 as a test wants them, without a core that wrote them. */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { type Claim, encodeClaim } from '#mesh/claims/claim-codec.ts';
import type { DeltaMessage } from '#mesh/claims/message.ts';
import type { StoredClaim } from '#storage/metadata.ts';
import { epochOf, REPOSITORY } from './tiny-mesh.ts';

export const ONE = parseRegionNumber(1);

/** A live tag `t<sequence>`, unless the changes say otherwise. */
export function claimOf(sequence: number, changes: Partial<Claim> = {}): StoredClaim {
  const claim: Claim = {
    kind: CLAIM_KIND.tag,
    state: 'live',
    dot: { region: ONE, epoch: epochOf(1), sequence },
    time: { ms: 1_700_000_000_000, counter: 0 },
    context: [],
    repository: REPOSITORY,
    name: `t${sequence}`,
    value: new Uint8Array([sequence]),
    principal: 'alice',
    ...changes,
  };
  return { sequence, bytes: encodeClaim(claim) };
}

/** From 0 to the last claim, exact, unless the changes say otherwise. */
export function deltaOf(claims: readonly StoredClaim[], changes: Partial<DeltaMessage> = {}): DeltaMessage {
  const to = claims.at(-1)?.sequence ?? 0;
  const bounds = { from: 0, to, head: to, exact: true };
  return { type: 'delta', region: ONE, epoch: epochOf(1), ...bounds, claims, ...changes };
}
