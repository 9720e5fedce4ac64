/**
 * The fixed head of a claim's canonical bytes, version 1. All integers are big-endian.
 *
 *   0   1  layout version (1)
 *   1   1  kind
 *   2   1  state
 *   3   1  flags (0)
 *   4   2  region number of the origin
 *   6   8  epoch of the origin
 *  14   8  sequence number          stamped by the store, in the transaction that commits the claim
 *  22   8  hybrid time (6 ms, 2 counter)   likewise
 *  30   …  context, repository, key, value, principal: `mesh/claims/claim-codec.ts`
 *
 * The layout stands here, below the store and the mesh, because a sequence number is only dense and ordered by
 * commit when the store itself writes it: a claim is encoded once by the mesh with these 16 bytes zero, and the
 * store stamps them. Everything else about a claim is opaque to the store.
 */
import type { HybridTime } from './hybrid-time.ts';

export const CLAIM_LAYOUT_VERSION = 1;
export const CLAIM_REGION_OFFSET = 4;
export const CLAIM_EPOCH_OFFSET = 6;
export const CLAIM_SEQUENCE_OFFSET = 14;
export const CLAIM_TIME_OFFSET = 22;
export const CLAIM_HEAD_BYTES = 30;

/** A copy of an encoded claim with its sequence number and hybrid time written in. */
export function stampClaim(bytes: Uint8Array, sequence: number, time: HybridTime): Uint8Array {
  const stamped = new Uint8Array(bytes);
  const view = new DataView(stamped.buffer);
  view.setUint32(CLAIM_SEQUENCE_OFFSET, Math.floor(sequence / 2 ** 32));
  view.setUint32(CLAIM_SEQUENCE_OFFSET + 4, sequence >>> 0);
  view.setUint16(CLAIM_TIME_OFFSET, Math.floor(time.ms / 2 ** 32));
  view.setUint32(CLAIM_TIME_OFFSET + 2, time.ms >>> 0);
  view.setUint16(CLAIM_TIME_OFFSET + 6, time.counter);
  return stamped;
}
