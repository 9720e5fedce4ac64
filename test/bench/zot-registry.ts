/** zot as a further peer, where it is on PATH. `main.ts` says how it gets there, and that it was left out. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isThere } from '#test/requirements.ts';
import { freePort, untilServing } from './docker-registry.ts';

export class ZotRegistry implements AsyncDisposable {
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

  static isInstalled(): boolean {
    return isThere('zot');
  }

  static async start(): Promise<ZotRegistry> {
    const folder = await mkdtemp(join(tmpdir(), 'fairway-zot-'));
    const port = await freePort();
    const config = join(folder, 'config.json');
    const document = {
      distSpecVersion: '1.1.0',
      storage: { rootDirectory: join(folder, 'data'), gc: false },
      http: { address: '127.0.0.1', port: String(port) },
      log: { level: 'error' },
    };
    await writeFile(config, JSON.stringify(document));
    const zot = new ZotRegistry(spawn('zot', ['serve', config], { stdio: 'ignore' }), folder, port);
    await untilServing(zot.url, 'zot');
    return zot;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
    await rm(this.#folder, { recursive: true, force: true });
  }
}
