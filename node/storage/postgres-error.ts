/**
 * Errors of PostgreSQL and of the way to it, translated once. What the server, its disk or the network caused is
 * `UnavailableError`; everything else (a constraint, a wrong statement) is our own mistake and stays as it is.
 * Source: postgresql.org/docs/current/errcodes-appendix.html.
 */
import { DatabaseError } from 'pg';
import { messageOf, UnavailableError } from '#domain/errors.ts';

/** Classes of SQLSTATE that come from the world: connections, resources, operators, the system, a read-only standby. */
const WORLD = /^(?:08|53|57|58|25006|XX)/;
/** Two transactions were in each other's way, and one was undone for it: it may simply run again. */
const COLLISION = /^(?:40001|40P01)$/;
/** What `require_row` raises. */
export const GUARD_FAILED = 'FWGRD';

/** The SQLSTATE, or `undefined` when the server did not say anything: the connection itself failed. */
export function sqlStateOf(thrown: unknown): string | undefined {
  return thrown instanceof DatabaseError ? thrown.code : undefined;
}

export function isCollision(thrown: unknown): boolean {
  return COLLISION.test(sqlStateOf(thrown) ?? '');
}

export function isWorldFailure(thrown: unknown): boolean {
  const state = sqlStateOf(thrown);
  return state === undefined || WORLD.test(state) || COLLISION.test(state);
}

/** The error to throw for it. */
export function postgresError(thrown: unknown): Error {
  if (thrown instanceof UnavailableError) return thrown;
  const state = sqlStateOf(thrown);
  const said = state === undefined ? messageOf(thrown) : `${messageOf(thrown)} (${state})`;
  if (!isWorldFailure(thrown)) return new Error(`metadata: ${said}`, { cause: thrown });
  return new UnavailableError(`the metadata database does not answer: ${said}`, { cause: thrown });
}
