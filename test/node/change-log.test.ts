/** The log of changes: the claims of all origins in one line, the newest first, in bounded pages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestOf, digestToBytes } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import { type Epoch, parseEpoch, parseRegionNumber } from '#domain/region.ts';
import type { Change, ChangePage, ChangeQuery } from '#http/views.ts';
import { type Claim, encodeClaim } from '#mesh/claims/claim-codec.ts';
import { ClaimLog } from '#node/change-log.ts';
import type { ClaimRange, StoredClaim } from '#storage/metadata.ts';
import { contextOf } from '#test/access/access-rig.ts';

const [ONE, TWO] = [parseEpoch('00000000000000aa'), parseEpoch('00000000000000bb')];
const DIGEST = digestOf('a manifest');

test('change log: a cursor that is none is 400', async () => {
  const { log } = openLog([]);
  for (const cursor of [
    'x',
    Buffer.from('{}').toString('base64url'),
    Buffer.from('[[0,"z",1]]').toString('base64url'),
  ]) {
    const thrown = await log
      .read({ sinceMs: 0, limit: 1, cursor }, contextOf())
      .catch((error: unknown) => error);
    assert.ok(thrown instanceof RegistryError && thrown.status === 400, cursor);
  }
});

test('change log: without claims it is empty, and there is no next page', async () => {
  assert.deepEqual(await openLog([]).log.read({ sinceMs: 0, limit: 10 }, contextOf()), { changes: [] });
});

test('change log: a reader who left is not read for', async () => {
  const { log, ranges } = openLog([claim(1, 1, 10)]);
  const context = { ...contextOf(), signal: AbortSignal.abort(new Error('gone')) };
  await assert.rejects(log.read({ sinceMs: 0, limit: 10 }, context), /gone/);
  assert.equal(ranges.length, 0);
});

test('change log: origins are merged by time, the newest first', async () => {
  const { all } = openLog([
    claim(1, 1, 10),
    claim(1, 5, 30),
    claim(2, 1, 20),
    claim(2, 2, 40, { state: 'deleted' }),
  ]);
  const changes = await all({});
  assert.deepEqual(
    changes.map(({ atMs, region, change, digest }) => [atMs, region, change, digest]),
    [
      [40, 'region-2', 'deleted', ''],
      [30, 'region-1', 'set', DIGEST],
      [20, 'region-2', 'set', DIGEST],
      [10, 'region-1', 'set', DIGEST],
    ],
  );
  assert.deepEqual(changes[1], {
    ...{ atMs: 30, region: 'region-1', who: 'ada', kind: 'tag', change: 'set' },
    ...{ repository: 'prod/web', name: 'v5', digest: DIGEST, version: `region-1.${ONE}.5` },
    refused: false,
  });
});

test('change log: by repository, by who, and since when', async () => {
  const { all } = openLog([
    claim(1, 1, 10, { repository: 'prod/web' }),
    claim(1, 2, 20, { repository: 'team/web', principal: 'bob' }),
    claim(1, 3, 30, { kind: CLAIM_KIND.account, repository: '', name: 'bob', principal: 'bob' }),
    claim(1, 4, 40, { kind: 77, repository: '', name: 'x' }),
  ]);
  const times = async (query: Partial<ChangeQuery>) => (await all(query)).map(({ atMs }) => atMs);
  assert.deepEqual(await times({ repository: 'prod/**' }), [10]);
  assert.deepEqual(await times({ repository: '**' }), [20, 10]);
  assert.deepEqual(await times({ who: 'bob' }), [30, 20]);
  assert.deepEqual(await times({ sinceMs: 20 }), [40, 30, 20]);
  assert.deepEqual(
    (await all({})).map(({ kind }) => kind),
    ['kind 77', 'account', 'tag', 'tag'],
  );
});

test('change log: pages of any size give every change once, also over gaps', async () => {
  const claims = [1, 2, 3, 199, 200, 201, 202, 5000, 5001].map((sequence) => claim(1, sequence, sequence));
  claims.push(...[1, 2, 700].map((sequence) => claim(2, sequence, sequence)));
  const expected = claims.map(({ time }) => time.ms).sort((a, b) => b - a);
  for (const limit of [1, 2, 5, 1000]) {
    const { all } = openLog(claims);
    assert.deepEqual(
      (await all({ limit })).map(({ atMs }) => atMs),
      expected,
      `${limit}`,
    );
  }
});

test('change log: a page looks at a bounded part, and its cursor goes on from there', async () => {
  const { log, ranges, all } = openLog([claim(1, 1, 1), claim(1, 100_000, 100_000)]);
  const first = await log.read({ sinceMs: 0, limit: 10 }, contextOf());
  assert.deepEqual([first.changes.length, ranges.length], [1, 100]);
  assert.notEqual(first.next, undefined);
  assert.deepEqual(
    (await all({})).map(({ atMs }) => atMs),
    [100_000, 1],
  );
});

test('change log: a window of large manifests takes several reads, and loses nothing', async () => {
  const claims = Array.from({ length: 30 }, (_, position) => claim(1, position + 1, position + 1));
  const { all } = openLog(claims, { rowsMax: 7 });
  assert.deepEqual(
    (await all({ limit: 4 })).map(({ atMs }) => atMs),
    claims.map(({ time }) => time.ms).reverse(),
  );
});

/** `rowsMax`: a read answers no more than this, as one does that is full of manifests. */
function openLog(claims: readonly Claim[], { rowsMax = 1000 } = {}) {
  const ranges: ClaimRange[] = [];
  const headOf = (region: number) =>
    Math.max(0, ...claims.filter(({ dot }) => dot.region === region).map(({ dot }) => dot.sequence));
  const range = async (asked: ClaimRange): Promise<readonly StoredClaim[]> => {
    ranges.push(asked);
    return claims
      .filter(({ dot }) => dot.region === asked.region && dot.epoch === asked.epoch)
      .filter(({ dot }) => dot.sequence > asked.after)
      .sort((a, b) => a.dot.sequence - b.dot.sequence)
      .slice(0, Math.min(asked.maxCount, rowsMax))
      .map((stored) => ({ sequence: stored.dot.sequence, bytes: encodeClaim(stored) }));
  };
  const [one, two] = [headOf(1), headOf(2)];
  const log = new ClaimLog({
    claims: {
      origin: async () => ({
        ...{ region: parseRegionNumber(1), epoch: ONE, sequence: one, time: { ms: 0, counter: 0 } },
      }),
      cursors: async () => [{ region: parseRegionNumber(2), epoch: TWO, have: two, safe: two }],
      range,
    },
    nameOf: (region) => `region-${region}`,
  });
  const all = async (query: Partial<ChangeQuery>): Promise<readonly Change[]> => {
    const found: Change[] = [];
    for (let page: ChangePage | undefined; page === undefined || page.next !== undefined; ) {
      page = await log.read({ sinceMs: 0, limit: 100, ...query, cursor: page?.next }, contextOf());
      assert.ok(page.changes.length <= (query.limit ?? 100));
      found.push(...page.changes);
    }
    return found;
  };
  return { log, ranges, all };
}

function claim(region: number, sequence: number, ms: number, about: Partial<Claim> = {}): Claim {
  const epoch: Epoch = region === 1 ? ONE : TWO;
  return {
    ...{
      kind: CLAIM_KIND.tag,
      state: 'live',
      repository: 'prod/web',
      name: `v${sequence}`,
      principal: 'ada',
    },
    dot: { region: parseRegionNumber(region), epoch, sequence },
    time: { ms, counter: 0 },
    context: [],
    value: digestToBytes(DIGEST),
    ...about,
  };
}
