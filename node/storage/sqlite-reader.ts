/**
 * Reading in the main thread: a statement that finds its rows by an index answers in microseconds, less than a hop
 * to another thread costs. Every statement here must stay below 5 ms; what would scan does not belong here.
 *
 * The file is read through SQLite's own cache and not mapped: a bad sector must be an error, not the end of the
 * process by SIGBUS.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { UnavailableError } from '#domain/errors.ts';
import { sqliteError, sqliteFailure } from './sqlite-error.ts';
import { defineDigestFunction } from './sqlite-functions.ts';
import type { BoundStatement, Reader } from './statement.ts';

/** Negative: KiB. 64 MiB hold the upper levels of every index of some ten million rows. */
const CACHE_KIB = -65_536;

export class SqliteReader implements Reader, Disposable {
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
    this.#database.exec(`pragma cache_size = ${CACHE_KIB}; pragma query_only = 1`);
    defineDigestFunction(this.#database);
  }

  async all<Row>(statement: BoundStatement<Row>): Promise<readonly Row[]> {
    return this.#run(statement, (prepared) => prepared.all(...statement.parameters) as Row[]);
  }

  async first<Row>(statement: BoundStatement<Row>): Promise<Row | undefined> {
    return this.#run(statement, (prepared) => prepared.get(...statement.parameters) as Row | undefined);
  }

  async allWhile<Row>(statement: BoundStatement<Row>, keep: (row: Row) => boolean): Promise<readonly Row[]> {
    return this.#run(statement, (prepared) => {
      const rows: Row[] = [];
      for (const found of prepared.iterate(...statement.parameters)) {
        const row = found as Row;
        if (!keep(row)) break;
        rows.push(row);
      }
      return rows;
    });
  }

  [Symbol.dispose](): void {
    if (!this.#database.isOpen) return;
    this.#prepared.clear();
    this.#database.close();
  }

  #run<Result>(statement: BoundStatement, read: (prepared: StatementSync) => Result): Result {
    if (!this.#database.isOpen) throw new UnavailableError('the metadata database is closed');
    try {
      return read(this.#prepare(statement.sql));
    } catch (thrown) {
      throw sqliteError('metadata', sqliteFailure(thrown), thrown);
    }
  }

  /** Statements are compiled once by their slices, so there are some dozens, and none is ever dropped. */
  #prepare(sql: string): StatementSync {
    const known = this.#prepared.get(sql);
    if (known !== undefined) return known;
    const prepared = this.#database.prepare(sql);
    this.#prepared.set(sql, prepared);
    return prepared;
  }
}
