/** Tags in conflict: which sides are listed, and what may be chosen; over real regions in `test/processes`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IndexChange } from '#content/claim-writer.ts';
import { digestToBytes } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import { parseTag } from '#domain/name.ts';
import { parseRegionNumber } from '#domain/region.ts';
import type { Claim } from '#mesh/claims/claim-codec.ts';
import { ConflictBook } from '#mesh/conflicts/conflict-book.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import type { ClaimKey, ViewRow } from '#storage/metadata.ts';
import { contextOf } from '#test/client/counterpart.ts';
import { claimOf } from '#test/mesh/claims/claims-by-hand.ts';
import { digestNamed, epochOf, REPOSITORY, tagKey } from '#test/mesh/claims/tiny-mesh.ts';

const V1 = { repository: REPOSITORY, tag: parseTag('v1') };
const START = { repository: '', tag: '' };

/** A side of the conflict of `v1`, pushed in a region at a time. */
function side(region: number, value: string, changes: Partial<Claim> & { readonly ms?: number } = {}) {
  const { ms = 1000 * region, ...rest } = changes;
  return claimOf(region, {
    name: 'v1',
    dot: { region: parseRegionNumber(region), epoch: epochOf(region), sequence: region },
    time: { ms, counter: 0 },
    value: digestToBytes(digestNamed(value)),
    principal: `user-${region}`,
    ...rest,
  }).bytes;
}

const SIDES = [side(1, 'one'), side(2, 'two')];

/** A book over claims by tag; `inView` are the tags whose view says conflict. */
function bookOf(
  claims: Readonly<Record<string, readonly Uint8Array[]>>,
  {
    inView = Object.keys(claims),
    located = [],
  }: { inView?: readonly string[]; located?: readonly Uint8Array[] } = {},
) {
  const written: { readonly changes: readonly IndexChange[]; readonly seen: readonly Uint8Array[] }[] = [];
  const metrics = new Registry();
  const rowOf = (key: ClaimKey): ViewRow => ({
    ...key,
    live: true,
    value: new Uint8Array(),
    dot: { region: parseRegionNumber(1), epoch: epochOf(1), sequence: 1 },
    changedMs: 1,
    principal: 'alice',
    conflict: true,
  });
  const book = new ConflictBook({
    views: {
      conflicts: async (_kind, after, limit) =>
        inView
          .filter((name) => name > after.name)
          .slice(0, limit)
          .map((name) => rowOf(tagKey(name))),
    },
    rows: {
      ofKeys: async (keys) => keys.map((key) => ({ key, revision: 1, claims: claims[key.name] ?? [] })),
    },
    observer: { look: async () => located },
    claims: {
      write: async (changes, { seen = [] }) => {
        written.push({ changes, seen });
        return { region: parseRegionNumber(1), epoch: epochOf(1), sequence: 9 };
      },
    },
    roster: {
      nameOf: (number) => `region-${number}`,
      grants: { of: () => undefined, isEdge: () => false, limited: () => ({}) },
    },
    log: silentLog,
    metrics,
  });
  return { book, written, metrics };
}

function refused(pattern: RegExp): (thrown: unknown) => boolean {
  return (thrown) => thrown instanceof RegistryError && thrown.status === 409 && pattern.test(thrown.message);
}

test('conflict book: what is none of the sides is refused, and nothing is written', async () => {
  const { book, written } = bookOf({ v1: SIDES });
  for (const to of [digestNamed('three'), 'region-3', 'nonsense', 'sha256:']) {
    await assert.rejects(
      book.resolve({ ...V1, to }, contextOf()),
      refused(
        /is no side of the conflict of team\/app:v1; there are sha256:\w+ of region-2, sha256:\w+ of region-1/,
      ),
    );
  }
  assert.deepEqual(written, []);
});

test('conflict book: a region with two sides, before and after it was restored, must be chosen by digest', async () => {
  const restored = side(1, 'restored', {
    dot: { region: parseRegionNumber(1), epoch: epochOf(99), sequence: 1 },
  });
  const { book, written } = bookOf({ v1: [...SIDES, restored] });
  await assert.rejects(
    book.resolve({ ...V1, to: 'region-1' }, contextOf()),
    refused(/region-1 has several sides/),
  );
  await book.resolve({ ...V1, to: digestNamed('restored') }, contextOf());
  assert.equal(written.length, 1);
});

test('conflict book: what somebody settled elsewhere a moment ago is not settled again', async () => {
  const settled = side(3, 'settled', {
    context: [1, 2].map((n) => ({ region: parseRegionNumber(n), epoch: epochOf(n), sequence: n })),
  });
  const { book, written } = bookOf({ v1: SIDES }, { located: [settled] });
  assert.equal(await book.resolve({ ...V1, to: 'region-1' }, contextOf()), undefined);
  assert.deepEqual(written, []);
});

test('conflict book: a tag that is in no conflict, or unknown, is neither shown nor resolved', async () => {
  const { book } = bookOf({ v1: [side(1, 'one')] });
  assert.equal(await book.find(V1), undefined);
  assert.equal(await book.find({ ...V1, tag: parseTag('v2') }), undefined);
  assert.equal(await book.resolve({ ...V1, to: 'region-1' }, contextOf()), undefined);
});

test('conflict book: every side is shown, the winner first, since the second of them was pushed', async () => {
  const { book } = bookOf({
    v1: [side(1, 'one', { ms: 500 }), side(2, 'two', { ms: 300 }), side(3, 'one', { ms: 200 })],
  });
  const conflict = await book.find(V1);
  assert.deepEqual(
    conflict?.sides.map(({ digest, region, principal, changedMs, wins }) => [
      digest,
      region,
      principal,
      changedMs,
      wins,
    ]),
    [
      [digestNamed('one'), 'region-1', 'user-1', 500, true],
      [digestNamed('two'), 'region-2', 'user-2', 300, false],
      [digestNamed('one'), 'region-3', 'user-3', 200, false],
    ],
  );
  assert.equal(conflict?.sinceMs, 300);
});

test('conflict book: a choice is written with what the look found, so that the claim covers all sides', async () => {
  for (const to of [digestNamed('one'), 'region-1']) {
    const located = [side(3, 'three')];
    const { book, written } = bookOf({ v1: SIDES }, { located });
    const digest = digestNamed('one');
    assert.deepEqual(await book.resolve({ ...V1, to }, contextOf()), { ...V1, digest });
    assert.deepEqual(written, [{ changes: [{ change: 'set-tag', ...V1, digest }], seen: located }]);
  }
});

test('conflict book: a page of which some were resolved meanwhile still says where to go on', async () => {
  const claims = { a: [side(1, 'one', { name: 'a' })], b: [side(1, 'one', { name: 'b' })], v1: SIDES };
  const { book } = bookOf(claims);
  assert.deepEqual(await book.list(START, 2), {
    conflicts: [],
    next: { repository: REPOSITORY, tag: 'b' },
  });
  const { conflicts, next } = await book.list({ repository: REPOSITORY, tag: 'b' }, 2);
  assert.deepEqual([conflicts.map(({ tag }) => tag), next], [['v1'], undefined]);
});

test('conflict book: the metric counts what is open, over all pages', async () => {
  const inView = Array.from({ length: 2500 }, (_, n) => `t${String(n).padStart(4, '0')}`);
  const { metrics } = bookOf({}, { inView });
  assert.match(await metrics.metrics(), /^fairway_conflicts 2500$/m);
});
