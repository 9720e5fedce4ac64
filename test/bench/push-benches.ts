/**
 * Many small pushes: how many a second, beside docker-registry, and what they do to those who pull meanwhile. The
 * region is alone, as its peer is: with two more on the same machine, which take what is pushed, each push costs twice.
 */
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { MANIFEST_ACCEPT, MEDIA_TYPE } from '#domain/manifest.ts';
import { makeImage, pushImage, type TestImage } from '#test/processes/registry-calls.ts';
import type { DockerRegistry } from './docker-registry.ts';
import type { Bench, OwnBench } from './measure.ts';

const PEER = 'docker-registry (does not sync)';
const IMAGES = 1000;
const CONNECTIONS = 16;
const LAYER_BYTES = 4000;
const PUSHES_PER_SECOND = 1000;
const PUSHING_SECONDS = 5;
const GETS_AT_ONCE = 4;
/** Not as many as they can: what this client would take of the two cores is missing to the pushes. */
const GETS_PER_SECOND = 500;
const P99_MS = 20;

/** A region that is alone, and the process that it is. */
export type LoneRegion = { readonly url: string; readonly pid: number };

export function preparePushBenches(ours: LoneRegion, theirs: DockerRegistry): readonly (Bench | OwnBench)[] {
  return [smallImages({ ours, theirs }), getWhilePushed(ours)];
}

/** Three blobs, each in two requests, and the manifest: what every client does, one image a connection at a time. */
function smallImages(sides: Readonly<Record<'ours' | 'theirs', LoneRegion>>): Bench {
  return {
    name: 'small-images',
    unit: 'images/s',
    better: 'higher',
    peer: PEER,
    bar: 3,
    processes: (side) => [side === 'ours' ? sides.ours.pid : sides.theirs.pid],
    round: async (side, round) => {
      const { url } = side === 'ours' ? sides.ours : sides.theirs;
      const images = Array.from({ length: IMAGES }, () => makeImage(LAYER_BYTES, LAYER_BYTES));
      using client = new Client(url, CONNECTIONS);
      const startMs = performance.now();
      await eachOf(images, CONNECTIONS, async (image, position) => {
        const name = `bench/small-${position % 10}`;
        for (const blob of image.blobs) await client.pushBlob(name, blob);
        await client.putManifest(name, `r${round}-${position}`, image.manifest);
      });
      const seconds = (performance.now() - startMs) / 1000;
      const last = images.at(-1)?.digest ?? '';
      const got = await client.ask(`GET /v2/bench/small-${(IMAGES - 1) % 10}/manifests/${last}`, 200, {
        headers: { accept: MANIFEST_ACCEPT },
      });
      if (got.headers['docker-content-digest'] !== last) throw new Error(`${url} stored another manifest`);
      return IMAGES / seconds;
    },
  };
}

/**
 * Manifests of one image are pushed at a steady rate while four connections get another one by its tag, 500 times a
 * second. The rate that was reached is told, because a p99 beside fewer pushes proves nothing: the round then fails.
 */
function getWhilePushed({ url, pid }: LoneRegion): OwnBench {
  return {
    name: 'manifest-get-while-pushed',
    processes: () => [pid],
    unit: 'ms',
    limit: P99_MS,
    round: async (round) => {
      const base = makeImage(LAYER_BYTES, LAYER_BYTES);
      await pushImage(url, 'bench/pushed', 'base', base);
      using pusher = new Client(url, CONNECTIONS);
      using getter = new Client(url, GETS_AT_ONCE);
      const manifests = Array.from({ length: PUSHES_PER_SECOND * PUSHING_SECONDS }, (_, position) =>
        variantOf(base, `${round}-${position}`),
      );
      const startMs = performance.now();
      let isPushing = true;
      const waits: number[] = [];
      let gets = 0;
      const getting = Array.from({ length: GETS_AT_ONCE }, async () => {
        while (isPushing) {
          gets += 1;
          await until(startMs + (gets * 1000) / GETS_PER_SECOND);
          const askedMs = performance.now();
          await getter.ask('GET /v2/bench/pushed/manifests/base', 200, {
            headers: { accept: MANIFEST_ACCEPT },
          });
          waits.push(performance.now() - askedMs);
        }
      });
      await eachOf(manifests, CONNECTIONS, async (manifest, position) => {
        await until(startMs + (position * 1000) / PUSHES_PER_SECOND);
        await pusher.putManifest('bench/pushed', `v${round}-${position}`, manifest);
      });
      const seconds = (performance.now() - startMs) / 1000;
      isPushing = false;
      await Promise.all(getting);
      const rate = manifests.length / seconds;
      // The warm-up may be slow.
      if (round > 0 && rate < 0.95 * PUSHES_PER_SECOND)
        throw new Error(`only ${Math.round(rate)} of ${PUSHES_PER_SECOND} manifests/s were pushed`);
      const sorted = waits.toSorted((a, b) => a - b);
      return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
    },
  };
}

/** Another manifest of the same blobs. */
function variantOf({ manifest }: TestImage, name: string): Buffer {
  return Buffer.from(JSON.stringify({ ...JSON.parse(manifest.toString()), annotations: { name } }));
}

async function eachOf<Item>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item, position: number) => Promise<void>,
): Promise<void> {
  const queue = items.entries();
  const worker = async () => {
    for (const [position, item] of queue) await work(item, position);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

async function until(timeMs: number): Promise<void> {
  const waitMs = timeMs - performance.now();
  if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
}

type Sending = { readonly headers?: Readonly<Record<string, string>>; readonly body?: Buffer };

/** A registry's client that costs little beside what it measures: no fetch, connections kept. */
class Client implements Disposable {
  readonly #url: URL;
  readonly #agent: Agent;

  constructor(url: string, connections: number) {
    this.#url = new URL(url);
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
  }

  async pushBlob(name: string, { digest, bytes }: TestImage['blobs'][number]): Promise<void> {
    const started = await this.ask(`POST /v2/${name}/blobs/uploads/`, 202);
    const location = new URL(started.headers.location ?? '', this.#url);
    location.searchParams.set('digest', digest);
    await this.ask(`PUT ${location.pathname}${location.search}`, 201, { body: bytes });
  }

  async putManifest(name: string, tag: string, manifest: Buffer): Promise<void> {
    const headers = { 'content-type': MEDIA_TYPE.ociManifest };
    await this.ask(`PUT /v2/${name}/manifests/${tag}`, 201, { headers, body: manifest });
  }

  /** `what`: method and path. The answer, after its body was read and dropped. @throws Error for another status. */
  async ask(
    what: string,
    status: number,
    { headers = {}, body = Buffer.alloc(0) }: Sending = {},
  ): Promise<IncomingMessage> {
    const [method, path] = what.split(' ');
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const options: RequestOptions = {
      ...{ method, path, agent: this.#agent, host: this.#url.hostname, port: this.#url.port },
      headers: { ...headers, 'content-length': body.length },
    };
    const asked = request(options, (response) => {
      response.resume();
      response.once('end', () => resolve(response));
    });
    asked.once('error', reject);
    asked.end(body);
    const response = await promise;
    if (response.statusCode !== status)
      throw new Error(`${this.#url.host}: ${what} was answered ${response.statusCode}, not ${status}`);
    return response;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}
