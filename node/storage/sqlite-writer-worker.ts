/**
 * The one connection that writes, in a thread of its own, where waiting for the disk holds nobody up.
 *
 * A group of batches is one transaction, so that all of them share one fsync; each batch is a savepoint in it, so
 * that one which fails, or whose guard does not hold, is undone alone. Nothing is reported before the commit.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { type SqliteFailure, sqliteFailure } from './sqlite-error.ts';
import { defineClaimFunctions } from './sqlite-functions.ts';
import {
  type BatchResult,
  type FromWorker,
  type ToWorker,
  type UnpackedStatement,
  unpackGroup,
  type WireGroup,
  type WireText,
  type WriterStart,
} from './sqlite-writer-messages.ts';

/** Negative: KiB. */
const CACHE_KIB = -65_536;
/** Pages in the log before a commit also moves them into the file: 16 MiB, so that most commits do not. */
const CHECKPOINT_PAGES = 4096;

type Batch = readonly UnpackedStatement[];

class WriterConnection {
  readonly #database: DatabaseSync;
  readonly #texts: WireText[] = [];
  readonly #prepared = new Map<number, StatementSync>();
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #savepoint: StatementSync;
  readonly #release: StatementSync;

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { timeout: 5000 });
    this.#database.exec(
      `pragma synchronous = full; pragma cache_size = ${CACHE_KIB}; pragma temp_store = memory;
       pragma wal_autocheckpoint = ${CHECKPOINT_PAGES}; pragma journal_size_limit = 67108864`,
    );
    defineClaimFunctions(this.#database);
    this.#begin = this.#database.prepare('begin immediate');
    this.#commit = this.#database.prepare('commit');
    this.#savepoint = this.#database.prepare('savepoint batch');
    this.#release = this.#database.prepare('release batch');
  }

  writeGroup(group: WireGroup): readonly BatchResult[] {
    this.#texts.push(...group.texts);
    const batches = unpackGroup(group, (text) => this.#text(text).parameterCount);
    const [first, ...others] = batches;
    if (first !== undefined && others.length === 0) return [this.#writeAlone(first)];
    try {
      this.#begin.run();
      const results = batches.map((batch) => this.#writeBatch(batch));
      this.#commit.run();
      return results;
    } catch (thrown) {
      const failure = this.#giveUp(thrown);
      return batches.map(() => ({ outcome: 'failed', failure }));
    }
  }

  /**
   * A batch that is a transaction of its own needs no savepoint. For a large one that is the difference between 15,000
   * and 4,000 claims a second: the journal of a savepoint is walked from its start at the end of every statement.
   */
  #writeAlone(batch: Batch): BatchResult {
    try {
      this.#begin.run();
      const result = this.#run(batch);
      if (result.outcome === 'committed') this.#commit.run();
      else this.#database.exec('rollback');
      return result;
    } catch (thrown) {
      return { outcome: 'failed', failure: this.#giveUp(thrown) };
    }
  }

  /** Throws when the database gave the whole transaction up, as it does on a full disk. */
  #writeBatch(batch: Batch): BatchResult {
    this.#savepoint.run();
    try {
      const result = this.#run(batch);
      if (result.outcome === 'committed') this.#release.run();
      else this.#database.exec('rollback to batch; release batch');
      return result;
    } catch (thrown) {
      if (!this.#database.isTransaction) throw thrown;
      this.#database.exec('rollback to batch; release batch');
      return { outcome: 'failed', failure: sqliteFailure(thrown) };
    }
  }

  /** The statements up to a guard that does not hold; what they changed is the caller's to keep or to undo. */
  #run(batch: Batch): BatchResult {
    const answers: (readonly unknown[])[] = [];
    for (const { text, role, parameters } of batch) {
      const statement = this.#prepare(text);
      if (role === 'answer') answers.push(statement.all(...parameters));
      else if (statement.run(...parameters).changes === 0 && role === 'guard') return { outcome: 'refused' };
    }
    return { outcome: 'committed', answers };
  }

  #giveUp(thrown: unknown): SqliteFailure {
    const failure = sqliteFailure(thrown);
    if (this.#database.isTransaction) this.#database.exec('rollback');
    return failure;
  }

  #prepare(text: number): StatementSync {
    const known = this.#prepared.get(text);
    if (known !== undefined) return known;
    const prepared = this.#database.prepare(this.#text(text).sql);
    this.#prepared.set(text, prepared);
    return prepared;
  }

  #text(number: number): WireText {
    const text = this.#texts[number];
    if (text === undefined) throw new Error(`statement ${number} was never sent`);
    return text;
  }

  close(): void {
    this.#database.exec('pragma optimize; pragma wal_checkpoint(truncate)');
    this.#database.close();
  }
}

function serve(): void {
  const port = parentPort;
  if (port === null) throw new Error('this file is the worker of sqlite-writer.ts');
  const say = (message: FromWorker) => port.postMessage(message);
  const opened = open(workerData as WriterStart);
  if (!(opened instanceof WriterConnection)) {
    say({ type: 'open-failed', failure: opened });
    return;
  }
  port.on('message', (message: ToWorker) => {
    if (message.type === 'group') {
      say({ type: 'written', results: opened.writeGroup(message.group) });
      return;
    }
    port.close();
    opened.close();
  });
  say({ type: 'opened' });
}

function open(start: WriterStart): WriterConnection | SqliteFailure {
  try {
    return new WriterConnection(start.path);
  } catch (thrown) {
    return sqliteFailure(thrown);
  }
}

serve();
