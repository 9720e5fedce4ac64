/** Pushing, and what crosses regions, each side doing the same work with the same client. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { promisify } from 'node:util';
import { digestOf } from '#domain/digest.ts';
import type { RegionName } from '#domain/region.ts';
import { type MeshUnderTest, REGIONS } from '#test/processes/mesh-under-test.ts';
import { expectStatus, makeImage, pullImage, pushImage } from '#test/processes/registry-calls.ts';
import type { DockerRegistry } from './docker-registry.ts';
import type { Bench, Side } from './measure.ts';

const run = promisify(execFile);
const PEER = 'docker-registry';
const BLOB_BYTES = 100_000_000;
const PUSH_CONNECTIONS = 4;

export type Rig = {
  readonly mesh: MeshUnderTest;
  readonly registry: DockerRegistry;
  readonly second: DockerRegistry;
};

export function prepareBenches(rig: Rig): readonly Bench[] {
  const urls = { ours: rig.mesh.url(0), theirs: rig.registry.url };
  return [blobPush(rig, urls), acrossRegions(rig)];
}

type Urls = Readonly<Partial<Record<Side, string>>>;

/** New bytes every time, the same work for both: a stored blob would be no push. */
function blobPush(rig: Rig, urls: Urls): Bench {
  const buffers = Array.from({ length: PUSH_CONNECTIONS }, () => randomBytes(BLOB_BYTES));
  return {
    name: 'blob-push',
    unit: 'MB/s',
    better: 'higher',
    peer: PEER,
    bar: 1.5,
    processes: (side) =>
      side === 'ours' ? [rig.mesh.mesh.pid(REGIONS[0] as RegionName) ?? 0] : [rig.registry.pid],
    round: async (side, round) => {
      const blobs = buffers.map((bytes) => {
        bytes.write(`${side} ${round}`.padEnd(32), 0);
        return { bytes, digest: digestOf(bytes) };
      });
      const startMs = performance.now();
      await Promise.all(
        blobs.map(async ({ bytes, digest }) => await pushByPut(urls[side] ?? '', { bytes, digest })),
      );
      const seconds = (performance.now() - startMs) / 1000;
      await Promise.all(blobs.map(async ({ digest }) => await expectStored(urls[side] ?? '', digest)));
      return (BLOB_BYTES * PUSH_CONNECTIONS) / 1e6 / seconds;
    },
  };
}

async function pushByPut(
  url: string,
  blob: { readonly bytes: Buffer; readonly digest: string },
): Promise<void> {
  const started = await expectStatus(
    await fetch(`${url}/v2/bench/push/blobs/uploads/`, { method: 'POST' }),
    202,
  );
  const target = new URL(started.headers.get('location') ?? '', url);
  target.searchParams.set('digest', blob.digest);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const put = request(target, {
    method: 'PUT',
    headers: { 'content-length': blob.bytes.length, 'content-type': 'application/octet-stream' },
  });
  put.once('error', reject);
  put.once('response', (response) => {
    response.resume();
    resolve(response.statusCode ?? 0);
  });
  put.end(blob.bytes);
  const status = await promise;
  if (status !== 201) throw new Error(`${url}: push answered ${status}`);
}

async function expectStored(url: string, digest: string): Promise<void> {
  const head = await expectStatus(
    await fetch(`${url}/v2/bench/push/blobs/${digest}`, { method: 'HEAD' }),
    200,
  );
  if (Number(head.headers.get('content-length')) !== BLOB_BYTES)
    throw new Error(`${url} stored another size`);
}

/** A 10 MB image, from its push here until it was pulled whole there; the peer copies by skopeo as soon as it can. */
function acrossRegions(rig: Rig): Bench {
  return {
    name: 'push-here-pull-there',
    unit: 'ms',
    better: 'lower',
    peer: 'docker-registry and skopeo copy',
    round: async (side, round) => {
      const image = makeImage(10_000_000);
      const name = `bench/across-${side}-${round}-${createHash('sha1').update(image.digest).digest('hex').slice(0, 8)}`;
      const [here, there] =
        side === 'ours' ? [rig.mesh.url(0), rig.mesh.url(1)] : [rig.registry.url, rig.second.url];
      const startMs = performance.now();
      await pushImage(here, name, 'v1', image);
      if (side === 'theirs') {
        const [from, to] = [here, there].map((url) => `docker://${new URL(url).host}/${name}:v1`);
        const flags = [
          'copy',
          '--quiet',
          '--insecure-policy',
          '--src-tls-verify=false',
          '--dest-tls-verify=false',
          '--preserve-digests',
        ];
        await run('skopeo', [...flags, from ?? '', to ?? '']);
      }
      const digest = await pullImage(there, name, 'v1');
      if (digest !== image.digest) throw new Error(`${there} answered ${digest}, expected ${image.digest}`);
      return performance.now() - startMs;
    },
  };
}
