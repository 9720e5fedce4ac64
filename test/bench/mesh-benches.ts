/** What a mesh promises in time, measured over real sockets, each against a limit of its own. */
import type { RegionName } from '#domain/region.ts';
import { type MeshUnderTest, REGIONS } from '#test/processes/mesh-under-test.ts';
import { expectStatus, makeImage, pushImage } from '#test/processes/registry-calls.ts';
import type { OwnBench } from './measure.ts';

const [EU, US] = REGIONS as [RegionName, RegionName];
const KNOWN_MS = 300;
const FIRST_BYTE_MS = 200;
const SLOW = { delayMs: 0, bytesPerSecond: 5_000_000 };
const NO_SHAPE = { delayMs: 0, bytesPerSecond: 0 };

export function prepareMeshBenches(mesh: MeshUnderTest): readonly OwnBench[] {
  return [tagKnownElsewhere(mesh), firstByteDelay(mesh)];
}

/** From the 201 in one region until the tag lists of both others, which ask nobody, have it. */
function tagKnownElsewhere(mesh: MeshUnderTest): OwnBench {
  return {
    name: 'tag-known-elsewhere',
    unit: 'ms',
    limit: KNOWN_MS,
    round: async (round) => {
      const tag = `v${round}`;
      await pushImage(mesh.url(0), 'bench/known', tag, makeImage(1000));
      const startMs = performance.now();
      await Promise.all(
        [1, 2].map(async (position) => await untilListed(mesh.url(position), 'bench/known', tag)),
      );
      return performance.now() - startMs;
    },
  };
}

async function untilListed(url: string, repository: string, tag: string): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (performance.now() < deadlineMs) {
    const response = await fetch(`${url}/v2/${repository}/tags/list`);
    const listed = response.ok ? ((await response.json()) as { tags: readonly string[] }).tags : [];
    if (listed.includes(tag)) return;
  }
  throw new Error(`${url} did not list ${repository}:${tag} within 10 s`);
}

/**
 * A blob through a source that sends 5 MB/s: from the source's first byte of it at our door until the client's. The
 * relay counts what the source sent; a blob's first byte is there when its answer's head and more have passed.
 */
function firstByteDelay(mesh: MeshUnderTest): OwnBench {
  return {
    name: 'first-byte-delay',
    unit: 'ms',
    limit: FIRST_BYTE_MS,
    round: async () => {
      const image = makeImage(8_000_000);
      await pushImage(mesh.url(0), 'bench/first', 'v1', image);
      mesh.mesh.shape(EU, US, SLOW);
      try {
        return await clientDelayMs(mesh, image.blobs[1]?.digest ?? '');
      } finally {
        mesh.mesh.shape(EU, US, NO_SHAPE);
      }
    },
  };
}

/** More than TLS, an answer's head and the mesh's beats take together. */
const HEAD_BYTES = 16_000;

async function clientDelayMs(mesh: MeshUnderTest, digest: string): Promise<number> {
  const before = mesh.mesh.bytes(EU, US);
  let sourceMs = Number.POSITIVE_INFINITY;
  const watch = setInterval(() => {
    if (sourceMs === Number.POSITIVE_INFINITY && mesh.mesh.bytes(EU, US) > before + HEAD_BYTES)
      sourceMs = performance.now();
  }, 1);
  try {
    const response = await expectStatus(await fetch(`${mesh.url(1)}/v2/bench/first/blobs/${digest}`), 200);
    const reader = response.body?.getReader();
    await reader?.read();
    const clientMs = performance.now();
    let bytes = 0;
    for (let piece = await reader?.read(); piece?.done === false; piece = await reader?.read())
      bytes += piece.value.length;
    if (mesh.mesh.bytes(EU, US) - before < 8_000_000)
      throw new Error(`only ${bytes} bytes crossed: it was no miss`);
    return Math.max(0, clientMs - sourceMs);
  } finally {
    clearInterval(watch);
  }
}
