/**
 * Who asks, and what may they do: from what a request carries to a principal and a grant.
 *
 * Without any account the registry is open to all, provided that it listens on this machine only. From the first
 * account on, also a disabled one, everybody needs credentials except for what the account `anonymous` is granted;
 * without an account of that name that is nothing. Every answer rests on the account as it is now: a token or a
 * remembered password of an account that was disabled, in whatever region, is worth nothing any more.
 */
import { EVERYTHING, type Permit } from '#domain/permit.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Account } from './account.ts';
import type { AccountBook } from './account-book.ts';
import { ANONYMOUS } from './account-document.ts';
import { cutToGrant, type Grant, grantOfToken, NOTHING } from './scope.ts';
import type { Credentials, SignedIn, SignIn } from './sign-in.ts';
import { ACCESS_TOKEN_SECONDS, type Tokens } from './tokens.ts';

export type GateDeps = {
  readonly accounts: Pick<AccountBook, 'find' | 'isEmpty' | 'isKnownEmpty'>;
  readonly signIn: Pick<SignIn, 'check'>;
  readonly tokens: Pick<Tokens, 'verify' | 'issueAccess' | 'issueRefresh'>;
  readonly clock: Clock;
};

export type GateConfig = {
  /** Whether a registry without accounts is open to all: only one that other machines cannot reach. */
  readonly openWithoutAccounts: boolean;
};

/** How a caller got in; `open`: there is no account. */
export type Admission = {
  readonly via: 'open' | 'anonymous' | 'password' | 'token';
  readonly principal: string;
  readonly grant: Grant;
  /** What a new token for the same account could allow at most. */
  readonly widest: Grant;
};

export type Issued = {
  readonly token: string;
  readonly refreshToken?: string;
  readonly expiresInSeconds: number;
  readonly issuedMs: number;
};

const OPEN: Admission = {
  via: 'open',
  principal: ANONYMOUS,
  grant: { permit: EVERYTHING, catalog: true },
  widest: { permit: EVERYTHING, catalog: true },
};

export class Gate {
  readonly #deps: GateDeps;
  readonly #config: GateConfig;

  constructor(deps: GateDeps, config: GateConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  /** The admission of everybody while there is no account; `undefined` as soon as there is one. */
  async open(): Promise<Admission | undefined> {
    return this.#config.openWithoutAccounts && (await this.#deps.accounts.isEmpty()) ? OPEN : undefined;
  }

  /** What `open` would say, where it is known without waiting; `undefined` says nothing. */
  openAtOnce(): Admission | undefined {
    return this.#config.openWithoutAccounts && this.#deps.accounts.isKnownEmpty ? OPEN : undefined;
  }

  async anonymous(): Promise<Admission> {
    const grant = await this.#anonymousGrant();
    return { via: 'anonymous', principal: ANONYMOUS, grant, widest: grant };
  }

  /** `undefined` when they are wrong. @throws RegistryError TOOMANYREQUESTS. */
  async password(credentials: Credentials, signal: AbortSignal): Promise<Admission | undefined> {
    const signedIn = await this.#deps.signIn.check(credentials, signal);
    if (signedIn === undefined) return undefined;
    const grant = grantOf(signedIn.account);
    return { via: 'password', principal: signedIn.account.name, grant, widest: grant };
  }

  /** `undefined` when it is not valid, or not any more. */
  async token(text: string): Promise<Admission | undefined> {
    const claims = await this.#deps.tokens.verify(text, 'access');
    if (claims === undefined) return undefined;
    const widest =
      claims.sub === ANONYMOUS
        ? await this.#anonymousGrant()
        : await this.#grantOfSecret(claims.sub, claims.secret);
    if (widest === undefined) return undefined;
    return { via: 'token', principal: claims.sub, grant: grantOfToken(claims.access, widest), widest };
  }

  /** For the token service. `undefined` when they are wrong. @throws RegistryError TOOMANYREQUESTS. */
  async signIn(credentials: Credentials, signal: AbortSignal): Promise<SignedIn | undefined> {
    return await this.#deps.signIn.check(credentials, signal);
  }

  /** Whom a refresh token stands for; `undefined` when it is not valid, or its secret is not any more. */
  async redeem(refreshToken: string): Promise<SignedIn | undefined> {
    const claims = await this.#deps.tokens.verify(refreshToken, 'refresh');
    if (claims?.secret === undefined) return undefined;
    const account = await this.#deps.accounts.find(claims.sub);
    if (!account?.hasSecret(claims.secret, this.#deps.clock.nowMs())) return undefined;
    return { account, secretId: claims.secret };
  }

  /**
   * A token for as many of the scopes as may be granted, perhaps none; without `to`, for who does not sign in.
   * @throws RegistryError UNSUPPORTED (400) when there are too many scopes.
   */
  async issue(
    to: SignedIn | undefined,
    request: { readonly scopes: readonly string[]; readonly offline: boolean },
  ): Promise<Issued> {
    const { tokens, clock } = this.#deps;
    const grant = to === undefined ? await this.#anonymousGrant() : grantOf(to.account);
    const subject = { name: to?.account.name ?? ANONYMOUS, secretId: to?.secretId };
    const token = tokens.issueAccess(subject, cutToGrant(request.scopes, grant));
    return {
      token,
      ...(request.offline && to !== undefined ? { refreshToken: tokens.issueRefresh(subject) } : {}),
      expiresInSeconds: ACCESS_TOKEN_SECONDS,
      issuedMs: clock.nowMs(),
    };
  }

  async #anonymousGrant(): Promise<Grant> {
    if ((await this.open()) !== undefined) return OPEN.grant;
    const account = await this.#deps.accounts.find(ANONYMOUS);
    if (!account?.isInForce(this.#deps.clock.nowMs())) return NOTHING;
    return { permit: account, catalog: account.hasRights };
  }

  async #grantOfSecret(name: string, secretId: string | undefined): Promise<Grant | undefined> {
    const account = await this.#deps.accounts.find(name);
    const isValid = secretId !== undefined && account?.hasSecret(secretId, this.#deps.clock.nowMs());
    return account !== undefined && isValid ? grantOf(account) : undefined;
  }
}

/** Who has an account may list the names of what it may pull. */
function grantOf(account: Account): Grant {
  const permit: Permit = account;
  return { permit, catalog: true };
}
