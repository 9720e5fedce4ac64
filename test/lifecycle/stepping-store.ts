/**
 * The slices of the metadata, the production code of them, over a database in memory whose every read and transaction
 * is one step. The same database serves many seeds: emptying its tables is cheaper than making them.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { parseRegionNumber } from '#domain/region.ts';
import { silentLog } from '#runtime/log.ts';
import { prepareManifestStatements } from '#storage/manifest-statements.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openBlobUseRows } from '#storage/rows-blob-uses.ts';
import { openBlobRows } from '#storage/rows-blobs.ts';
import { openClaimRows } from '#storage/rows-claims.ts';
import { openGarbageRows } from '#storage/rows-garbage.ts';
import { openManifestRows } from '#storage/rows-manifests.ts';
import { openViewRows } from '#storage/rows-views.ts';
import { openCompilingKysely } from '#storage/sqlite-dialect.ts';
import { defineClaimFunctions, defineDigestFunction } from '#storage/sqlite-functions.ts';
import { prepareSchema } from '#storage/sqlite-schema.ts';
import type { BoundStatement, Store, WriteOutcome, WriteStatement } from '#storage/statement.ts';
import { ViewWriteListeners } from '#storage/view-write-listeners.ts';
import { TEST_EPOCH, temporaryFolder } from '#test/storage/temporary.ts';

export type SteppingMetadata = Pick<
  Metadata,
  'blobs' | 'manifests' | 'views' | 'claims' | 'blobUses' | 'garbage' | 'viewWrites'
>;

export class SteppingStore implements Disposable {
  readonly metadata: SteppingMetadata;
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  readonly #tables: readonly string[];
  #step: () => Promise<void> = async () => undefined;

  private constructor(database: DatabaseSync) {
    this.#database = database;
    this.#tables = database
      .prepare("select name from sqlite_schema where type = 'table' and name not like 'sqlite%'")
      .all()
      .map((row) => String(row['name']))
      .filter((name) => !name.startsWith('kysely'))
      // Last, because triggers write it.
      .sort((a, b) => Number(a === 'tally') - Number(b === 'tally'));
    const store: Store = {
      dialect: 'sqlite',
      db: openCompilingKysely(),
      reader: {
        all: async (statement) => await this.#read(statement, (prepared, values) => prepared.all(...values)),
        first: async (statement) =>
          await this.#read(statement, (prepared, values) => prepared.get(...values)),
        allWhile: async <Row>(statement: BoundStatement<Row>, keep: (row: Row) => boolean) => {
          const rows: readonly Row[] = await this.#read(statement, (prepared, values) =>
            prepared.all(...values),
          );
          const end = rows.findIndex((row) => !keep(row));
          return end === -1 ? rows : rows.slice(0, end);
        },
      },
      writer: { write: (batch) => this.#write(batch) },
    };
    const viewWrites = new ViewWriteListeners();
    const manifestStatements = prepareManifestStatements(store.db);
    this.metadata = {
      blobs: openBlobRows(store),
      manifests: openManifestRows(store, manifestStatements),
      views: openViewRows(store),
      claims: openClaimRows(store, manifestStatements, {
        log: silentLog,
        written: (keys) => viewWrites.tell(keys),
      }),
      viewWrites,
      blobUses: openBlobUseRows(store),
      garbage: openGarbageRows(store),
    };
  }

  static async open(): Promise<SteppingStore> {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'metadata.sqlite');
    await prepareSchema(path, { region: parseRegionNumber(1), epochForNewDatabase: TEST_EPOCH });
    const database = new DatabaseSync(':memory:');
    database.deserialize(withoutLog(readFileSync(path)));
    database.exec('pragma journal_mode = memory');
    defineClaimFunctions(database);
    defineDigestFunction(database);
    return new SteppingStore(database);
  }

  /** Forgets everything, and takes `step` before everything from now on. */
  reset(step: () => Promise<void>): void {
    this.#step = step;
    for (const table of this.#tables) this.#database.exec(`delete from ${table}`);
    this.#database
      .prepare(
        'insert into origin (id, region, epoch, sequence, time_ms, time_counter) values (1, 1, ?, 0, 0, 0)',
      )
      .run(TEST_EPOCH);
  }

  /** Everything in a table; no step. */
  rows(table: string): readonly Record<string, unknown>[] {
    return this.#prepare(`select * from ${table}`).all();
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  async #read<Result>(
    statement: BoundStatement,
    read: (prepared: StatementSync, values: BoundStatement['parameters']) => unknown,
  ): Promise<Result> {
    await this.#step();
    return read(this.#prepare(statement.sql), statement.parameters) as Result;
  }

  async #write(batch: readonly WriteStatement[]): Promise<WriteOutcome> {
    await this.#step();
    const answers: (readonly unknown[])[] = [];
    this.#database.exec('begin');
    for (const { sql, role, parameters } of batch) {
      const prepared = this.#prepare(sql);
      if (role === 'answer') answers.push(prepared.all(...parameters));
      else if (prepared.run(...parameters).changes === 0 && role === 'guard') {
        this.#database.exec('rollback');
        return { outcome: 'refused' };
      }
    }
    this.#database.exec('commit');
    // Between the commit and its report to whoever waits, a process may die as well.
    await this.#step();
    return { outcome: 'committed', answers };
  }

  #prepare(sql: string): StatementSync {
    const known = this.#prepared.get(sql);
    if (known !== undefined) return known;
    const prepared = this.#database.prepare(sql);
    this.#prepared.set(sql, prepared);
    return prepared;
  }
}

/** Bytes 18 and 19 say that a log lies beside the file, which a database in memory has not (sqlite.org/fileformat2.html). */
function withoutLog(file: Buffer): Uint8Array {
  const bytes = new Uint8Array(file);
  bytes[18] = 1;
  bytes[19] = 1;
  return bytes;
}
