/**
 * Errors of the file system, translated once, with the cause in words that an operator acts on.
 */
import { messageOf, UnavailableError } from '#domain/errors.ts';
import { isSqliteRefusal } from './sqlite-error.ts';

const CAUSES: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EIO: 'the disk reported an input/output error',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EMFILE: 'too many open files',
  ENFILE: 'too many open files',
};

/** What to do where the cause alone does not say it. Nothing of this needs a restart. */
const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'free or add space, writing then goes on by itself',
  EDQUOT: 'raise the quota or free space, writing then goes on by itself',
  EROFS: 'mount it writable, writing then goes on by itself',
};

/** The code of a system error (`ENOENT`); `undefined` for any other error. */
export function systemCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('syscall' in thrown) || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}

/** True of an error that says what the disk refused, to a file or to the database. */
export function isDiskRefusal(thrown: unknown): boolean {
  if (!(thrown instanceof UnavailableError)) return false;
  const code = systemCode(thrown.cause);
  return code === undefined ? isSqliteRefusal(thrown.cause) : code in CAUSES;
}

/** The error to throw instead; what no file system said stays as it is. */
export function diskError(subject: string, thrown: unknown): unknown {
  const code = systemCode(thrown);
  if (code === undefined) return thrown;
  const words = CAUSES[code] ?? messageOf(thrown);
  const remedy = REMEDIES[code];
  return new UnavailableError(`${subject}: ${words} (${code})${remedy === undefined ? '' : `; ${remedy}`}`, {
    cause: thrown,
  });
}
