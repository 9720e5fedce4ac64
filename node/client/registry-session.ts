/**
 * Questions to one registry: with its authorization, through its redirects, until there is an answer that means
 * something. Every status that a question is not prepared for is an UnavailableError that names the registry.
 *
 * `Authorization` and our own headers stay with the registry's origin; a redirect to another one carries only what
 * describes the content that is wanted. A registry that we show our certificate to (a peer) may not redirect at all.
 */
import { UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import { traceparentText } from '#domain/trace.ts';
import type { Clock } from '#runtime/clock.ts';
import { BearerAuth, type Credentials } from './bearer-auth.ts';
import type { Lane } from './host-limits.ts';
import { type ExchangeConfig, type ExchangeReply, HttpExchange } from './http-exchange.ts';
import { isRedirect, redirectTarget } from './redirect.ts';
import { failureOf } from './registry-failure.ts';

export type RegistrySessionConfig = ExchangeConfig & {
  /** The region's or upstream's name in our configuration, for errors. */
  readonly name: string;
  /** `https://host[:port][/path]`; `http:` is plain, and whoever configured it chose that. */
  readonly url: string;
  /** Read for every token, never kept. Default: anonymous. */
  readonly credentials?: () => Promise<Credentials | undefined>;
  /** Sent with every request to the registry itself. */
  readonly headers?: Readonly<Record<string, string>>;
};

export type RegistryQuestion = {
  readonly method: 'GET' | 'HEAD';
  readonly repository: RepositoryName;
  /** Below the repository: `manifests/latest`, `blobs/sha256:…`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly lane: Lane;
  /** For errors: `manifest 3.20 of library/alpine`. */
  readonly what: string;
  /** Statuses that the caller understands. */
  readonly expected: readonly number[];
};

/** Registries redirect once, to their store; more than a few hops is a loop. */
const REDIRECTS_MAX = 5;
/** Once without knowing what is wanted, once with what the challenge asked for. */
const AUTHORIZATIONS_MAX = 2;

export class RegistrySession implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #config: RegistrySessionConfig;
  readonly #exchange: HttpExchange;
  readonly #auth: BearerAuth;
  readonly #base: URL;

  /** @throws TypeError when `url` is no http(s) address. */
  constructor(deps: { readonly clock: Clock }, config: RegistrySessionConfig) {
    this.#clock = deps.clock;
    this.#config = config;
    this.#base = parseRegistryUrl(config.url);
    this.#exchange = new HttpExchange(deps, config);
    this.#auth = new BearerAuth(
      { clock: deps.clock, exchange: this.#exchange },
      { name: config.name, registry: this.#base, credentials: config.credentials },
    );
  }

  get name(): string {
    return this.#config.name;
  }

  /** The reply's status is one of `expected`. @throws UnavailableError for every other, and when nobody answers. */
  async ask(question: RegistryQuestion, context: RequestContext): Promise<ExchangeReply> {
    const scope = `repository:${question.repository}:pull`;
    let authorization = this.#auth.current(scope);
    for (let attempt = 1; attempt <= AUTHORIZATIONS_MAX; attempt += 1) {
      const reply = await this.#follow(question, authorization, context);
      if (question.expected.includes(reply.status)) return reply;
      const challenge = reply.header('www-authenticate');
      const isChallenge = reply.status === 401 && reply.url.origin === this.#base.origin;
      if (!isChallenge || challenge === undefined || attempt === AUTHORIZATIONS_MAX) {
        throw await this.#failure(reply, question);
      }
      await reply.body.discard();
      authorization = await this.#auth.answer(scope, { challenge, rejected: authorization }, context);
      if (authorization === undefined) break;
    }
    throw this.#unanswerable(question);
  }

  /** Ends with the last request under way; the signal's abort breaks those off. */
  async retire(signal: AbortSignal): Promise<void> {
    await this.#exchange.retire(signal);
  }

  /** Breaks off what is still under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#exchange[Symbol.asyncDispose]();
  }

  async #follow(
    question: RegistryQuestion,
    authorization: string | undefined,
    context: RequestContext,
  ): Promise<ExchangeReply> {
    let url = this.#urlOf(question);
    for (let hop = 0; hop <= REDIRECTS_MAX; hop += 1) {
      const own = url.origin === this.#base.origin ? this.#ownHeaders(authorization, context) : {};
      const reply = await this.#exchange.send({
        method: question.method,
        url,
        headers: { ...question.headers, ...own },
        lane: question.lane,
        signal: context.signal,
      });
      if (!isRedirect(reply.status)) return reply;
      await reply.body.discard();
      if (this.#config.tls !== undefined) break;
      url = redirectTarget(url, reply.header('location'));
    }
    const limit =
      this.#config.tls === undefined ? `more than ${REDIRECTS_MAX} times` : 'which a peer may not';
    throw new UnavailableError(
      `upstream "${this.name}" redirected the request for ${question.what}, ${limit}`,
    );
  }

  #urlOf({ repository, path }: RegistryQuestion): URL {
    const url = new URL(this.#base);
    url.pathname = `${this.#base.pathname.replace(/\/+$/, '')}/v2/${repository}/${path}`;
    return url;
  }

  #ownHeaders(authorization: string | undefined, context: RequestContext): Record<string, string> {
    return {
      ...this.#config.headers,
      'fairway-request-id': context.requestId,
      ...(context.trace === undefined ? {} : { traceparent: traceparentText(context.trace) }),
      ...(authorization === undefined ? {} : { authorization }),
    };
  }

  #failure(reply: ExchangeReply, question: RegistryQuestion): Promise<UnavailableError> {
    return failureOf(reply, { name: this.name, what: question.what, nowMs: this.#clock.nowMs() });
  }

  #unanswerable(question: RegistryQuestion): UnavailableError {
    return new UnavailableError(
      `upstream "${this.name}" (${this.#base.host}) wants credentials for ${question.what}; ` +
        'none are configured that it would take',
      { tried: [`${this.name}: 401`] },
    );
  }
}

/** @throws TypeError with the rule, for the caller to place. */
export function parseRegistryUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new TypeError(`"${text}" is not the address of a registry: https://host[:port]`);
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new TypeError(`"${url.origin}": credentials, queries and fragments do not belong in its address`);
  }
  return url;
}
