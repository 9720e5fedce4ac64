/**
 * The frame around the distribution API: takes each request over as a `Call`, has it routed, writes the answer or the
 * error, and counts and logs it. The registry and the peer server are two of these.
 *
 * Fastify listens, closes and answers what is not of the API. Requests of the API do not pass its router: their paths
 * have slashes in names, bodies are never parsed, and the manifest path is the hottest of all: of the 9.5 µs that the
 * least answer costs by way of its router, 1.2 µs are the router's. A manifest by tag costs 14 to 16 µs, of which 12
 * are Node's. Reads are logged at debug: a line per request costs a third of the rate.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type FastifyInstance, fastify } from 'fastify';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import { requestFields } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Registry } from '#runtime/metrics.ts';
import type { Random } from '#runtime/random.ts';
import type { Answer } from './answer.ts';
import { writeAnswer, writeAtOnce } from './answer-writer.ts';
import { Call } from './call.ts';
import { errorReply } from './error-reply.ts';
import { HttpMetrics } from './http-metrics.ts';
import { createServer, type ListenConfig, type Listening, listen } from './listener.ts';
import { RequestIds } from './request-ids.ts';
import { Traces } from './traces.ts';

const API_PREFIX = '/v2/';

export type CallServerDeps = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Registry;
};

export type CallServerConfig = ListenConfig & {
  /** Tells this server apart in metrics and logs. */
  readonly name: 'registry' | 'peer';
};

/** What a server does with a call. Rejects with what `errorReply` renders. */
export type Respond = (call: Call) => Answer | Promise<Answer>;

/** Status in logs and metrics of a call whose client left before the answer. */
const CLIENT_LEFT = 499;
const READS: ReadonlySet<string> = new Set(['GET', 'HEAD']);

/** Rejects with the system's error when it cannot listen. */
export async function openCallServer(
  deps: CallServerDeps,
  config: CallServerConfig,
  respond: Respond,
): Promise<Listening> {
  const server = new CallServer(deps, config, respond);
  return await listen(server.app, config, {
    clock: deps.clock,
    stopping: () => server.stop(),
    abort: () => server.abort(),
  });
}

class CallServer {
  readonly app: FastifyInstance;
  readonly #deps: CallServerDeps;
  readonly #respond: Respond;
  readonly #name: CallServerConfig['name'];
  readonly #metrics: HttpMetrics;
  readonly #ids: RequestIds;
  readonly #traces: Traces;
  /** Bounded by the number of connections, and by how far Node reads ahead on each. */
  readonly #running = new Set<Call>();
  #isStopping = false;

  constructor(deps: CallServerDeps, config: CallServerConfig, respond: Respond) {
    this.#deps = deps;
    this.#respond = respond;
    this.#name = config.name;
    this.#metrics = new HttpMetrics(deps.metrics, config.name);
    this.#ids = new RequestIds(deps.random);
    this.#traces = new Traces(deps.random);
    this.app = this.#open(config);
  }

