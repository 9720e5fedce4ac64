/**
 * The functions that statements call. Three are of the transaction that commits claims, because a claim's place in
 * the history is only known there; one compares what is stored as text with what is stored as bytes. Another dialect
 * brings functions of the same names.
 */
import type { DatabaseSync } from 'node:sqlite';
import { stampClaim } from '#domain/claim-layout.ts';
import { digestToBytes, isDigest } from '#domain/digest.ts';
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

/** `digest_bytes(text)`: a digest in the form that the value of a tag has; null for what is none. */
export function defineDigestFunction(database: DatabaseSync): void {
  const options = { deterministic: true, directOnly: true };
  database.function('digest_bytes', options, (text) =>
    typeof text === 'string' && isDigest(text) ? digestToBytes(text) : null,
  );
}

function next(ms: unknown, counter: unknown, nowMs: unknown) {
  return nextHybridTime({ ms: Number(ms), counter: Number(counter) }, Number(nowMs));
}
