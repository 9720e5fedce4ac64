/**
 * What is under test: the production step and the production codec of claims. This is the only file that a change of
 * their public face touches.
 */
import { decodeClaim } from '#mesh/claims/claim-codec.ts';
import { ClaimsCore } from '#mesh/claims/claims-core.ts';
import { DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import type { ReadClaim } from './ledger.ts';
import type { StartCore } from './region-process.ts';

export const startCore: StartCore = (start, plan) =>
  new ClaimsCore(start, { ...DEFAULT_CLAIMS_CONFIG, ...plan });

export function readClaim(bytes: Uint8Array): ReadClaim {
  const { state, value, principal, context } = decodeClaim(bytes);
  return { live: state === 'live', value, principal, context };
}
