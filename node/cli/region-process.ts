/**
 * One region of a mesh on one machine: a child process with its own folder, log file and life. It is told to stop
 * by SIGTERM; it also stops when the channel to its parent closes, so that no orphan survives the parent.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { RegionName } from '#domain/region.ts';

/** What a node tells the process that started it, over the IPC channel. */
export type NodeReport =
  | { readonly report: 'started' }
  | { readonly report: 'failed'; readonly message: string };

export type RegionEnd = { readonly code: number | undefined; readonly signal: string | undefined };

/**
 * Streaming makes garbage outside of the heap, which V8 only collects when twice the semi-space of it has piled up: a
 * pull of 1 GB grew a region by 83 to 98 MiB with the default of 16 MiB, and by less than 32 MiB with 4. Smaller
 * costs more collections.
 */
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=4'];

export class RegionProcess {
  readonly region: RegionName;
  /** Settles once: started, or rejected with the node's own message. */
  readonly started: Promise<void>;
  readonly ended: Promise<RegionEnd>;
  readonly #child: ChildProcess;

  constructor(region: RegionName, folder: string) {
    this.region = region;
    const log = openSync(join(folder, 'node.log'), 'a');
    this.#child = fork(
      join(import.meta.dirname, 'fairway.ts'),
      ['node', '--config', join(folder, 'node.yaml')],
      {
        stdio: ['ignore', log, log, 'ipc'],
        execArgv: NODE_FLAGS,
      },
    );
    closeSync(log);
    this.ended = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) =>
        resolve({ code: code ?? undefined, signal: signal ?? undefined }),
      );
    });
    this.started = this.#firstReport(join(folder, 'node.log'));
    this.started.catch(() => undefined);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async #firstReport(log: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#child.once('message', (message: NodeReport) => {
      if (message.report === 'started') resolve();
      else reject(new Error(message.message));
    });
    this.#child.once('error', reject);
    void this.ended.then((end) => reject(new Error(`ended at its start (${endText(end)}); see ${log}`)));
    await promise;
  }
}

export function endText(end: RegionEnd): string {
  return end.signal === undefined ? `exit code ${end.code}` : end.signal;
}
