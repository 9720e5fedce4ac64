/** The bare server as a side of a comparison: it answers the same bytes, with the headers that we answer. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BareAnswer } from './bare-server.ts';

/** Node adds these to every answer by itself. */
const OWN_HEADERS = ['connection', 'date', 'keep-alive'];

export class BareNode implements AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(child: ChildProcess, port: number, folder: string) {
    this.#child = child;
    this.#folder = folder;
    this.url = `http://127.0.0.1:${port}`;
    this.pid = child.pid ?? 0;
  }

  /** Copies what `from` answers to these paths. */
  static async like(from: string, paths: readonly string[]): Promise<BareNode> {
    const folder = await mkdtemp(join(tmpdir(), 'fairway-bare-'));
    const answers: BareAnswer[] = [];
    for (const [position, path] of paths.entries()) {
      const response = await fetch(`${from}${path}`);
      if (response.status !== 200) throw new Error(`${from}${path} answered ${response.status}`);
      const file = join(folder, String(position));
      await writeFile(file, Buffer.from(await response.arrayBuffer()));
      const headers = Object.fromEntries(
        [...response.headers].filter(([name]) => !OWN_HEADERS.includes(name)),
      );
      answers.push({ path, headers, file });
    }
    const child = fork(join(import.meta.dirname, 'bare-server.ts'), [], { stdio: 'inherit' });
    child.send(answers);
    const [port] = (await once(child, 'message')) as [number];
    return new BareNode(child, port, folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
    await rm(this.#folder, { recursive: true, force: true });
  }
}
