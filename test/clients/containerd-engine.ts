/**
 * A real containerd of Debian for tests: its own folders and socket, the native snapshotter (copies, no mounts that
 * outlive it), no CRI. Driven by `ctr`, which is as near to containerd's own resolver as one gets.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AccountMesh } from './account-mesh.ts';

const START_TRIES = 100;
const STOP_MS = 10_000;

export type Output = { readonly stdout: string; readonly stderr: string };

export class ContainerdEngine implements AsyncDisposable {
  readonly #folder: string;
  readonly #daemon: ChildProcess;
  readonly #mesh: AccountMesh;

  private constructor(mesh: AccountMesh, folder: string, daemon: ChildProcess) {
    this.#mesh = mesh;
    this.#folder = folder;
    this.#daemon = daemon;
  }

  static async start(mesh: AccountMesh): Promise<ContainerdEngine> {
    const folder = join(mesh.folder, 'containerd');
    await mkdir(folder);
    const config = join(folder, 'config.toml');
    await writeFile(
      config,
      [
        'version = 2',
        `root = "${join(folder, 'root')}"`,
        `state = "${join(folder, 'state')}"`,
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]',
        '[grpc]',
        `  address = "${join(folder, 'socket')}"`,
        '',
      ].join('\n'),
    );
    const daemon = spawn('containerd', ['--config', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    const errors: string[] = [];
    daemon.stderr?.on('data', (chunk: Buffer) => errors.push(chunk.toString()));
    const engine = new ContainerdEngine(mesh, folder, daemon);
    for (let attempt = 0; attempt < START_TRIES && daemon.exitCode === null; attempt += 1) {
      if (await engine.#answers()) return engine;
      await sleep(100);
    }
    await engine[Symbol.asyncDispose]();
    throw new Error(`containerd did not start:\n${errors.join('').slice(-4000)}`);
  }

  /** Runs `ctr`. Rejects with its output when it fails. */
  async ctr(...args: readonly string[]): Promise<Output> {
    return await this.#mesh.run('ctr', '--address', join(this.#folder, 'socket'), ...args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemon.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#daemon.once('exit', resolve));
    this.#daemon.kill('SIGTERM');
    const late = setTimeout(() => this.#daemon.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(late);
  }

  async #answers(): Promise<boolean> {
    return await this.ctr('version').then(
      () => true,
      () => false,
    );
  }
}
