/**
 * Conditional requests. The entity tag of content is its quoted digest, which is strong by nature: equal tags mean
 * equal bytes, in every region. Source: RFC 9110, 8.8.3 and 13.1. Unquoted digests are accepted as well, because
 * the reference registry accepts them.
 */
import type { Digest } from '#domain/digest.ts';

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

/** `If-Range`: true when a range may be answered; a date or another tag asks for the whole instead. */
export function allowsRange(ifRange: string | undefined, digest: Digest): boolean {
  return ifRange === undefined || names(ifRange.trim(), digest);
}

function names(tag: string, digest: Digest): boolean {
  return tag === digest || tag === entityTag(digest);
}
