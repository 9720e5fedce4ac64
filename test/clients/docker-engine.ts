/**
 * A real dockerd of Debian's docker.io for tests: its own folders and socket, no bridge and no firewall rules, so
 * that it changes nothing of the machine. Loopback registries are plain HTTP for it by default.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const START_TRIES = 150;

export type Output = { readonly stdout: string; readonly stderr: string };

export class DockerEngine implements AsyncDisposable {
  readonly #folder: string;
  readonly #daemon: ChildProcess;

  private constructor(folder: string, daemon: ChildProcess) {
    this.#folder = folder;
    this.#daemon = daemon;
  }

  static async start(): Promise<DockerEngine> {
    const folder = await mkdtemp(join(tmpdir(), 'fairway-docker-'));
    const daemon = spawn(
      'dockerd',
      [
        ...['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec')],
        ...['--pidfile', join(folder, 'pid'), '-H', `unix://${join(folder, 'docker.sock')}`],
        ...['--bridge', 'none', '--iptables=false', '--storage-driver', 'vfs'],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const errors: string[] = [];
    daemon.stderr?.on('data', (chunk: Buffer) => errors.push(chunk.toString()));
    const engine = new DockerEngine(folder, daemon);
    for (let attempt = 0; attempt < START_TRIES; attempt += 1) {
      if (daemon.exitCode !== null) break;
      if (existsSync(join(folder, 'docker.sock')) && (await engine.#answers())) return engine;
      await sleep(200);
    }
    await engine[Symbol.asyncDispose]();
    throw new Error(`dockerd did not start:\n${errors.join('').slice(-4000)}`);
  }

  /** Runs the docker client. Rejects with its output when it fails. */
  async docker(...args: readonly string[]): Promise<Output> {
    return await run('docker', args, {
      env: {
        ...process.env,
        DOCKER_HOST: `unix://${join(this.#folder, 'docker.sock')}`,
        DOCKER_CONFIG: this.#folder,
      },
      maxBuffer: 16 * 1024 * 1024,
      timeout: 120_000,
    });
  }

  /** The running client, for tests that kill something in the middle of it. */
  start(...args: readonly string[]): ChildProcess {
    return spawn('docker', args, {
      env: {
        ...process.env,
        DOCKER_HOST: `unix://${join(this.#folder, 'docker.sock')}`,
        DOCKER_CONFIG: this.#folder,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemon.exitCode === null) {
      const ended = new Promise((resolve) => this.#daemon.once('exit', resolve));
      this.#daemon.kill('SIGTERM');
      await Promise.race([ended, sleep(10_000).then(() => this.#daemon.kill('SIGKILL'))]);
    }
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async #answers(): Promise<boolean> {
    try {
      await this.docker('version');
      return true;
    } catch {
      return false;
    }
  }
}
