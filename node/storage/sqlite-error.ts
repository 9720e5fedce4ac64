/**
 * Errors of SQLite, translated once. What the disk or another process caused is `UnavailableError`; everything else
 * (a constraint, a wrong statement) is our own mistake and stays as it is.
 * Source: sqlite.org/rescode.html.
 */
import { messageOf, UnavailableError } from '#domain/errors.ts';

/** Primary result codes that come from the world. */
const WORLD_CODES: Readonly<Record<number, string>> = {
  3: 'access to the database file was denied',
  5: 'the database is locked by another process',
  7: 'the database is out of memory',
  8: 'the database is read-only; make its disk writable, writing then goes on by itself',
  10: 'the disk reported an input/output error',
  11: 'the database file is damaged',
  13: 'the disk is full; free or add space, writing then goes on by itself',
  14: 'the database file cannot be opened',
  26: 'the file is not a database',
};

/** Those of the disk: what another process or a mistake caused is no refusal. */
const REFUSALS: ReadonlySet<number> = new Set([3, 8, 10, 13, 14]);

/** What crosses from the worker's thread. */
export type SqliteFailure = { readonly message: string; readonly code?: number };

export function sqliteFailure(thrown: unknown): SqliteFailure {
  const code = errorCode(thrown);
  return { message: messageOf(thrown), ...(code === undefined ? {} : { code }) };
}

export function isWorldFailure(failure: SqliteFailure): boolean {
  return failure.code !== undefined && failure.code in WORLD_CODES;
}

/** True of the cause of an error from here that says what the disk refused. */
export function isSqliteRefusal(cause: unknown): boolean {
  const code = errorCode(cause);
  return code !== undefined && REFUSALS.has(code);
}

/** The error to throw for it; `subject` names the database. `cause`: what SQLite threw, if it is in this thread. */
export function sqliteError(
  subject: string,
  failure: SqliteFailure,
  cause: unknown = Object.assign(new Error(failure.message), { errcode: failure.code }),
): Error {
  const reason = failure.code === undefined ? undefined : WORLD_CODES[failure.code];
  if (reason === undefined) return new Error(`${subject}: ${failure.message}`, { cause });
  return new UnavailableError(`${subject}: ${reason} (${failure.message})`, { cause });
}

/** The primary result code: the low byte of the extended one. */
function errorCode(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !('errcode' in thrown) || typeof thrown.errcode !== 'number')
    return undefined;
  return thrown.errcode & 0xff;
}
