/**
 * Group commit: batches that arrive while the disk is busy wait together, and go as one transaction when it is
 * free. The first one never waits, and under load one fsync carries dozens. The transaction itself is in
 * `sqlite-writer-worker.ts`.
 *
 * A batch that the disk refuses rejects with `UnavailableError`, and the writer goes on with the next one. When the
 * worker itself ends, all that waits and all that comes later rejects: that is a defect, and it is logged as one.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import type { Log } from '#runtime/log.ts';
import { isWorldFailure, sqliteError } from './sqlite-error.ts';
import {
  type BatchResult,
  type FromWorker,
  GroupPacker,
  type ToWorker,
  type WriterStart,
} from './sqlite-writer-messages.ts';
import type { WriteOutcome, Writer, WriteStatement } from './statement.ts';

/** Statements in one transaction: some 30 ms of work, which is what the next batch may have to wait. */
const GROUP_STATEMENTS_MAX = 8192;
/** A batch of more statements shares no transaction: it would need a savepoint, whose cost grows with its square. */
const SHARING_STATEMENTS_MAX = 512;
/** What may wait. Beyond either limit a write is refused with 503 instead of growing the process. */
const WAITING_BATCHES_MAX = 10_000;
const WAITING_BYTES_MAX = 128 * 1024 * 1024;

/** @throws UnavailableError when the database cannot be opened for writing. */
export async function openSqliteWriter(path: string, deps: { readonly log: Log }): Promise<SqliteWriter> {
  const start: WriterStart = { path };
  const worker = new Worker(new URL('./sqlite-writer-worker.ts', import.meta.url), {
    workerData: start,
    execArgv: ['--disable-warning=ExperimentalWarning'],
    name: 'sqlite-writer',
  });
  const [message] = (await once(worker, 'message')) as [FromWorker];
  if (message.type === 'open-failed') throw sqliteError(path, message.failure);
  return new SqliteWriter(worker, deps);
}

export class SqliteWriter implements Writer, AsyncDisposable {
  readonly #worker: Worker;
  readonly #log: Log;
  readonly #packer = new GroupPacker();
  readonly #exited: Promise<void>;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #running: readonly Waiting[] = [];
  #refusal: UnavailableError | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(worker: Worker, deps: { readonly log: Log }) {
    this.#worker = worker;
    this.#log = deps.log;
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'written') this.#settle(message.results);
    });
    worker.on('error', (thrown) => this.#end(thrown));
    const exited = Promise.withResolvers<void>();
    worker.on('exit', () => {
      this.#end(new Error('the writing thread ended'));
      exited.resolve();
    });
    this.#exited = exited.promise;
  }

  async write(batch: readonly WriteStatement[]): Promise<WriteOutcome> {
    if (this.#refusal !== undefined) throw this.#refusal;
    const bytes = sizeOf(batch);
    if (this.#waiting.length >= WAITING_BATCHES_MAX || this.#waitingBytes + bytes > WAITING_BYTES_MAX) {
      throw new UnavailableError('the metadata database has more to write than it can keep up with');
    }
    const done = Promise.withResolvers<WriteOutcome>();
    this.#waiting.push({ batch, bytes, done });
    this.#waitingBytes += bytes;
    if (this.#running.length === 0) this.#send();
    return await done.promise;
  }

  /** Writes what waits, moves the log into the file, and ends the thread. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#refusal ??= new UnavailableError('the metadata database is closed');
    if (this.#running.length > 0) {
      this.#idle ??= Promise.withResolvers<void>();
      await this.#idle.promise;
    }
    this.#post({ type: 'close' });
    await this.#exited;
  }

  #send(): void {
    let statements = 0;
    let count = 0;
    for (const { batch } of this.#waiting) {
      const isLarge = batch.length > SHARING_STATEMENTS_MAX;
      if (count > 0 && (isLarge || statements + batch.length > GROUP_STATEMENTS_MAX)) break;
      statements += batch.length;
      count += 1;
      if (isLarge) break;
    }
    this.#running = this.#waiting.slice(0, count);
    this.#waiting = this.#waiting.slice(count);
    if (count === 0) {
      this.#idle?.resolve();
      return;
    }
    for (const { bytes } of this.#running) this.#waitingBytes -= bytes;
    const group = this.#packer.pack(this.#running.map(({ batch }) => batch));
    this.#post({ type: 'group', group }, [group.bytes.buffer]);
  }

  #settle(results: readonly BatchResult[]): void {
    for (const [position, { done }] of this.#running.entries()) {
      const result = results[position];
      if (result === undefined) done.reject(new Error('the writing thread left a batch unanswered'));
      else if (result.outcome !== 'failed') done.resolve(result);
      else {
        const failed = sqliteError('metadata', result.failure);
        if (isWorldFailure(result.failure)) this.#log.warn('metadata write failed', { err: failed });
        done.reject(failed);
      }
    }
    this.#send();
  }

  #end(thrown: unknown): void {
    if (this.#refusal === undefined) {
      this.#log.error('metadata writer ended', { err: thrown });
      this.#refusal = new UnavailableError(`the metadata database cannot be written: ${messageOf(thrown)}`, {
        cause: thrown,
      });
    }
    const lost = [...this.#running, ...this.#waiting];
    this.#running = [];
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const { done } of lost) done.reject(this.#refusal);
    this.#idle?.resolve();
  }

  #post(message: ToWorker, handedOver: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, handedOver);
  }
}

type Waiting = {
  readonly batch: readonly WriteStatement[];
  readonly bytes: number;
  readonly done: PromiseWithResolvers<WriteOutcome>;
};

function sizeOf(batch: readonly WriteStatement[]): number {
  let bytes = 0;
  for (const { parameters } of batch) {
    for (const value of parameters) bytes += value instanceof Uint8Array ? value.byteLength : 32;
  }
  return bytes;
}
