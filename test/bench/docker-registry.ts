/** Debian's docker-registry (distribution 2.8) as the peer of benchmarks and the upstream of tests. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const START_TRIES = 100;

export class DockerRegistry implements AsyncDisposable {
  readonly url: string;
  readonly #folder: string;
  readonly #port: number;
  #process: ChildProcess | undefined;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.#port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(): Promise<DockerRegistry> {
    const folder = await mkdtemp(join(tmpdir(), 'fairway-docker-registry-'));
    const registry = new DockerRegistry(folder, await freePort());
    await registry.resume();
    return registry;
  }

  /** Starts it again on the same port and folder. */
  async resume(): Promise<void> {
    const config = join(this.#folder, 'config.yml');
    await writeFile(
      config,
      [
        'version: 0.1',
        'log: {level: error, accesslog: {disabled: true}}',
        `storage: {filesystem: {rootdirectory: ${join(this.#folder, 'data')}}, delete: {enabled: true}}`,
        `http: {addr: 127.0.0.1:${this.#port}}`,
        '',
      ].join('\n'),
    );
    this.#process = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
    await untilServing(this.url, 'docker-registry');
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  async stop(): Promise<void> {
    const running = this.#process;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once('exit', resolve));
    running.kill('SIGKILL');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** @throws Error when it does not answer within some seconds. */
export async function untilServing(url: string, name: string): Promise<void> {
  for (let attempt = 0; attempt < START_TRIES; attempt += 1) {
    const answer = await fetch(`${url}/v2/`).catch(() => undefined);
    if (answer?.ok) return;
    await sleep(50);
  }
  throw new Error(`${name} did not start`);
}

export async function freePort(): Promise<number> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address !== null && typeof address === 'object'
          ? resolve(address.port)
          : reject(new Error('no port')),
      );
    });
  });
}
