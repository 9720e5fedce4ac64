/**
 * Permission to ask a registry: answers its challenges with tokens or with a password, and remembers what it got.
 *
 * On a 401 the challenge names a token service (`realm`); it is asked for the scope, with the credentials where there
 * are some and anonymously otherwise. A token is kept per scope until shortly before it ends and fetched once however
 * many wait for it. Credentials go only to the registry itself and to a realm behind TLS or on this machine.
 * Source: the token authentication specification of CNCF distribution; RFC 7617 for Basic.
 * Limits: GET only (every known service answers it); no refresh tokens, which need a place to be kept.
 */
import { LRUCache } from 'lru-cache';
import { UnavailableError } from '#domain/errors.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import { Flight } from '#runtime/flight.ts';
import { type AuthChallenge, parseAuthChallenges } from './auth-challenge.ts';
import type { HttpExchange } from './http-exchange.ts';
import { isLoopback } from './redirect.ts';
import { failureOf } from './registry-failure.ts';

export type Credentials = { readonly username: string; readonly password: string };

export type BearerAuthDeps = { readonly clock: Clock; readonly exchange: Pick<HttpExchange, 'send'> };

export type BearerAuthConfig = {
  /** The registry's name in our configuration, for errors. */
  readonly name: string;
  readonly registry: URL;
  /** Read for every token, never kept. `undefined`: anonymous. @throws UnavailableError when they cannot be read. */
  readonly credentials?: (() => Promise<Credentials | undefined>) | undefined;
};

type Authorization = { readonly header: string; readonly untilMs: number };

/** Scopes are repositories; beyond this many the least recently used ask for a new token. */
const SCOPES_MAX = 1_000;
/** The specification's default, and its least. */
const TOKEN_LIFE_MS = 60_000;
/** A token is not used in its last seconds: the request has to arrive, and clocks differ. */
const TOKEN_MARGIN_MS = 5_000;
/** How long a password is reused before it is read again. */
const PASSWORD_LIFE_MS = 60_000;
/** Tokens of cloud registries reach some kilobytes. */
const TOKEN_REPLY_BYTES_MAX = 256 * 1024;
const HEADER_SAFE = /^[\x21-\x7e]+$/;

export class BearerAuth {
  readonly #deps: BearerAuthDeps;
  readonly #config: BearerAuthConfig;
  readonly #known = new LRUCache<string, Authorization>({ max: SCOPES_MAX });
  readonly #flight = new Flight<string, Authorization | undefined>();

  constructor(deps: BearerAuthDeps, config: BearerAuthConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  /** The `Authorization` to send at once; `undefined` until the registry has asked for one. */
  current(scope: string): string | undefined {
    const known = this.#known.get(scope);
    return known !== undefined && this.#deps.clock.monotonicMs() < known.untilMs ? known.header : undefined;
  }

  /**
   * The `Authorization` that answers a 401, or `undefined` when there is none to try. `rejected` is what the refused
   * request carried. @throws UnavailableError when the token service refuses or does not answer.
   */
  async answer(
    scope: string,
    refusal: { readonly challenge: string; readonly rejected: string | undefined },
    context: RequestContext,
  ): Promise<string | undefined> {
    const current = this.current(scope);
    if (current !== undefined && current !== refusal.rejected) return current;
    const authorization = await this.#flight.join(scope, context.signal, (signal) =>
      this.#obtain(scope, parseAuthChallenges(refusal.challenge), { ...context, signal }),
    );
    return authorization?.header;
  }

  async #obtain(
    scope: string,
    challenges: readonly AuthChallenge[],
    context: RequestContext,
  ): Promise<Authorization | undefined> {
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    const basic = challenges.some(({ scheme }) => scheme === 'basic');
    this.#known.delete(scope);
    if (bearer === undefined && !basic) return undefined;
    const credentials = await this.#config.credentials?.();
    const authorization =
      bearer === undefined
        ? this.#password(credentials)
        : await this.#fetchToken({ scope, challenge: bearer, credentials }, context);
    if (authorization !== undefined) this.#known.set(scope, authorization);
    return authorization;
  }

  #password(credentials: Credentials | undefined): Authorization | undefined {
    if (credentials === undefined) return undefined;
    return {
      header: basicHeader(credentials),
      untilMs: this.#deps.clock.monotonicMs() + PASSWORD_LIFE_MS,
    };
  }

  async #fetchToken(
    request: {
      readonly scope: string;
      readonly challenge: AuthChallenge;
      readonly credentials: Credentials | undefined;
    },
    context: RequestContext,
  ): Promise<Authorization> {
    const url = this.#tokenUrl(request.challenge, request.scope);
    const reply = await this.#deps.exchange.send({
      method: 'GET',
      url,
      headers: {
        accept: 'application/json',
        ...(request.credentials === undefined ? {} : { authorization: basicHeader(request.credentials) }),
      },
      lane: 'question',
      signal: context.signal,
    });
    if (reply.status !== 200) {
      const remedy = request.credentials === undefined ? 'anonymous access' : 'its credentials';
      throw await failureOf(reply, {
        name: this.#config.name,
        what: `a token for ${request.scope} with ${remedy}`,
        nowMs: this.#deps.clock.nowMs(),
      });
    }
    return this.#readToken(await reply.body.read(TOKEN_REPLY_BYTES_MAX), url);
  }

  #tokenUrl(challenge: AuthChallenge, scope: string): URL {
    const { realm, service, scope: wanted } = challenge.parameters;
    const url = URL.parse(realm ?? '');
    if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
      throw new UnavailableError(
        `upstream "${this.#config.name}" asks for a token, but names no token service`,
      );
    }
    if (!this.#isTrusted(url)) {
      throw new UnavailableError(
        `upstream "${this.#config.name}" asks for a token from ${url.host} without TLS, which is refused`,
      );
    }
    if (service !== undefined) url.searchParams.set('service', service);
    for (const part of (wanted ?? scope).split(' ')) url.searchParams.append('scope', part);
    return url;
  }

  /** Plain HTTP is as safe as the registry itself only where the registry is reached that way, on the same host. */
  #isTrusted(realm: URL): boolean {
    const { registry } = this.#config;
    if (realm.protocol === 'https:' || isLoopback(realm.hostname)) return true;
    return registry.protocol === 'http:' && realm.hostname === registry.hostname;
  }

  #readToken(bytes: Uint8Array | undefined, url: URL): Authorization {
    const reply = parseJson(bytes);
    const token = reply['token'] ?? reply['access_token'];
    if (typeof token !== 'string' || !HEADER_SAFE.test(token)) {
      throw new UnavailableError(`${url.host} answered upstream "${this.#config.name}" without a token`);
    }
    const seconds = reply['expires_in'];
    const lifeMs = typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : TOKEN_LIFE_MS;
    const usableMs = Math.max(lifeMs - TOKEN_MARGIN_MS, lifeMs / 2);
    return { header: `Bearer ${token}`, untilMs: this.#deps.clock.monotonicMs() + usableMs };
  }
}

function basicHeader({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** An empty object for everything that is no JSON object. */
function parseJson(bytes: Uint8Array | undefined): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}
