/** The other side of a client under test: a real HTTP server on a port of its own, scripted by the test. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Digest, digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName, parseTag } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';

export type Seen = {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
};
export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export class Counterpart implements AsyncDisposable {
  readonly seen: Seen[] = [];
  readonly url: string;
  readonly #server: ReturnType<typeof createServer>;

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (request: IncomingMessage) => {
      this.seen.push({
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
      });
    });
  }

  static async start(handler: Handler): Promise<Counterpart> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const counterpart = new Counterpart(server);
    server.on('request', handler);
    return counterpart;
  }

  get port(): string {
    return new URL(this.url).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, 'close');
  }
}

export function contextOf(signal: AbortSignal = new AbortController().signal): RequestContext {
  const trace = { traceId: 'a1'.repeat(16), spanId: 'b2'.repeat(8), sampled: false };
  return { requestId: 'request-1', trace, signal, principal: 'anonymous' };
}

export const REPOSITORY = parseRepositoryName('library/alpine');
export const TAG = { tag: parseTag('latest') };

export function manifestBytes(text: string): Uint8Array {
  const layer = digestOf(text);
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      config: { mediaType: 'application/vnd.oci.empty.v1+json', digest: layer, size: 2 },
      layers: [],
    }),
  );
}

/** Answers a manifest the way registries do. */
export function sendManifest(
  response: ServerResponse,
  bytes: Uint8Array,
  said: Digest = digestOf(bytes),
): void {
  response.writeHead(200, {
    'content-type': MEDIA_TYPE.ociManifest,
    'content-length': bytes.byteLength,
    'docker-content-digest': said,
  });
  response.end(bytes);
}

export function sendError(
  response: ServerResponse,
  status: number,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ errors: [{ code: 'TEST', message: `said ${status}` }] }));
}

export async function readAll(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  return Buffer.concat(pieces);
}
