/** Reading from PostgreSQL: one connection of the pool for each statement. */
import type { Pool } from 'pg';
import Cursor from 'pg-cursor';
import type { StatementNames } from './postgres-connection.ts';
import { postgresError } from './postgres-error.ts';
import type { BoundStatement, Reader } from './statement.ts';

/** Rows that are read ahead of `keep`: with manifests that ride along, at most 4 MiB. */
const ROWS_AHEAD = 64;

export class PostgresReader implements Reader {
  readonly #pool: Pool;
  readonly #names: StatementNames;

  constructor(pool: Pool, names: StatementNames) {
    this.#pool = pool;
    this.#names = names;
  }

  async all<Row>(statement: BoundStatement<Row>): Promise<readonly Row[]> {
    const { sql, parameters } = statement;
    try {
      const found = await this.#pool.query({ name: this.#names.of(sql), text: sql, values: [...parameters] });
      return found.rows as Row[];
    } catch (thrown) {
      throw postgresError(thrown);
    }
  }

  async first<Row>(statement: BoundStatement<Row>): Promise<Row | undefined> {
    return (await this.all(statement))[0];
  }

  async allWhile<Row>(statement: BoundStatement<Row>, keep: (row: Row) => boolean): Promise<readonly Row[]> {
    try {
      const client = await this.#pool.connect();
      try {
        const cursor = client.query(new Cursor<Row>(statement.sql, [...statement.parameters]));
        const rows = await readWhile(cursor, keep);
        await cursor.close();
        client.release();
        return rows;
      } catch (thrown) {
        // The cursor may still be open on it.
        client.release(true);
        throw thrown;
      }
    } catch (thrown) {
      throw postgresError(thrown);
    }
  }
}

async function readWhile<Row>(cursor: Cursor<Row>, keep: (row: Row) => boolean): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (;;) {
    const ahead = await cursor.read(ROWS_AHEAD);
    for (const row of ahead) {
      if (!keep(row)) return rows;
      rows.push(row);
    }
    if (ahead.length < ROWS_AHEAD) return rows;
  }
}
