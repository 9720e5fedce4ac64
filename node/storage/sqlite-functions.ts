/**
 * The three functions that the statements of `rows-claims.ts` call inside the transaction: a claim's place in the
 * history is only known there. Another dialect brings functions of the same names.
 */
import type { DatabaseSync } from 'node:sqlite';
import { stampClaim } from '#domain/claim-layout.ts';
import { nextHybridTime } from '#domain/hybrid-time.ts';

/**
 * `stamp_claim(bytes, sequence, ms, counter)`: the claim with these written in.
 * `next_time_ms(ms, counter, now_ms)`, `next_time_counter(…)`: the two halves of the hybrid time after this one.
 */
export function defineClaimFunctions(database: DatabaseSync): void {
  const options = { deterministic: true, directOnly: true };
  database.function('stamp_claim', options, (bytes, sequence, ms, counter) => {
    if (!(bytes instanceof Uint8Array)) throw new TypeError('stamp_claim: the claim is not a blob');
    return stampClaim(bytes, Number(sequence), { ms: Number(ms), counter: Number(counter) });
  });
  database.function('next_time_ms', options, (ms, counter, nowMs) => next(ms, counter, nowMs).ms);
  database.function('next_time_counter', options, (ms, counter, nowMs) => next(ms, counter, nowMs).counter);
}

function next(ms: unknown, counter: unknown, nowMs: unknown) {
  return nextHybridTime({ ms: Number(ms), counter: Number(counter) }, Number(nowMs));
}
