/** `registry-child.ts` as a process: started within half a second, killed at a chosen system call. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Strace } from './system-calls.ts';

const CHILD = join(import.meta.dirname, 'registry-child.ts');

/** What is wrong with it on purpose. */
export type RegistryFault = 'none' | 'blob-acknowledged-early' | 'manifest-acknowledged-early';

export type RegistryProcessConfig = {
  readonly folder: string;
  readonly fault: RegistryFault;
  /** Where compiled code is kept, which halves the cost of a start. It is written by an orderly stop only. */
  readonly codeFolder: string;
};

export class RegistryProcess implements AsyncDisposable {
  readonly url: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<unknown>;
  #strace: Strace | undefined;

  private constructor(child: ChildProcessByStdio<Writable, Readable, Readable>, port: string) {
    this.#child = child;
    this.#ended = once(child, 'exit');
    this.url = `http://127.0.0.1:${port}`;
  }

  /** Resolves when it serves. @throws Error with what it said, when it ends instead. */
  static async start({ folder, fault, codeFolder }: RegistryProcessConfig): Promise<RegistryProcess> {
    const child = spawn(process.execPath, [CHILD, folder, fault], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...process.env,
        NODE_NO_WARNINGS: '1',
        NODE_COMPILE_CACHE: codeFolder,
        // One thread for files: the n-th call of a kind is then the same step in every run.
        UV_THREADPOOL_SIZE: '1',
      },
    });
    const said = text(child.stderr);
    for await (const port of child.stdout.setEncoding('utf8')) {
      return new RegistryProcess(child, String(port).trim());
    }
    throw new Error(`the registry has not started: ${await said}`);
  }

  /** From now on the n-th call of this name that one of its threads begins is its last. */
  async killAt(call: string, nth: number): Promise<void> {
    const args = ['-o', '/dev/null', '-e', `trace=${call}`];
    this.#strace = await Strace.attach(this.#child.pid ?? 0, [
      ...[...args, '-e', `inject=${call}:signal=SIGKILL:when=${nth}`],
    ]);
  }

  /** Kills it where it is, if it is not dead by then. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#strace?.kill();
    await this.#ended;
  }

  /** Ends it as an operator would. */
  async stop(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }

  /** Dead or alive, it is gone afterwards. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
