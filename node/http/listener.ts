/**
 * Sockets for the servers of this room: limits against slow and malformed clients, and an orderly end.
 *
 * Stopping has three steps, each bounded: no more connections, and what runs may finish; then what still runs is
 * aborted, which ends transfers short (FIN); then the rest is cut. The limits are on silence, not on duration,
 * because a large blob over a slow link is legitimate however long it takes.
 */
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { errorBody } from './error-reply.ts';
import { closeLingering } from './lingering-close.ts';

export type ServerTls = {
  readonly key: string | Buffer;
  readonly cert: string | Buffer;
  /** With an authority, every client must present a certificate of it. */
  readonly ca?: string | Buffer;
  /** Where the pair may become another one: calls back with each; new handshakes get it. */
  readonly follow?: (apply: (pair: { readonly key: string; readonly cert: string }) => void) => Disposable;
};

export type ListenConfig = {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tls?: ServerTls;
  readonly limits?: Partial<ListenLimits>;
};

export type ListenLimits = {
  /** A request's headers must have arrived by then. Default 10,000: they fit one packet or two. */
  readonly headersTimeoutMs: number;
  /** A connection on which no byte moves for so long is cut. Default 120,000: above every wait of our own. */
  readonly idleTimeoutMs: number;
  /** An unused connection is kept so long. Default 75,000: above the 60 s that load balancers use. */
  readonly keepAliveTimeoutMs: number;
  /** Connections at one time; more are closed at once. Default 10,000: about 200 MB of buffers at worst. */
  readonly connectionsMax: number;
  /** How long a stopping server waits for what runs. Default 2,000: a process has 5 s to end in all. */
  readonly drainMs: number;
};

export const DEFAULT_LIMITS: ListenLimits = {
  headersTimeoutMs: 10_000,
  idleTimeoutMs: 120_000,
  keepAliveTimeoutMs: 75_000,
  connectionsMax: 10_000,
  drainMs: 2_000,
};

/** How long aborted requests have to end by themselves before their sockets are cut. */
const ABORTED_MS = 500;
/** How often Node looks for requests whose headers are late; it is added to that limit at worst. */
const LATE_HEADERS_CHECK_MS = 2_000;
const TLS_MIN = 'TLSv1.2';
/** Node's default, written down because a longer path is answered with 431 through it. */
const HEADER_BYTES_MAX = 16 * 1024;

export type Listening = AsyncDisposable & { readonly host: string; readonly port: number };

/** For fastify's `serverFactory`. */
export function createServer(handler: http.RequestListener, config: ListenConfig, log: Log): http.Server {
  const limits = { ...DEFAULT_LIMITS, ...config.limits };
  const options: http.ServerOptions = {
    headersTimeout: limits.headersTimeoutMs,
    // The whole of a request may take as long as bytes keep coming.
    requestTimeout: 0,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.min(LATE_HEADERS_CHECK_MS, limits.headersTimeoutMs),
    maxHeaderSize: HEADER_BYTES_MAX,
  };
  const server =
    config.tls === undefined
      ? http.createServer(options, handler)
      : createTlsServer(options, { tls: config.tls, limits }, handler);
  server.maxConnections = limits.connectionsMax;
  server.setTimeout(limits.idleTimeoutMs);
  // A body that will be refused is not invited; whoever reads it sends the 100 (see `RequestBody`).
  server.on('checkContinue', (request, response) => server.emit('request', request, response));
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => refuse(error, socket));
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
    log.info('TLS handshake refused', { address: socket.remoteAddress ?? '', reason: error.message });
  });
  return server;
}

function createTlsServer(
  options: http.ServerOptions,
  { tls, limits }: { readonly tls: ServerTls; readonly limits: ListenLimits },
  handler: http.RequestListener,
): https.Server {
  const server = https.createServer({ ...options, ...tlsOptions(tls, limits) }, handler);
  const following = tls.follow?.((pair) => server.setSecureContext({ ...pair, minVersion: TLS_MIN }));
  if (following !== undefined) server.once('close', () => following[Symbol.dispose]());
  return server;
}

function tlsOptions(tls: ServerTls, limits: ListenLimits): https.ServerOptions {
  const { key, cert, ca } = tls;
  return {
    key,
    cert,
    minVersion: TLS_MIN,
    handshakeTimeout: limits.headersTimeoutMs,
    ...(ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: true }),
  };
}

const REFUSALS: Readonly<Record<string, readonly [status: number, message: string]>> = {
  HPE_HEADER_OVERFLOW: [431, `the path and headers are larger than ${HEADER_BYTES_MAX} bytes`],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request did not arrive in time'],
};

/**
 * Answers what is no HTTP. A socket that already carries an answer is only closed: a second head in the middle of a
 * blob would be taken for its bytes.
 */
function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  if (socket.bytesWritten > 0) {
    closeLingering(socket);
    return;
  }
  const [status, message] = REFUSALS[error.code ?? ''] ?? [400, 'the request is not valid HTTP'];
  const body = JSON.stringify(errorBody({ code: 'UNSUPPORTED', message }));
  socket.write(
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nContent-Type: application/json\r\n` +
      `Docker-Distribution-Api-Version: registry/2.0\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  );
  closeLingering(socket);
}

export type ListenDeps = {
  readonly clock: Clock;
  /** Called when the server begins to stop: nothing may keep a connection open any longer. */
  readonly stopping: () => void;
  /** Called when the time for finishing is over: abort what still runs. */
  readonly abort: () => void;
};

/** Listens. Rejects with the system's error (`EADDRINUSE` …) when it cannot. */
export async function listen(
  app: FastifyInstance,
  config: ListenConfig,
  deps: ListenDeps,
): Promise<Listening> {
  await app.listen({ host: config.host, port: config.port });
  const address = app.server.address() as AddressInfo;
  const { drainMs } = { ...DEFAULT_LIMITS, ...config.limits };
  return {
    host: config.host,
    port: address.port,
    async [Symbol.asyncDispose]() {
      deps.stopping();
      const closed = Promise.resolve(app.close());
      if (await within(closed, drainMs, deps.clock)) return;
      deps.abort();
      if (await within(closed, ABORTED_MS, deps.clock)) return;
      app.server.closeAllConnections();
      await closed;
    },
  };
}

/** True when the work ended in time. */
async function within(work: Promise<unknown>, ms: number, clock: Clock): Promise<boolean> {
  const done = new AbortController();
  const late = clock.sleep(ms, done.signal).then(
    () => false,
    () => false,
  );
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    done.abort();
  }
}
