/** Chance, as a seam: identifiers and jitter come from here, so that a test can decide them. */
import { randomBytes } from 'node:crypto';

export interface Random {
  /** 0 ≤ x < 1. */
  fraction(): number;
  bytes(count: number): Uint8Array;
}

export const systemRandom: Random = {
  fraction: () => Math.random(),
  bytes: (count) => new Uint8Array(randomBytes(count)),
};

/** `bytes` random bytes in lower-case hexadecimal. */
export function randomId(random: Random, bytes = 16): string {
  return Buffer.from(random.bytes(bytes)).toString('hex');
}
