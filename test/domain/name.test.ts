/** Names that are made, not parsed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf, hexOf } from '#domain/digest.ts';
import { parseTag, referrersTag } from '#domain/name.ts';

test('name: the tag of referrers is the algorithm and 64 characters of the hash, and a tag', () => {
  const short = digestOf('subject');
  assert.equal(referrersTag(short), `sha256-${hexOf(short)}`);
  const long = digestOf('subject', 'sha512');
  assert.equal(referrersTag(long), `sha512-${hexOf(long).slice(0, 64)}`);
  for (const digest of [short, long]) assert.equal(parseTag(referrersTag(digest)), referrersTag(digest));
});
