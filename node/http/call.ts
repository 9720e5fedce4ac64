/**
 * One request on its way through the room: what it asks, its context, and what is counted about it.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { RegistryError } from '#domain/errors.ts';
import type { Permit } from '#domain/permit.ts';
import type { RegionName } from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Trace } from '#domain/trace.ts';
import { RequestBody } from './request-body.ts';
import { parseTarget, type RequestTarget } from './request-target.ts';

/** Who asks, as the server established it. */
export type Caller = {
  readonly principal: string;
  readonly from?: RegionName;
  readonly permit?: Permit;
};

const ANONYMOUS: Caller = { principal: 'anonymous' };

/** Sent twice, each of these could be read in two ways; `Accept` and the like may be repeated. */
const SINGLE_HEADERS: ReadonlySet<string> = new Set([
  'authorization',
  'content-length',
  'content-range',
  'content-type',
  'expect',
  'fairway-hop',
  'fairway-request-id',
  'host',
  'if-range',
  'range',
  'traceparent',
]);

export class Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly startedMs: number;
  readonly requestId: string;
  readonly trace: Trace;
  /** The route's name in metrics; `none` until it is known. */
  route = 'none';
  /** Bytes of the answer's body that were handed to the socket. */
  bytesOut = 0;
  #caller = ANONYMOUS;
  #context: RequestContext | undefined;
  #body: RequestBody | undefined;
  #target: RequestTarget | undefined;
  #query: URLSearchParams | undefined;
  #controller: AbortController | undefined;
  #aborted: { readonly reason: unknown } | undefined;

  constructor(
    raw: { readonly request: IncomingMessage; readonly response: ServerResponse },
    about: { readonly requestId: string; readonly trace: Trace; readonly startedMs: number },
  ) {
    this.request = raw.request;
    this.response = raw.response;
    this.requestId = about.requestId;
    this.trace = about.trace;
    this.startedMs = about.startedMs;
  }

  // Made when they are asked for: an answer from memory needs none but the body.
  get body(): RequestBody {
    this.#body ??= new RequestBody(this.request, this.response, () => this.#signal());
    return this.#body;
  }

  get context(): RequestContext {
    this.#context ??= {
      requestId: this.requestId,
      trace: this.trace,
      signal: this.#signal(),
      ...this.#caller,
    };
    return this.#context;
  }

  /** Replaces the anonymous caller; before anybody was given the context. */
  identify(caller: Caller): void {
    this.#caller = caller;
    this.#context = undefined;
  }

  get method(): string {
    return this.request.method ?? 'GET';
  }

  get headers(): IncomingHttpHeaders {
    return this.request.headers;
  }

  /** A header that Node does not know, or knows as a list; repeated ones are joined. */
  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /** The decoded path. @throws RegistryError NAME_INVALID. */
  get path(): string {
    this.#target ??= parseTarget(this.request.url ?? '/');
    return this.#target.path;
  }

  get query(): URLSearchParams {
    this.#target ??= parseTarget(this.request.url ?? '/');
    this.#query ??= new URLSearchParams(this.#target.search);
    return this.#query;
  }

  /** @throws RegistryError UNSUPPORTED (400) when a header that must be single is repeated. */
  refuseRepeatedHeaders(): void {
    const { rawHeaders, headers } = this.request;
    if (rawHeaders.length === 2 * Object.keys(headers).length) return;
    const seen = new Set<string>();
    for (let position = 0; position < rawHeaders.length; position += 2) {
      const name = (rawHeaders[position] ?? '').toLowerCase();
      if (seen.has(name) && SINGLE_HEADERS.has(name)) {
        throw new RegistryError('UNSUPPORTED', `the header ${name} is repeated`, { status: 400 });
      }
      seen.add(name);
    }
  }

  /** Ends the context's signal; for a call that is over by itself this changes nothing. */
  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#controller?.abort(reason);
  }

  #signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason);
    }
    return this.#controller.signal;
  }
}
