/** What a running process asks of the system, as strace sees it, in the order in which calls began and ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';

/** `began` and `ended` are places in one order over all threads. */
export type SystemCall = {
  readonly name: string;
  /** Arguments and result, file descriptors with their paths. */
  readonly text: string;
  readonly began: number;
  readonly ended: number;
};

/** strace on a running process, until disposed of. */
export class Strace implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Resolves when every thread is attached. @throws Error with what strace said. */
  static async attach(pid: number, args: readonly string[]): Promise<Strace> {
    const child = spawn('strace', ['-f', '-p', String(pid), ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const said: string[] = [];
    for await (const line of createInterface({ input: child.stderr ?? [] })) {
      said.push(line);
      if (line.includes('attached')) return new Strace(child);
    }
    throw new Error(`strace did not attach: ${said.join('; ')}`);
  }

  /** Where the traced process is dying: told to detach from it, strace would wait for the threads that it holds. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end('SIGINT');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill(signal);
    await ended;
  }
}

/** The calls that a file of `strace -f -o` holds. Calls that were not finished are left out. */
export async function readSystemCalls(file: string): Promise<readonly SystemCall[]> {
  const calls: SystemCall[] = [];
  const unfinished = new Map<string, { readonly text: string; readonly began: number }>();
  for (const [place, line] of (await readFile(file, 'utf8')).split('\n').entries()) {
    const [, thread = '', text = ''] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    if (text.endsWith('<unfinished ...>')) {
      unfinished.set(thread, { text: text.slice(0, -'<unfinished ...>'.length), began: place });
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text);
    const begun = resumed === null ? { text: '', began: place } : unfinished.get(thread);
    if (begun === undefined) continue;
    const whole = resumed === null ? text : begun.text + resumed[1];
    const name = /^\w+/.exec(whole)?.[0];
    if (name !== undefined) calls.push({ name, text: whole, began: begun.began, ended: place });
  }
  return calls;
}
