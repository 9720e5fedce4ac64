/**
 * A run with an edge region: the last region is one, and is granted one of the clients' two repositories. It is in
 * other hands: it runs the production core with a roster that limits nobody, and so its clients write whatever they
 * like, it passes on what others wrote, and it shows what it wants. The core regions know better.
 */
import type { RegionNumber } from '#domain/region.ts';
import type { Grants } from '#mesh/claims/granted.ts';
import { compileGrant, EVERYTHING } from '#mesh/membership/grant.ts';
import type { HeldClaim } from './claim-store.ts';

const EDGE_REPOSITORY = 'team/tool';

export type Edge = {
  /** The roster of the core regions. */
  readonly grants: Grants;
  /** The same rule, written a second time. */
  isRefused(claim: Pick<HeldClaim, 'dot' | 'key'>): boolean;
};

export function edgeAt(edge: RegionNumber): Edge {
  const grant = compileGrant('edge', { repositories: [EDGE_REPOSITORY] });
  return {
    grants: {
      of: (region) => (region === edge ? grant : EVERYTHING),
      isEdge: (region) => region === edge,
    },
    isRefused: ({ dot, key }) => dot.region === edge && key.repository !== EDGE_REPOSITORY,
  };
}
