/**
 * One question and one answer over HTTP/1.1, within the limits of the host and of time. Everything that can go wrong
 * on the way comes out as UnavailableError; what the answer means is the caller's matter.
 *
 * `undici.request` and not its faster `stream`: a body must be pulled by its reader, and a gigabyte a second is more
 * than a disk with verification takes. HTTP/2 is not offered: its one window starves a long link of many blobs.
 * The body's connection and place among the host's requests are held until the body has ended.
 */
import type { PeerCertificate } from 'node:tls';
import { Agent, type Dispatcher } from 'undici';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import type { Clock } from '#runtime/clock.ts';
import { HOST_LIMITS, HostLimits, type HostLimitsConfig, type HostSlot, type Lane } from './host-limits.ts';
import { ReplyBody } from './reply-body.ts';
import { parseRetryAfterMs } from './reply-headers.ts';

export type ExchangeDeps = { readonly clock: Clock };

export type ExchangeConfig = {
  readonly timeouts?: Timeouts;
  readonly limits?: HostLimitsConfig;
  /** Our certificate, for peers that ask for one, and whom we trust. Default: none, and the system's authorities. */
  readonly tls?: ClientTls;
};

export type Timeouts = {
  /** Until the connection stands, its TLS included. undici measures it to about half a second. */
  readonly connectMs: number;
  /** From the request to the answer's headers. */
  readonly firstByteMs: number;
  /** Between two pieces of a body, while its reader is ready for more. */
  readonly progressMs: number;
};

/** Well below the 15 s after which docker gives up on a mirror, so that another source has its chance. */
export const REGISTRY_TIMEOUTS: Timeouts = { connectMs: 3_000, firstByteMs: 6_000, progressMs: 15_000 };
/** A peer answers from what it holds and asks nobody: silence for this long means that it is gone. */
export const PEER_TIMEOUTS: Timeouts = { connectMs: 1_000, firstByteMs: 3_000, progressMs: 5_000 };

export type ClientTls = {
  readonly authorityPem: string;
  readonly certificatePem: string;
  readonly keyPem: string;
  /** Decides whether a valid certificate is the one of whom we mean to ask. Default: by the host's name. */
  readonly checkServerIdentity?: (host: string, certificate: PeerCertificate) => Error | undefined;
};

export type ExchangeRequest = {
  readonly method: 'GET' | 'HEAD';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly lane: Lane;
  readonly signal: AbortSignal;
};

/** The body must be read, streamed or discarded. */
export type ExchangeReply = {
  readonly status: number;
  readonly url: URL;
  /** By lower-case name; repeated headers are joined by commas. */
  readonly header: (name: string) => string | undefined;
  readonly body: ReplyBody;
};

/** A kept connection that the server closed just as we used it: worth one more try, as all we send is safe to repeat. */
const STALE_CONNECTION: ReadonlySet<unknown> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);

export class HttpExchange implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #limits: HostLimits;
  readonly #agent: Agent;
  #active = 0;
  #onIdle: (() => void) | undefined;

  constructor(deps: ExchangeDeps, config: ExchangeConfig = {}) {
    this.#clock = deps.clock;
    this.#limits = new HostLimits(deps, config.limits);
    this.#agent = openAgent(config);
  }

  /** @throws UnavailableError when no answer came; the signal's reason on abort. An error status is an answer. */
  async send(request: ExchangeRequest): Promise<ExchangeReply> {
    const { host } = request.url;
    const slot = await this.#limits.enter(host, request.lane, request.signal);
    this.#active += 1;
    let answer: Dispatcher.ResponseData;
    try {
      answer = await this.#dispatch(request);
    } catch (thrown) {
      this.#leave(slot);
      request.signal.throwIfAborted();
      slot.failed();
      throw new UnavailableError(`${host} did not answer: ${reasonOf(thrown)}`, { cause: thrown });
    }
    // An abort after the headers destroys the body with an error that nobody may be listening for.
    answer.body.on('error', () => undefined);
    answer.body.once('close', () => this.#leave(slot));
    const header = (name: string) => textOf(answer.headers[name]);
    this.#judge(slot, answer.statusCode, header('retry-after'));
    const body = new ReplyBody(answer.body, {
      from: host,
      signal: request.signal,
      onFailure: () => slot.failed(),
    });
    return { status: answer.statusCode, url: request.url, header, body };
  }

  /** Ends with the last request under way; the signal's abort breaks those off. */
  async retire(signal: AbortSignal): Promise<void> {
    const ended = Promise.withResolvers<void>();
    const end = () => ended.resolve();
    this.#onIdle = end;
    signal.addEventListener('abort', end, { once: true });
    if (this.#active === 0 || signal.aborted) end();
    await ended.promise;
    signal.removeEventListener('abort', end);
    // Not undici's own graceful close: a client that closes that way can no longer be broken off.
    await this.#agent.destroy();
  }

  /** Breaks off what is still under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  async #dispatch(request: ExchangeRequest): Promise<Dispatcher.ResponseData> {
    const { url, method, headers, signal } = request;
    const ask = () =>
      this.#agent.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: { ...headers, 'accept-encoding': 'identity', 'user-agent': 'fairway' },
        signal,
      });
    try {
      return await ask();
    } catch (thrown) {
      if (signal.aborted || !STALE_CONNECTION.has(codeOf(thrown))) throw thrown;
      return await ask();
    }
  }

  #leave(slot: HostSlot): void {
    slot[Symbol.dispose]();
    this.#active -= 1;
    if (this.#active === 0) this.#onIdle?.();
  }

  #judge(slot: HostSlot, status: number, retryAfter: string | undefined): void {
    if (status >= 500) slot.failed();
    else slot.succeeded();
    if (status === 429) slot.pause(parseRetryAfterMs(retryAfter, this.#clock.nowMs()) ?? RATE_LIMIT_PAUSE_MS);
  }
}

/** After a 429 that names no time: long enough to break a burst, short enough not to be noticed. */
const RATE_LIMIT_PAUSE_MS = 1_000;

function openAgent(config: ExchangeConfig): Agent {
  const timeouts = config.timeouts ?? REGISTRY_TIMEOUTS;
  const { concurrency } = config.limits ?? HOST_LIMITS;
  const { tls } = config;
  return new Agent({
    connections: concurrency.question + concurrency.blob,
    pipelining: 1,
    allowH2: false,
    headersTimeout: timeouts.firstByteMs,
    bodyTimeout: timeouts.progressMs,
    connect: {
      timeout: timeouts.connectMs,
      ...(tls === undefined ? {} : tlsOptions(tls)),
    },
  });
}

/** Sessions are not resumed: a resumed one would not look at the certificate again. */
function tlsOptions(tls: ClientTls) {
  return {
    ca: tls.authorityPem,
    cert: tls.certificatePem,
    key: tls.keyPem,
    maxCachedSessions: 0,
    ...(tls.checkServerIdentity === undefined ? {} : { checkServerIdentity: tls.checkServerIdentity }),
  };
}

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value;
}

function codeOf(thrown: unknown): unknown {
  return thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
}

/** Node's errors of several addresses have an empty message; their code says it then. */
function reasonOf(thrown: unknown): string {
  const message = messageOf(thrown);
  return message === '' ? String(codeOf(thrown) ?? 'unknown reason') : message;
}