  #open(config: ListenConfig): FastifyInstance {
    const take = (request: { raw: IncomingMessage }, reply: { hijack(): unknown; raw: ServerResponse }) => {
      reply.hijack();
      this.#take(request.raw, reply.raw);
    };
    const app = fastify({
      serverFactory: (handler) =>
        createServer(
          (request, response) => {
            if (request.url?.startsWith(API_PREFIX)) this.#take(request, response);
            else handler(request, response);
          },
          config,
          this.#deps.log,
        ),
      // Listened to by `createServer`; fastify's own listener must not answer as well.
      clientErrorHandler: () => undefined,
      frameworkErrors: (_error, request, reply) => take(request, reply),
      return503OnClosing: false,
      forceCloseConnections: 'idle',
    });
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', (_request, _payload, done) => done(null));
    app.setNotFoundHandler(take);
    app.setErrorHandler((_error, request, reply) => take(request, reply));
    return app;
  }

  /** From now on every connection closes with its answer. */
  stop(): void {
    this.#isStopping = true;
    for (const call of this.#running) call.response.shouldKeepAlive = false;
  }

  abort(): void {
    for (const call of this.#running) call.abort(new UnavailableError('this node is stopping'));
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const requestId = this.#ids.of(request.headers['fairway-request-id']);
    const trace = this.#traces.of(request.headers['traceparent']);
    const startedMs = this.#deps.clock.monotonicMs();
    const call = new Call({ request, response }, { requestId, trace, startedMs });
    this.#begin(call);
    try {
      call.refuseRepeatedHeaders();
      const answer = this.#respond(call);
      if (answer instanceof Promise || !writeAtOnce(call, answer)) void this.#finish(call, answer);
    } catch (thrown) {
      void this.#finish(call, Promise.reject(thrown));
    }
  }

  async #finish(call: Call, answer: Answer | Promise<Answer>): Promise<void> {
    try {
      const written = await writeAnswer(call, await answer, this.#deps.clock);
      if (written.outcome === 'short') this.#logShort(call, written.thrown);
    } catch (thrown) {
      await this.#fail(call, thrown).catch((err: unknown) => this.#giveUp(call, err));
    }
  }

  #begin(call: Call): void {
    this.#running.add(call);
    this.#metrics.began();
    if (this.#isStopping) call.response.shouldKeepAlive = false;
    call.response.on('close', () => this.#end(call));
  }

  /** After the last byte, or when the connection is gone. */
  #end(call: Call): void {
    const { response, method } = call;
    this.#running.delete(call);
    if (!response.writableFinished) call.abort(new Error('the client has gone'));
    const status = response.headersSent ? response.statusCode : CLIENT_LEFT;
    const durationMs = this.#deps.clock.monotonicMs() - call.startedMs;
    this.#metrics.ended({ method, route: call.route, status, durationMs, bytesOut: call.bytesOut });
    this.#logEnd(call, status, durationMs);
    // A connection whose answer was under way when the server began to stop is idle now.
    if (this.#isStopping) this.app.server.closeIdleConnections();
  }

  #logEnd(call: Call, status: number, durationMs: number): void {
    const { log } = this.#deps;
    const isRead = READS.has(call.method);
    // Pushers probe by HEAD, so its 404 is no error.
    const isError = status >= 400 && !(call.method === 'HEAD' && status === 404);
    // Between regions a read is an event: one a blob or manifest that crosses, which its request's id leads to.
    const isNews = isError || !isRead || this.#name === 'peer';
    const level = status >= 500 ? 'warn' : isNews ? 'info' : 'debug';
    log[level]('request answered', {
      ...requestFields(call),
      method: call.method,
      path: pathOf(call.request),
      status,
      bytes: call.bytesOut,
      durationMs: Math.round(durationMs * 10) / 10,
    });
  }

  #logShort(call: Call, thrown: unknown): void {
    this.#deps.log.warn('answer ended short', {
      ...requestFields(call),
      path: pathOf(call.request),
      bytes: call.bytesOut,
      reason: messageOf(thrown),
    });
  }

  async #fail(call: Call, thrown: unknown): Promise<void> {
    const { response, requestId } = call;
    if (response.destroyed) return;
    if (response.headersSent) return this.#giveUp(call, thrown);
    const { answer, isOurFault } = errorReply(thrown, requestId);
    if (isOurFault) {
      this.#deps.log.error('request failed', {
        ...requestFields(call),
        path: pathOf(call.request),
        err: thrown,
      });
    }
    await writeAnswer(call, answer, this.#deps.clock);
  }

  /** Only a fault of our own leads here; the client must not wait for an answer, or for the rest of one. */
  #giveUp(call: Call, err: unknown): void {
    this.#deps.log.error('answer failed', { ...requestFields(call), path: pathOf(call.request), err });
    call.response.destroy();
  }
}

/** Without the query, and bounded: it goes into log lines. */
function pathOf(request: IncomingMessage): string {
  const { url = '' } = request;
  const query = url.indexOf('?');
  return url.slice(0, Math.min(query === -1 ? url.length : query, 512));
}
