/**
 * A registry server over real sockets and in-memory content, and the few calls that most tests begin with.
 */
import { connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import { Agent, type Dispatcher, request } from 'undici';
import { type Digest, digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRegionName } from '#domain/region.ts';
import {
  openRegistryServer,
  type RegistryServerConfig,
  type RegistryServerDeps,
} from '#http/registry-server.ts';
import { systemClock } from '#runtime/clock.ts';
import type { Log, LogFields } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import { MemoryContent } from './memory-content.ts';
import { openGate } from './open-gate.ts';

export type Reply = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly bytes: Buffer;
};

export type LogLine = { readonly level: string; readonly event: string; readonly fields: LogFields };

export class RegistryUnderTest implements AsyncDisposable {
  readonly content: MemoryContent;
  readonly lines: LogLine[] = [];
  readonly metrics = new Registry();
  readonly notReady: string[] = [];
  readonly #agent = new Agent({ connections: 8, pipelining: 1 });
  readonly #sockets: Socket[] = [];
  readonly #servers = new AsyncDisposableStack();
  /** Where it listens; 0 before it does. */
  port = 0;

  private constructor(blobs: BlobStore) {
    this.content = new MemoryContent(blobs);
  }

  static async open(
    config: Partial<RegistryServerConfig> & {
      readonly blobs?: BlobStore;
      readonly gate?: RegistryServerDeps['gate'];
    } = {},
  ): Promise<RegistryUnderTest> {
    const {
      blobs = openMemoryBlobStore({ random: systemRandom }),
      gate = openGate(),
      ...serverConfig
    } = config;
    const registry = new RegistryUnderTest(blobs);
    const { reader, writer, views, manifests, cachedTags } = registry.content;
    const server = await openRegistryServer(
      {
        ...{ reader, writer, views, manifests, cachedTags },
        gate,
        health: { ready: () => registry.notReady },
        clock: systemClock,
        random: systemRandom,
        log: recordingLog(registry.lines),
        metrics: registry.metrics,
      },
      {
        region: parseRegionName('eu-west'),
        host: '127.0.0.1',
        port: 0,
        limits: { drainMs: 50 },
        ...serverConfig,
      },
    );
    registry.#servers.use(server);
    registry.port = server.port;
    return registry;
  }

  async call(method: Dispatcher.HttpMethod, path: string, options: CallOptions = {}): Promise<Reply> {
    const reply = await request(`http://127.0.0.1:${this.port}${path}`, {
      method,
      dispatcher: this.#agent,
      headers: options.headers ?? {},
      body: bodyOf(options.body),
    });
    return {
      status: reply.statusCode,
      headers: reply.headers,
      bytes: Buffer.from(await reply.body.arrayBuffer()),
    };
  }

  /** A blob that is there, by the shortest way. */
  async pushBlob(repository: string, bytes: Uint8Array): Promise<Digest> {
    const digest = digestOf(bytes);
    const path = `/v2/${repository}/blobs/uploads/?digest=${digest}`;
    const reply = await this.call('POST', path, { body: bytes });
    if (reply.status !== 201) throw new Error(`${reply.status} ${reply.bytes}`);
    return digest;
  }

  async pushManifest(repository: string, reference: string, manifest: unknown): Promise<Reply> {
    return await this.call('PUT', `/v2/${repository}/manifests/${reference}`, {
      headers: { 'content-type': MEDIA_TYPE.ociManifest },
      body: typeof manifest === 'string' ? manifest : JSON.stringify(manifest),
    });
  }

  async startUpload(repository: string): Promise<string> {
    const { headers } = await this.call('POST', `/v2/${repository}/blobs/uploads/`);
    return String(headers['location']);
  }

  /** A connection on which a test writes what it likes. */
  connect(): Socket {
    const socket = connect({ port: this.port, host: '127.0.0.1' });
    // A reset is seen by whoever reads; a test that only writes does not care.
    socket.on('error', () => undefined);
    this.#sockets.push(socket);
    return socket;
  }

  /** Sends this text and returns all that comes back until the server ends the connection. */
  async raw(sent: string): Promise<string> {
    const socket = this.connect();
    socket.write(sent);
    return await text(socket);
  }

  /** Waits for what the server does after its last byte has reached the client: it logs and counts. */
  async until(condition: () => boolean): Promise<void> {
    for (let turn = 0; turn < 100_000 && !condition(); turn += 1) await setImmediate();
  }

  /** Ends the server only. */
  async stop(): Promise<void> {
    await this.#servers.disposeAsync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
    for (const socket of this.#sockets) socket.destroy();
    await this.stop();
  }
}

export type CallOptions = {
  readonly headers?: Readonly<Record<string, string>>;
  /** An iterable is sent in chunks, without its length. */
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>;
};

function bodyOf(body: CallOptions['body']): string | Uint8Array | Readable | null {
  if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) return body ?? null;
  return Readable.from(body);
}

export function recordingLog(lines: LogLine[]): Log {
  const at =
    (level: string) =>
    (event: string, fields: LogFields = {}) =>
      void lines.push({ level, event, fields });
  const log: Log = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    with: () => log,
  };
  return log;
}

export function errorCode(reply: Reply): string {
  const body = JSON.parse(reply.bytes.toString()) as { errors: { code: string }[] };
  return body.errors[0]?.code ?? '';
}

export function imageManifest(options: { readonly config?: Digest; readonly pad?: string } = {}): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: options.config ?? digestOf('{}'),
      size: 2,
    },
    layers: [],
    ...(options.pad === undefined ? {} : { annotations: { pad: options.pad } }),
  });
}
