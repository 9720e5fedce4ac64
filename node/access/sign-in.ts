/**
 * Name and secret, checked. A right pair is remembered (as a keyed hash), so that a client that sends it with every
 * request costs one computation, and is not kept out by others who guess at the same name meanwhile.
 *
 * A refusal does not say why, and takes as long for a name that does not exist as for a wrong secret. What is
 * remembered is worth nothing by itself: the account is consulted at each use.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { LRUCache } from 'lru-cache';
import { RegistryError } from '#domain/errors.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Random } from '#runtime/random.ts';
import type { Account } from './account.ts';
import type { AccountBook } from './account-book.ts';
import { accountNameFault } from './account-document.ts';
import { GuessLimit, type GuessLimitConfig } from './guess-limit.ts';
import { KDF_COST, type Kdf, type KdfCost, newKdf, type SecretHasher } from './secret-hash.ts';

export type SignInDeps = {
  readonly accounts: Pick<AccountBook, 'find'>;
  readonly hasher: Pick<SecretHasher, 'hash'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export type SignInConfig = {
  /** Failures of one name, wherever they come from. Default: 10 are free, then 1 s, doubling up to 30 s. */
  readonly perAccount?: GuessLimitConfig;
  /**
   * Failures of one address, whatever the name. Default: 30 are free, then 1 s, doubling up to 60 s; many people may
   * stand behind one address.
   */
  readonly perAddress?: GuessLimitConfig;
  /** What a hash costs for a name that does not exist. Default: what accounts are made with. */
  readonly cost?: KdfCost;
};

export type Credentials = { readonly name: string; readonly secret: string; readonly address: string };

export type SignedIn = {
  readonly account: Account;
  /** Which of the account's secrets it was. */
  readonly secretId: string;
};

/** Longer ones are no secrets of ours, and would make the hash of a guess cost more than sending it. */
export const SECRET_LENGTH_MAX = 1024;
const REMEMBERED_MAX = 2000;
const PER_ACCOUNT: GuessLimitConfig = { free: 10, baseMs: 1000, maxMs: 30_000 };
const PER_ADDRESS: GuessLimitConfig = { free: 30, baseMs: 1000, maxMs: 60_000 };

export class SignIn {
  readonly #deps: SignInDeps;
  readonly #perAccount: GuessLimit;
  readonly #perAddress: GuessLimit;
  readonly #memoryKey: Uint8Array;
  readonly #remembered = new LRUCache<string, string>({ max: REMEMBERED_MAX });
  readonly #nobodysKdf: Kdf;

  constructor(deps: SignInDeps, config: SignInConfig = {}) {
    this.#deps = deps;
    this.#perAccount = new GuessLimit(deps, config.perAccount ?? PER_ACCOUNT);
    this.#perAddress = new GuessLimit(deps, config.perAddress ?? PER_ADDRESS);
    this.#memoryKey = deps.random.bytes(32);
    this.#nobodysKdf = newKdf(deps.random, config.cost ?? KDF_COST);
  }

  /**
   * `undefined` when they are not those of an account in force.
   * @throws RegistryError TOOMANYREQUESTS with `Retry-After`.
   */
  async check(credentials: Credentials, signal: AbortSignal): Promise<SignedIn | undefined> {
    const { name, secret } = credentials;
    const account = accountNameFault(name) === undefined ? await this.#deps.accounts.find(name) : undefined;
    const memory = createHmac('sha256', this.#memoryKey).update(`${name}\0${secret}`).digest('base64');
    const known = this.#remembered.get(memory);
    if (known !== undefined && account?.hasSecret(known, this.#deps.clock.nowMs())) {
      return { account, secretId: known };
    }
    const secretId = await this.#try(credentials, account, signal);
    if (account === undefined || secretId === undefined) {
      this.#logRefusal(credentials, account);
      return undefined;
    }
    this.#remembered.set(memory, secretId);
    return { account, secretId };
  }

  /** The id of the secret that it is. */
  async #try(
    { name, secret, address }: Credentials,
    account: Account | undefined,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    // A name may be anything here; a long one must not fill the memory of failures.
    const key = name.slice(0, 128);
    const network = networkOf(address);
    const waitMs = Math.max(this.#perAccount.waitMs(key), this.#perAddress.waitMs(network));
    if (waitMs > 0) throw tooManyFailures(waitMs);
    this.#perAccount.began(key);
    this.#perAddress.began(network);
    try {
      const secretId = await this.#match(secret, account, signal);
      if (secretId === undefined) return undefined;
      this.#perAccount.forget(key);
      this.#perAddress.takeBack(network);
      return secretId;
    } catch (thrown) {
      this.#perAccount.takeBack(key);
      this.#perAddress.takeBack(network);
      throw thrown;
    }
  }

  async #match(
    secret: string,
    account: Account | undefined,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    if (secret === '' || secret.length > SECRET_LENGTH_MAX) return undefined;
    const hash = await this.#deps.hasher.hash(secret, account?.document.kdf ?? this.#nobodysKdf, signal);
    const secrets = account?.secrets(this.#deps.clock.nowMs()) ?? [];
    // All are compared, so that the time does not tell which one it was.
    const equal = secrets.filter((candidate) => isEqual(Buffer.from(candidate.hash, 'base64url'), hash));
    return equal[0]?.id;
  }

  /** A name that is no account may be a secret in the wrong field: it stays out of the log. */
  #logRefusal({ address }: Credentials, account: Account | undefined): void {
    this.#deps.log.warn('sign-in refused', { address, reason: account?.name ?? 'no such account' });
  }
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** One host has 2^64 addresses of IPv6 to itself. */
function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) return address;
  const [head = '', tail] = address.split('::', 2);
  const groups = head.split(':').filter((group) => group !== '');
  const zeros = tail === undefined ? 0 : 8 - groups.length - tail.split(':').length;
  return [...groups, ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...(tail ?? '').split(':')]
    .slice(0, 4)
    .join(':');
}

function tooManyFailures(waitMs: number): RegistryError {
  const seconds = Math.max(1, Math.ceil(waitMs / 1000));
  return new RegistryError('TOOMANYREQUESTS', 'too many failed sign-ins; try again later', {
    headers: { 'Retry-After': String(seconds) },
  });
}
