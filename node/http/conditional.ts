/**
 * Conditional requests. The entity tag of content is its quoted digest, which is strong by nature: equal tags mean
 * equal bytes, in every region. Source: RFC 9110, 8.8.3 and 13.1. Unquoted digests are accepted as well, because
 * the reference registry accepts them.
 */
import type { Digest } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';

export function entityTag(digest: Digest): string {
  return `"${digest}"`;
}

/** `If-None-Match`: true when the client has these very bytes, and 304 is the answer. */
export function isUnchanged(ifNoneMatch: string | undefined, digest: Digest): boolean {
  if (ifNoneMatch === undefined) return false;
  return ifNoneMatch.split(',').some((candidate) => {
    const tag = candidate.trim();
    return tag === '*' || names(tag.startsWith('W/') ? tag.slice(2) : tag, digest);
  });
}

/** What a request says of the present state; both may be absent. */
type Conditions = { readonly 'if-match'?: string | undefined; readonly 'if-none-match'?: string | undefined };

/** True when there is something to ask of the present state before a write. */
export function isConditional(headers: Conditions): boolean {
  return headers['if-match'] !== undefined || headers['if-none-match'] !== undefined;
}

/**
 * For a read only `If-Match` counts: `If-None-Match` is answered 304 instead.
 * @throws RegistryError UNSUPPORTED (412) when what is there is not what the client goes by; `undefined`: nothing is.
 */
export function refuseUnless(
  headers: Conditions,
  present: Digest | undefined,
  access: 'read' | 'write',
): void {
  const { 'if-match': match, 'if-none-match': noneMatch } = headers;
  const isWanted = match === undefined || (present !== undefined && lists(match, present));
  const isUnwanted = access === 'write' && present !== undefined && isUnchanged(noneMatch, present);
  if (isWanted && !isUnwanted) return;
  const message = `the request goes by another state; here ${present === undefined ? 'nothing' : present} is`;
  throw new RegistryError('UNSUPPORTED', message, { status: 412 });
}

/** By strong comparison: a weak tag matches nothing. */
function lists(ifMatch: string, digest: Digest): boolean {
  return ifMatch.split(',').some((candidate) => candidate.trim() === '*' || names(candidate.trim(), digest));
}

/** `If-Range`: true when a range may be answered; a date or another tag asks for the whole instead. */
export function allowsRange(ifRange: string | undefined, digest: Digest): boolean {
  return ifRange === undefined || names(ifRange.trim(), digest);
}

function names(tag: string, digest: Digest): boolean {
  return tag === digest || tag === entityTag(digest);
}
