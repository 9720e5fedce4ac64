/** The law of epochs: one begins at sequence 0 with the time going on, and the former stays as a closed origin. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { CLAIM_HEAD_BYTES } from '#domain/claim-layout.ts';
import { compareHybridTimes, HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { parseEpoch } from '#domain/region.ts';
import type { Metadata } from '#storage/metadata.ts';

const [NEXT, LATER] = [parseEpoch('00000000000000bb'), parseEpoch('00000000000000cc')];
const ALWAYS = Number.MAX_SAFE_INTEGER;

export function epochSuite(name: string, open: () => Promise<Metadata>): void {
  test(`${name}: an epoch begins only in place of the one that is named, below the sequence that is named`, async () => {
    await using metadata = await open();
    await write(metadata, 'a');
    const before = await metadata.claims.origin();
    const stale = { former: NEXT, epoch: LATER, below: ALWAYS };
    assert.deepEqual(await metadata.claims.beginEpoch(stale), before);
    assert.deepEqual(await metadata.claims.beginEpoch({ ...stale, former: before.epoch, below: 1 }), before);
    assert.deepEqual(await metadata.claims.cursors(), []);
  });

  test(`${name}: it begins at sequence 0, its time going on, and the former is a closed origin`, async () => {
    await using metadata = await open();
    for (const tag of ['a', 'b']) await write(metadata, tag);
    const before = await metadata.claims.origin();
    const { region, epoch: former } = before;
    const begun = await metadata.claims.beginEpoch({ former, epoch: NEXT, below: 3 });
    assert.deepEqual(begun, { ...before, epoch: NEXT, sequence: 0 });
    assert.deepEqual(await metadata.claims.origin(), begun);
    assert.deepEqual(await metadata.claims.cursors(), [{ region, epoch: former, have: 2, safe: 2 }]);
    await write(metadata, 'a', 1);
    const after = await metadata.claims.origin();
    assert.deepEqual([after.epoch, after.sequence], [NEXT, 1]);
    assert.ok(compareHybridTimes(after.time, before.time) > 0);
    const sequences = async (epoch: typeof former) => {
      const claims = await metadata.claims.range({ region, epoch, after: 0, maxCount: 9, maxBytes: 9999 });
      return claims.map((claim) => claim.sequence);
    };
    assert.deepEqual([await sequences(former), await sequences(NEXT)], [[1, 2], [1]]);
  });

  test(`${name}: an epoch without claims leaves nothing behind`, async () => {
    await using metadata = await open();
    const { epoch } = await metadata.claims.origin();
    await metadata.claims.beginEpoch({ former: epoch, epoch: NEXT, below: ALWAYS });
    await metadata.claims.beginEpoch({ former: NEXT, epoch: LATER, below: ALWAYS });
    assert.deepEqual(await metadata.claims.cursors(), []);
    assert.equal((await metadata.claims.origin()).epoch, LATER);
  });
}

/** Time stands still, so that only what is kept of it makes the next one later. */
async function write(metadata: Metadata, name: string, revision = 0): Promise<void> {
  const key = { kind: CLAIM_KIND.tag, repository: 'team/app', name };
  const result = await metadata.claims.commit({
    guards: [{ key, revision }],
    own: [{ key, bytes: new Uint8Array(CLAIM_HEAD_BYTES) }],
    foreign: [],
    views: [],
    cursors: [],
    observed: HYBRID_TIME_ZERO,
    manifests: [],
    nowMs: 1000,
  });
  assert.equal(result.outcome, 'committed');
}
