/**
 * Secrets as they are kept: argon2id, with parameters that stand beside each hash.
 *
 * A hash costs about 30 ms and 19 MiB, so only a few are computed at one time, and the line for them is short; who
 * finds it full is told to come back (429). They run in the thread pool that files are read by, too: more at one
 * time would let a flood of guesses slow down pulls.
 * Source: RFC 9106; parameters as OWASP's Password Storage Cheat Sheet has them for argon2id.
 */
import { argon2 } from 'node:crypto';
import { promisify } from 'node:util';
import PQueue from 'p-queue';
import { RegistryError } from '#domain/errors.ts';
import type { Random } from '#runtime/random.ts';

export type Kdf = {
  readonly algorithm: 'argon2id';
  readonly memoryKib: number;
  readonly passes: number;
  readonly parallelism: number;
  /** base64url. */
  readonly salt: string;
};

/** What a claim may ask of us at most: a forged account must not take the memory of every region. */
export const KDF_LIMITS = { memoryKibMax: 131_072, passesMax: 8, parallelismMax: 4 } as const;

export type KdfCost = Pick<Kdf, 'memoryKib' | 'passes' | 'parallelism'>;
export const KDF_COST: KdfCost = { memoryKib: 19_456, passes: 2, parallelism: 1 };

const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** Half of the threads that Node has by default. */
const RUNNING_MAX = 2;
/** About half a second of waiting at its end. */
const WAITING_MAX = 32;
const RETRY_AFTER_SECONDS = 1;

const derive = promisify(argon2);

export function newKdf(random: Random, cost: KdfCost): Kdf {
  const salt = Buffer.from(random.bytes(SALT_BYTES)).toString('base64url');
  return { algorithm: 'argon2id', ...cost, salt };
}

export class SecretHasher {
  readonly #line = new PQueue({ concurrency: RUNNING_MAX });

  /** @throws RegistryError TOOMANYREQUESTS when too many wait; the signal's reason when it aborts before its turn. */
  async hash(secret: string, kdf: Kdf, signal: AbortSignal): Promise<Buffer> {
    if (this.#line.size >= WAITING_MAX) {
      throw new RegistryError('TOOMANYREQUESTS', 'too many secrets are being checked at this moment', {
        headers: { 'Retry-After': String(RETRY_AFTER_SECONDS) },
      });
    }
    const work = () =>
      derive(kdf.algorithm, {
        message: Buffer.from(secret.normalize('NFC')),
        nonce: Buffer.from(kdf.salt, 'base64url'),
        memory: kdf.memoryKib,
        passes: kdf.passes,
        parallelism: kdf.parallelism,
        tagLength: HASH_BYTES,
      });
    return await this.#line.add(work, { signal });
  }
}
