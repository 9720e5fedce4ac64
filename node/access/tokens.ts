/**
 * Issues tokens with this region's key, and verifies those of every region, offline: all that is needed are the keys
 * in the replicated index. A verified token is remembered by its hash until it ends, because verifying costs as much
 * as serving a small manifest.
 *
 * A region's own tokens count at home, whatever they are for: what a client may do there is its own region's matter.
 * In others they count as far as the roster lets that region sign, so that the key of a stolen site opens nothing else.
 */
import { hash, type KeyObject } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { RegionNumber } from '#domain/region.ts';
import type { Clock } from '#runtime/clock.ts';
import { type Random, randomId } from '#runtime/random.ts';
import { regionOfKey, type SigningKey } from './signing-key.ts';
import {
  isSignedBy,
  type ParsedToken,
  parseToken,
  type ResourceAccess,
  signToken,
  type TokenClaims,
} from './token.ts';

/** What the roster lets a region sign for others. */
export type SigningGrant = {
  readonly isWhole: boolean;
  readonly signsTokens: boolean;
  maySign(access: ResourceAccess): boolean;
};

export type TokensDeps = {
  readonly key: SigningKey;
  readonly keys: { find(id: string): Promise<KeyObject | undefined> };
  /** Absent, or `undefined` for a region: it may sign everything. */
  readonly grantOf?: (region: RegionNumber) => SigningGrant | undefined;
  readonly clock: Clock;
  readonly random: Random;
};

export type TokensConfig = {
  /** The tokens' audience. */
  readonly meshId: string;
  /** The issuer, for people. */
  readonly region: string;
};

/** Whom a token is for. */
export type TokenSubject = {
  readonly name: string;
  /** The secret that it stands on; absent for `anonymous`. */
  readonly secretId?: string | undefined;
};

/** Long enough for what a client does between two requests, short enough to be of little use when it is stolen. */
export const ACCESS_TOKEN_SECONDS = 300;
/** It ends with its secret, which is the usual way; this is for secrets without an end. */
export const REFRESH_TOKEN_SECONDS = 365 * 86_400;
/** By how much clocks of regions may differ. */
const SKEW_SECONDS = 60;
/** About 2 KB each. */
const REMEMBERED_MAX = 5000;

type Remembered = { readonly claims: TokenClaims; readonly keyId: string; readonly key: KeyObject };

export class Tokens {
  readonly #deps: TokensDeps;
  readonly #config: TokensConfig;
  readonly #remembered = new LRUCache<string, Remembered>({ max: REMEMBERED_MAX });

  constructor(deps: TokensDeps, config: TokensConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  issueAccess(subject: TokenSubject, access: readonly ResourceAccess[]): string {
    return this.#issue('access', subject, access);
  }

  issueRefresh(subject: TokenSubject): string {
    return this.#issue('refresh', subject, []);
  }

  /** `undefined` when it is no valid token of this use and mesh now. Whether its account still is, is not asked. */
  async verify(text: string, use: TokenClaims['use']): Promise<TokenClaims | undefined> {
    const memory = hash('sha256', text, 'base64');
    const known = this.#remembered.get(memory);
    if (known !== undefined && known.claims.use === use && (await this.#isStillGood(known))) {
      return known.claims;
    }
    const token = parseToken(text);
    if (token === undefined || token.claims.use !== use || !this.#isTimely(token.claims)) return undefined;
    if (!this.#isGranted(token)) return undefined;
    const key = await this.#keyOf(token.keyId);
    if (key === undefined || !isSignedBy(token, key)) return undefined;
    this.#remembered.set(memory, { claims: token.claims, keyId: token.keyId, key });
    return token.claims;
  }

  #issue(use: TokenClaims['use'], subject: TokenSubject, access: readonly ResourceAccess[]): string {
    const { key, clock, random } = this.#deps;
    const seconds = Math.floor(clock.nowMs() / 1000);
    return signToken(
      {
        iss: this.#config.region,
        sub: subject.name,
        aud: this.#config.meshId,
        iat: seconds,
        nbf: seconds,
        exp: seconds + lifeSeconds(use),
        jti: randomId(random),
        use,
        secret: subject.secretId,
        access: [...access],
      },
      key,
    );
  }

  async #isStillGood({ claims, keyId, key }: Remembered): Promise<boolean> {
    return this.#isTimely(claims) && (await this.#keyOf(keyId)) === key;
  }

  /** Where nobody would take our key it is not announced, and only we know it. */
  async #keyOf(id: string): Promise<KeyObject | undefined> {
    const { key, keys, grantOf } = this.#deps;
    const region = regionOfKey(id);
    const isAnnounced = region === undefined || grantOf?.(region)?.signsTokens !== false;
    return id === key.id && !isAnnounced ? key.publicKey : await keys.find(id);
  }

  /** A refresh token stands for all that its account may do: of a limited region it is worth nothing elsewhere. */
  #isGranted({ keyId, claims }: ParsedToken): boolean {
    const region = regionOfKey(keyId);
    if (region === undefined) return false;
    if (region === regionOfKey(this.#deps.key.id)) return true;
    const grant = this.#deps.grantOf?.(region);
    if (grant === undefined || grant.isWhole) return true;
    return claims.use === 'access' && grant.signsTokens && claims.access.every((one) => grant.maySign(one));
  }

  /** A life longer than we give is refused: what a thief of a key signs must not outlive the key's end by much. */
  #isTimely({ aud, iat, nbf, exp, use }: TokenClaims): boolean {
    const seconds = this.#deps.clock.nowMs() / 1000;
    if (aud !== this.#config.meshId || exp - iat > lifeSeconds(use)) return false;
    return seconds < exp + SKEW_SECONDS && Math.max(iat, nbf) <= seconds + SKEW_SECONDS;
  }
}

function lifeSeconds(use: TokenClaims['use']): number {
  return use === 'access' ? ACCESS_TOKEN_SECONDS : REFRESH_TOKEN_SECONDS;
}
