/**
 * The target of a request: its decoded path and its query.
 *
 * No name of the API needs more than an escaped colon, so what could be read in two ways is refused rather than
 * repaired: escapes that are no UTF-8, an escaped slash, dot segments, and paths longer than any name can be.
 */
import { RegistryError } from '#domain/errors.ts';

/** The longest legal target (two names of 255, a digest of 135, an upload's id) is below 1,000 characters. */
const TARGET_LENGTH_MAX = 2048;
const ABSOLUTE = /^https?:\/\/[^/?#]*/i;
const DOT_SEGMENT = /(?:^|\/)\.{1,2}(?:\/|$)/;
const ESCAPED_SLASH = /%2f|%5c/i;

export type RequestTarget = { readonly path: string; readonly search: string };

/** @throws RegistryError NAME_INVALID. */
export function parseTarget(url: string): RequestTarget {
  if (url.length > TARGET_LENGTH_MAX) {
    throw new RegistryError('NAME_INVALID', `the path is longer than ${TARGET_LENGTH_MAX} characters`);
  }
  const local = url.startsWith('/') ? url : url.replace(ABSOLUTE, '');
  const mark = local.indexOf('?');
  const raw = mark === -1 ? local : local.slice(0, mark);
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
