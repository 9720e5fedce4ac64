/**
 * The target of a request: its decoded path and its query.
 *
 * No name of the API needs more than an escaped colon, so what could be read in two ways is refused rather than
 * repaired: escapes that are no UTF-8, an escaped slash, dot segments, and paths longer than any name can be.
 */
import { RegistryError } from '#domain/errors.ts';

/** The longest legal path (a name of 255, a digest of 135, an upload's id) is below 500 characters. */
const PATH_LENGTH_MAX = 2048;
/** Room for a query of 48 of the longest tags; Node refuses a request whose head has more than 16 KiB by itself. */
const TARGET_LENGTH_MAX = 8192;
const ABSOLUTE = /^https?:\/\/[^/?#]*/i;
const DOT_SEGMENT = /(?:^|\/)\.{1,2}(?:\/|$)/;
const ESCAPED_SLASH = /%2f|%5c/i;

export type RequestTarget = { readonly path: string; readonly search: string };

/** @throws RegistryError NAME_INVALID; UNSUPPORTED (414) when the query is too long. */
export function parseTarget(url: string): RequestTarget {
  const local = url.startsWith('/') ? url : url.replace(ABSOLUTE, '');
  const mark = local.indexOf('?');
  const raw = mark === -1 ? local : local.slice(0, mark);
  if (raw.length > PATH_LENGTH_MAX) {
    throw new RegistryError('NAME_INVALID', `the path is longer than ${PATH_LENGTH_MAX} characters`);
  }
  if (local.length > TARGET_LENGTH_MAX) {
    const message = `path and query are longer than ${TARGET_LENGTH_MAX} characters`;
    throw new RegistryError('UNSUPPORTED', message, { status: 414 });
  }
  const path = decoded(raw);
  if (DOT_SEGMENT.test(path)) throw new RegistryError('NAME_INVALID', 'the path has a dot segment');
  return { path, search: mark === -1 ? '' : local.slice(mark + 1) };
}

function decoded(raw: string): string {
  if (!raw.includes('%')) return raw;
  if (ESCAPED_SLASH.test(raw)) throw new RegistryError('NAME_INVALID', 'the path has an escaped slash');
  try {
    return decodeURIComponent(raw);
  } catch (cause) {
    throw new RegistryError('NAME_INVALID', 'the path has an escape that is not UTF-8', { cause });
  }
}
