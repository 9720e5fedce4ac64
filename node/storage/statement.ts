/**
 * Statements that are built and compiled once, by Kysely, and run many times with other parameters: building one
 * costs more than running it.
 *
 * While a statement is built, `p('name')` stands where the parameter `name` will; Kysely carries the mark into the
 * compiled statement's list of parameters, and `bind` puts the value there. The slices (`rows-*.ts`) are written
 * against `Store` alone, so that they are the same over each dialect.
 */
import type { Compilable, Kysely } from 'kysely';
import type { Tables } from './tables.ts';

export type SqlValue = string | number | Uint8Array | null;

/** Stands for the parameter of that name while the statement is built. */
export type Place<Args> = <Name extends keyof Args & string>(name: Name) => Args[Name];

export type Statement<Args, Row> = {
  readonly sql: string;
  bind(args: Args): BoundStatement<Row>;
};

/** `Row` is what it answers, where it answers anything. */
export type BoundStatement<Row = unknown> = {
  readonly sql: string;
  readonly parameters: readonly SqlValue[];
  readonly row?: Row;
};

/** Builds and compiles a statement; the type of `p` names its parameters. */
export function prepare<Args, Row>(build: (p: Place<Args>) => Compilable<Row>): Statement<Args, Row> {
  const { sql, parameters } = build((name) => new Parameter(name) as never).compile();
  const fill = parameters.map((parameter) =>
    parameter instanceof Parameter
      ? (args: Args) => args[parameter.name as keyof Args] as SqlValue
      : () => parameter as SqlValue,
  );
  return { sql, bind: (args) => ({ sql, parameters: fill.map((value) => value(args)) }) };
}

class Parameter {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

export type Store = {
  readonly dialect: 'sqlite' | 'postgres';
  /** Builds and compiles statements; runs none. */
  readonly db: Kysely<Tables>;
  readonly reader: Reader;
  readonly writer: Writer;
};

/** Each read sees every write that had resolved before. @throws UnavailableError when the database refuses. */
export interface Reader {
  all<Row>(statement: BoundStatement<Row>): Promise<readonly Row[]>;
  first<Row>(statement: BoundStatement<Row>): Promise<Row | undefined>;
  /** Rows up to the first that `keep` refuses, without reading on. */
  allWhile<Row>(statement: BoundStatement<Row>, keep: (row: Row) => boolean): Promise<readonly Row[]>;
}

export interface Writer {
  /**
   * Runs the statements in order, all or none, and resolves when they are on stable storage.
   * @throws UnavailableError when the database refuses, is closed or has too much to do; nothing is written then.
   */
  write(batch: readonly WriteStatement[]): Promise<WriteOutcome>;
}

/**
 * `run` answers nothing; `guard` must change a row, or the whole batch is undone; `answer` returns its rows.
 */
export type WriteStatement = BoundStatement & { readonly role: 'run' | 'guard' | 'answer' };

/** `answers`: the rows of each `answer`, in order. `refused`: a guard changed nothing, nothing was written. */
export type WriteOutcome =
  | { readonly outcome: 'committed'; readonly answers: readonly (readonly unknown[])[] }
  | { readonly outcome: 'refused' };

export function run(statement: BoundStatement): WriteStatement {
  return { sql: statement.sql, parameters: statement.parameters, role: 'run' };
}

export function guard(statement: BoundStatement): WriteStatement {
  return { sql: statement.sql, parameters: statement.parameters, role: 'guard' };
}

/** Writes one statement and returns its rows. */
export async function writeOne<Row>(writer: Writer, statement: BoundStatement<Row>): Promise<readonly Row[]> {
  const result = await writer.write([
    { sql: statement.sql, parameters: statement.parameters, role: 'answer' },
  ]);
  return result.outcome === 'committed' ? ((result.answers[0] ?? []) as readonly Row[]) : [];
}
