/** One region as its only user would start it: `fairway up --regions 1`, and no other process of ours. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ROOT } from '#test/docs/pages.ts';
import { freeBasePort } from '#test/processes/mesh-under-test.ts';
import { watchProcesses } from './process-usage.ts';

export class OneRegion implements AsyncDisposable {
  readonly url: string;
  /** The region's process, without the one that watches over it. */
  readonly pid: number;
  readonly folder: string;
  readonly #up: ChildProcess;
  /** What goes with it. */
  readonly #data: string | undefined;

  private constructor(up: ChildProcess, data: string | undefined, region: UpRegion) {
    this.#up = up;
    this.#data = data;
    this.url = `http://${region.registry}`;
    this.pid = region.pid;
    this.folder = region.folder;
  }

  /** In `data` when given, which is then kept. */
  static async start(options: { readonly data?: string } = {}): Promise<OneRegion> {
    const data = options.data ?? (await mkdtemp(join(tmpdir(), 'fairway-one-')));
    const port = await freeBasePort(1);
    const flags = ['up', '--regions', '1', '--data', data, '--base-port', String(port), '--json'];
    const up = spawn(process.execPath, [join(ROOT, 'node/cli/fairway.ts'), ...flags], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const line of createInterface({ input: up.stdout })) {
      const [region] = JSON.parse(line) as readonly UpRegion[];
      if (region === undefined) break;
      return new OneRegion(up, options.data === undefined ? data : undefined, region);
    }
    throw new Error('fairway up --regions 1 did not start');
  }

  get residentMb(): number {
    return watchProcesses([this.pid])()?.residentMb ?? Number.NaN;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#up, 'exit');
    this.#up.kill('SIGTERM');
    await ended;
    if (this.#data !== undefined) await rm(this.#data, { recursive: true, force: true, maxRetries: 5 });
  }
}

type UpRegion = { readonly registry: string; readonly pid: number; readonly folder: string };
