/** What is measured, each side doing the same work with the same client. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { promisify } from 'node:util';
import { digestOf } from '#domain/digest.ts';
import type { MeshUnderTest } from '#test/processes/mesh-under-test.ts';
import {
  expectStatus,
  makeImage,
  pullImage,
  pushImage,
  type TestImage,
} from '#test/processes/registry-calls.ts';
import type { DockerRegistry } from './docker-registry.ts';
import type { Bench } from './measure.ts';
import { wrk } from './wrk.ts';

const run = promisify(execFile);
const PEER = 'docker-registry';
const BLOB_BYTES = 100_000_000;
const PUSH_CONNECTIONS = 4;
const ACCEPT = 'Accept: application/vnd.oci.image.manifest.v1+json';

export type Rig = {
  readonly mesh: MeshUnderTest;
  readonly registry: DockerRegistry;
  readonly second: DockerRegistry;
};

export async function prepareBenches(rig: Rig): Promise<readonly Bench[]> {
  const urls = { ours: rig.mesh.url(0), theirs: rig.registry.url };
  const small = makeImage(10_000);
  const large = makeImage(BLOB_BYTES);
  for (const url of Object.values(urls)) {
    await pushImage(url, 'bench/small', 'latest', small);
    await pushImage(url, 'bench/large', 'latest', large);
    if ((await pullImage(url, 'bench/large', 'latest')) !== large.digest)
      throw new Error(`${url} returned other bytes`);
  }
  return [manifestGet(urls, small), blobDownload(urls, large), blobPush(urls), acrossRegions(rig)];
}

type Urls = Readonly<Record<'ours' | 'theirs', string>>;

function manifestGet(urls: Urls, image: TestImage): Bench {
  return {
    name: 'manifest-get',
    unit: 'requests/s',
    better: 'higher',
    peer: PEER,
    round: async (side) => {
      const url = `${urls[side]}/v2/bench/small/manifests/latest`;
      const options = { connections: 32, seconds: 4, bytesEach: image.manifest.length, headers: [ACCEPT] };
      return (await wrk(url, options)).requestsPerSecond;
    },
  };
}

function blobDownload(urls: Urls, image: TestImage): Bench {
  const digest = image.blobs[1]?.digest;
  return {
    name: 'blob-download',
    unit: 'MB/s',
    better: 'higher',
    peer: PEER,
    round: async (side) => {
      const url = `${urls[side]}/v2/bench/large/blobs/${digest}`;
      return (await wrk(url, { connections: 8, seconds: 5, bytesEach: BLOB_BYTES })).bytesPerSecond / 1e6;
    },
  };
}

/** New bytes every time, the same work for both: a stored blob would be no push. */
function blobPush(urls: Urls): Bench {
  const buffers = Array.from({ length: PUSH_CONNECTIONS }, () => randomBytes(BLOB_BYTES));
  return {
    name: 'blob-push',
    unit: 'MB/s',
    better: 'higher',
    peer: PEER,
    bar: 1.5,
    round: async (side, round) => {
      const blobs = buffers.map((bytes) => {
        bytes.write(`${side} ${round}`.padEnd(32), 0);
        return { bytes, digest: digestOf(bytes) };
      });
      const startMs = performance.now();
      await Promise.all(
        blobs.map(async ({ bytes, digest }) => await pushByPut(urls[side], { bytes, digest })),
      );
      const seconds = (performance.now() - startMs) / 1000;
      await Promise.all(blobs.map(async ({ digest }) => await expectStored(urls[side], digest)));
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
