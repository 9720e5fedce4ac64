/** Reading from one region, beside docker-registry, beside `node:http` with nothing around it, and zot where it is. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { startBehindNginx } from '#test/processes/nginx-in-front.ts';
import { makeImage, pullImage, pushImage, type TestImage } from '#test/processes/registry-calls.ts';
import { isThere } from '#test/requirements.ts';
import { BareNode } from './bare-node.ts';
import { DockerRegistry } from './docker-registry.ts';
import type { Bench, OwnBench, Round, Side } from './measure.ts';
import { OneRegion } from './one-region.ts';
import { processTree } from './process-usage.ts';
import { wrk } from './wrk.ts';
import { ZotRegistry } from './zot-registry.ts';

const BLOB_BYTES = 100_000_000;
const ACCEPT = 'Accept: application/vnd.oci.image.manifest.v1+json';
const MANIFEST_PATH = '/v2/bench/small/manifests/latest';
const IDLE_CONNECTIONS = 5000;

type Served = { readonly url: string; readonly pid: number };
type ReadRig = {
  readonly served: Readonly<Partial<Record<Side, Served>>>;
  readonly small: TestImage;
  readonly blobPath: string;
};

export async function prepareReadBenches(
  stack: AsyncDisposableStack,
): Promise<readonly (Bench | OwnBench)[]> {
  const region = stack.use(await OneRegion.start());
  const registry = stack.use(await DockerRegistry.start());
  const zot = ZotRegistry.isInstalled() ? stack.use(await ZotRegistry.start()) : undefined;
  const small = makeImage(10_000);
  const large = makeImage(BLOB_BYTES);
  for (const { url } of [region, registry, ...(zot === undefined ? [] : [zot])]) {
    await pushImage(url, 'bench/small', 'latest', small);
    await pushImage(url, 'bench/large', 'latest', large);
    if ((await pullImage(url, 'bench/large', 'latest')) !== large.digest)
      throw new Error(`${url} returned other bytes`);
  }
  const blobPath = `/v2/bench/large/blobs/${large.blobs[1]?.digest}`;
  const bare = stack.use(await BareNode.like(region.url, [MANIFEST_PATH, blobPath]));
  const served = { ours: region, theirs: registry, bare, ...(zot === undefined ? {} : { zot }) };
  const rig = { served, small, blobPath };
  const benches = [manifestGet(rig), blobDownload(rig), idleConnections(rig)];
  return isThere('nginx') ? [...benches, await blobDownloadByNginx(stack, rig, large)] : benches;
}

function servedBy(rig: ReadRig, side: Side): Served {
  const served = rig.served[side];
  if (served === undefined) throw new Error(`there is no side ${side}`);
  return served;
}

function besides(rig: ReadRig, bareBar: number): NonNullable<Bench['beside']> {
  const bare = { side: 'bare', peer: 'bare node:http', bar: bareBar } as const;
  return rig.served.zot === undefined ? [bare] : [bare, { side: 'zot', peer: 'zot' }];
}

/** Without tokens on either side: docker-registry takes tokens of another form than ours (ES256, keys by claim). */
function manifestGet(rig: ReadRig): Bench {
  return {
    name: 'manifest-get',
    unit: 'requests/s',
    better: 'higher',
    peer: 'docker-registry',
    bar: 20,
    beside: besides(rig, 0.6),
    p99MaxMs: 5,
    processes: (side) => [servedBy(rig, side).pid],
    round: async (side) => {
      const options = {
        connections: 32,
        seconds: 4,
        bytesEach: rig.small.manifest.length,
        headers: [ACCEPT],
      };
      const { requestsPerSecond, p99Ms, requests } = await wrk(
        `${servedBy(rig, side).url}${MANIFEST_PATH}`,
        options,
      );
      return { value: requestsPerSecond, p99Ms, operations: requests };
    },
  };
}

function blobDownload(rig: ReadRig): Bench {
  return {
    name: 'blob-download',
    unit: 'MB/s',
    better: 'higher',
    peer: 'docker-registry',
    bar: 0.8,
    beside: besides(rig, 0.95),
    processes: (side) => [servedBy(rig, side).pid],
    round: async (side) => await downloadRound(`${servedBy(rig, side).url}${rig.blobPath}`),
  };
}

/** Whole blobs of 100 MB over 8 connections; an operation is one of them. */
export async function downloadRound(url: string): Promise<Round> {
  const { bytesPerSecond, requests } = await wrk(url, { connections: 8, seconds: 5, bytesEach: BLOB_BYTES });
  return { value: bytesPerSecond / 1e6, operations: requests };
}

/** Another region than the one without nginx, because that one runs as `up` configures it. */
async function blobDownloadByNginx(
  stack: AsyncDisposableStack,
  rig: ReadRig,
  large: TestImage,
): Promise<Bench> {
  const { mesh, nginx } = await startBehindNginx(stack);
  await pushImage(nginx.url, 'bench/large', 'latest', large);
  if ((await pullImage(nginx.url, 'bench/large', 'latest')) !== large.digest)
    throw new Error(`${nginx.url} returned other bytes`);
  const region = mesh.mesh.pid(mesh.region(0).name) ?? 0;
  const theirs = servedBy(rig, 'theirs');
  return {
    name: 'blob-download-nginx',
    unit: 'MB/s',
    better: 'higher',
    peer: 'docker-registry',
    bar: 1,
    processes: (side) => (side === 'ours' ? [region, ...processTree(nginx.pid)] : [theirs.pid]),
    round: async (side) => await downloadRound(`${side === 'ours' ? nginx.url : theirs.url}${rig.blobPath}`),
  };
}

/** Load beside many connections that once asked something and are kept. */
function idleConnections(rig: ReadRig): OwnBench {
  const { url, pid } = servedBy(rig, 'ours');
  return {
    name: 'idle-connections-p99',
    unit: 'ms',
    limit: 20,
    processes: () => [pid],
    round: async () => {
      const idle = await openIdle(url, IDLE_CONNECTIONS);
      try {
        const options = {
          connections: 32,
          seconds: 4,
          bytesEach: rig.small.manifest.length,
          headers: [ACCEPT],
        };
        const { p99Ms } = await wrk(`${url}${MANIFEST_PATH}`, options);
        for (const socket of idle) {
          if (socket.destroyed || socket.readableEnded) throw new Error('an idle connection was closed');
        }
        await Promise.all(idle.map(ask));
        return p99Ms;
      } finally {
        for (const socket of idle) socket.destroy();
      }
    },
  };
}

/** How many are opened at a time: fewer than a listener's backlog. */
const OPENED_AT_ONCE = 200;

async function openIdle(url: string, count: number): Promise<readonly Socket[]> {
  const { hostname, port } = new URL(url);
  const open: Socket[] = [];
  while (open.length < count) {
    const opening = Array.from({ length: OPENED_AT_ONCE }, async () => {
      const socket = connect(Number(port), hostname);
      await once(socket, 'connect');
      await ask(socket);
      return socket;
    });
    open.push(...(await Promise.all(opening)));
  }
  return open;
}

async function ask(socket: Socket): Promise<void> {
  socket.write('GET /v2/ HTTP/1.1\r\nHost: bench\r\n\r\n');
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (!answer.toString('latin1').startsWith('HTTP/1.1 200 '))
    throw new Error(`an idle connection got ${answer}`);
}
