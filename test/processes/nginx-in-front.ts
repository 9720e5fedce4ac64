/** nginx with the configuration of the documentation, in front of a region under test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RegionName } from '#domain/region.ts';
import { freePort, untilServing } from '#test/bench/docker-registry.ts';
import { ROOT } from '#test/docs/pages.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';

/** One region that was told of an nginx in front, and that nginx. */
export type RegionBehindNginx = { readonly mesh: MeshUnderTest; readonly nginx: NginxInFront };

const [EU] = REGIONS as [RegionName];

export async function startBehindNginx(stack: AsyncDisposableStack): Promise<RegionBehindNginx> {
  const mesh = stack.use(await startMesh({ regions: [EU] }));
  // `up` writes a region's file at each start; whoever runs `fairway node` has one of their own, and so has this one.
  const { folder } = mesh.region(0);
  await mesh.mesh.kill(EU, 'SIGTERM');
  const file = join(folder, 'node.yaml');
  writeFileSync(file, `${readFileSync(file, 'utf8')}  accelRedirect:\n    location: /fairway-blobs/\n`);
  await mesh.mesh.startRegion(EU);
  return { mesh, nginx: stack.use(await NginxInFront.start({ url: mesh.url(0), folder })) };
}

export class NginxInFront implements AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(running: ChildProcess, folder: string, port: number) {
    this.#process = running;
    this.#folder = folder;
    this.pid = running.pid ?? 0;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** `folder` is the region's. Everything else is as the documentation has it. */
  static async start(region: { readonly url: string; readonly folder: string }): Promise<NginxInFront> {
    const folder = mkdtempSync(join(tmpdir(), 'fairway-nginx-'));
    const port = await freePort();
    const documented = readFileSync(join(ROOT, 'docs/examples/nginx.conf'), 'utf8');
    const text = documented
      .replace('127.0.0.1:5001', new URL(region.url).host)
      .replace('127.0.0.1:8080', `127.0.0.1:${port}`)
      .replace('/srv/fairway/eu-west', region.folder)
      // Of a test: its own folders, and the user that it runs as, who owns the region's files.
      .replace('events {', `${process.getuid?.() === 0 ? 'user root;\n' : ''}pid ${folder}/pid;\nevents {`)
      .replace('http {', `http {\n${temporaryPaths(folder)}\n  access_log off;`);
    const file = join(folder, 'nginx.conf');
    writeFileSync(file, text);
    const flags = ['-c', file, '-p', folder, '-e', join(folder, 'error.log'), '-g', 'daemon off;'];
    const nginx = new NginxInFront(spawn('nginx', flags, { stdio: 'ignore' }), folder, port);
    await untilServing(nginx.url, 'nginx');
    return nginx;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    await ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function temporaryPaths(folder: string): string {
  return ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `  ${kind}_temp_path ${folder}/${kind};`)
    .join('\n');
}
