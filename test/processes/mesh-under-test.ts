/**
 * A whole mesh for a test: three regions as processes, in a temporary folder, on ports that were free a moment ago.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LocalMesh, type LocalMeshConfig, type LocalRegion } from '#cli/local-mesh.ts';
import { parseRegionName } from '#domain/region.ts';

export type MeshUnderTest = AsyncDisposable & {
  readonly mesh: LocalMesh;
  readonly data: string;
  readonly basePort: number;
  /** `http://127.0.0.1:<registry port>` of the region with this position (from 0). */
  url(position: number): string;
  region(position: number): LocalRegion;
  /** Regions that ended without being told to. */
  readonly ended: readonly string[];
};

export const REGIONS = ['eu-west', 'us-east', 'ap-south'].map(parseRegionName);

/** Starts the mesh, in `data` when given (which is then kept), else in a folder that goes with it. */
export async function startMesh(options: Partial<LocalMeshConfig> = {}): Promise<MeshUnderTest> {
  const data = options.data ?? (await mkdtemp(join(tmpdir(), 'fairway-mesh-')));
  const regions = options.regions ?? REGIONS;
  const basePort = options.basePort ?? (await freeBasePort(regions.length));
  const ended: string[] = [];
  const mesh = await LocalMesh.start({
    links: [],
    onUnexpectedEnd: (region, end) => ended.push(`${region}: ${end.signal ?? end.code}`),
    ...options,
    data,
    regions,
    basePort,
  });
  const region = (position: number): LocalRegion => {
    const found = mesh.regions[position];
    if (found === undefined) throw new RangeError(`no region ${position}`);
    return found;
  };
  return {
    mesh,
    data,
    basePort,
    ended,
    region,
    url: (position) => `http://127.0.0.1:${region(position).registry.port}`,
    [Symbol.asyncDispose]: async () => {
      await mesh[Symbol.asyncDispose]();
      if (options.data === undefined) await rm(data, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** A base port whose ports for `count` regions can all be listened on. */
export async function freeBasePort(count: number): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const base = 20_000 + Math.floor(Math.random() * 300) * 60;
    const ports = [0, 100, 200, 300].flatMap((step) =>
      Array.from({ length: count }, (_, i) => base + step + i + 1),
    );
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return base;
  }
  throw new Error('no free range of ports found');
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
