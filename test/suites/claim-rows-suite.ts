/**
 * The law of claims and views: a batch is whole or not there, a decision on a stale read is refused, own claims are
 * numbered densely in the order of their commits, and lists are ordered by bytes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { CLAIM_HEAD_BYTES, CLAIM_SEQUENCE_OFFSET, stampClaim } from '#domain/claim-layout.ts';
import { digestOf } from '#domain/digest.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { type Epoch, parseEpoch, parseRegionNumber } from '#domain/region.ts';
import type {
  ClaimBatch,
  ClaimKey,
  ForeignClaim,
  Metadata,
  StoredClaim,
  ViewWrite,
} from '#storage/metadata.ts';
import { isRegistryError } from './blob-store-suite.ts';
import { image } from './manifest-samples.ts';

type OpenMetadata = () => Promise<Metadata>;

const PEER = parseRegionNumber(2);
const EPOCH = parseEpoch('00000000000000aa');
const app = parseRepositoryName('team/app');

export function claimRowsSuite(name: string, open: OpenMetadata): void {
  guardLaws(name, open);
  stampLaws(name, open);
  foreignLaws(name, open);
  rangeLaws(name, open);
  viewLaws(name, open);
}

function guardLaws(name: string, open: OpenMetadata): void {
  test(`${name}: a batch decided on a stale read is refused, and nothing of it is written`, async () => {
    await using metadata = await open();
    const key = tag('latest');
    assert.equal((await commit(metadata, ownTag(key, 0))).outcome, 'committed');
    const manifest = image({});
    const stale = batch({
      ...ownTag(key, 0),
      foreign: [foreign(tag('other'), 1)],
      cursors: [{ region: PEER, epoch: EPOCH, have: 1, safe: 1 }],
      manifests: [{ ...manifest, repository: app }],
      observed: { ms: 900, counter: 0 },
    });
    for (const wrong of [stale, { ...stale, guards: [{ key, revision: 2 }] }]) {
      assert.deepEqual(await metadata.claims.commit(wrong), { outcome: 'conflict' });
    }
    assert.equal((await metadata.claims.origin()).sequence, 1);
    assert.ok((await metadata.claims.origin()).time.ms < 900);
    assert.deepEqual(await metadata.claims.cursors(), []);
    assert.equal(await metadata.manifests.find(manifest.digest), undefined);
    assert.deepEqual((await metadata.claims.ofKeys([tag('other')]))[0]?.claims, []);
  });

  test(`${name}: of many decisions on one read, exactly one is committed`, async () => {
    await using metadata = await open();
    const key = tag('latest');
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, async () => (await commit(metadata, ownTag(key, 0))).outcome),
    );
    assert.deepEqual(outcomes.filter((outcome) => outcome === 'committed').length, 1);
    assert.equal((await metadata.claims.origin()).sequence, 1);
  });

  test(`${name}: one guard that fails undoes its batch and no other of the same moment`, async () => {
    await using metadata = await open();
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, async (_, position) => {
        const key = tag(position % 3 === 0 ? 'contended' : `tag-${position}`);
        return (await commit(metadata, ownTag(key, 0))).outcome;
      }),
    );
    assert.equal(outcomes.filter((outcome) => outcome === 'committed').length, 21);
    assert.equal((await metadata.claims.origin()).sequence, 21);
    assert.deepEqual(
      await sequences(metadata, 0),
      Array.from({ length: 21 }, (_, place) => place + 1),
    );
  });

  test(`${name}: every guarded key is raised, also one without a view, which is then not read as one`, async () => {
    await using metadata = await open();
    const key = tag('touched');
    assert.deepEqual(await metadata.claims.ofKeys([key]), [{ key, revision: 0, claims: [] }]);
    await commit(metadata, { guards: [{ key, revision: 0 }] });
    await commit(metadata, { guards: [{ key, revision: 1 }] });
    assert.equal((await metadata.claims.ofKeys([key]))[0]?.revision, 2);
    assert.equal(await metadata.views.get(key), undefined);
    await commit(metadata, ownTag(key, 2));
    assert.equal((await metadata.views.get(key))?.live, true);
  });

  test(`${name}: a batch of ours with bytes that are no manifest is refused; others' claims come without`, async () => {
    await using metadata = await open();
    const bytes = new TextEncoder().encode('no manifest');
    const bad = { digest: digestOf(bytes), mediaType: 'text/plain', bytes, repository: app };
    const ours = batch({ ...ownTag(tag('latest'), 0), manifests: [bad] });
    await assert.rejects(metadata.claims.commit(ours), isRegistryError('MANIFEST_INVALID', 400));
    assert.equal((await metadata.claims.origin()).sequence, 0);
    const key = tag('theirs');
    const theirs = { guards: [{ key, revision: 0 }], foreign: [foreign(key, 1)], manifests: [bad] };
    assert.equal((await commit(metadata, theirs)).outcome, 'committed');
    assert.equal(await metadata.manifests.find(bad.digest), undefined);
  });
}

function stampLaws(name: string, open: OpenMetadata): void {
  test(`${name}: own claims are stamped with dense sequences and times later than all that was seen`, async () => {
    await using metadata = await open();
    const origin = await metadata.claims.origin();
    const [a, b] = [tag('a'), tag('b')];
    const first = await commit(metadata, {
      guards: [a, b].map((key) => ({ key, revision: 0 })),
      own: [a, b].map((key) => ({ key, bytes: claimBytes(key) })),
      views: [view(a, { own: 0 }), view(b, { own: 1 })],
      observed: { ms: 5000, counter: 3 },
      nowMs: 100,
    });
    assert.deepEqual(first, {
      outcome: 'committed',
      firstSequence: 1,
      origin: { ...origin, sequence: 2, time: { ms: 5000, counter: 5 } },
    });
    const [ofA, ofB] = await metadata.claims.ofKeys([a, b]);
    assert.deepEqual(plain(ofA?.claims[0]), plain(stampClaim(claimBytes(a), 1, { ms: 5000, counter: 4 })));
    assert.deepEqual(plain(ofB?.claims[0]), plain(stampClaim(claimBytes(b), 2, { ms: 5000, counter: 5 })));
    const viewB = await metadata.views.get(b);
    assert.deepEqual(viewB?.dot, { region: origin.region, epoch: origin.epoch, sequence: 2 });
    assert.equal(viewB?.changedMs, 5000);
    const second = await commit(metadata, { ...ownTag(a, 1), nowMs: 6000, observed: { ms: 10, counter: 0 } });
    assert.ok(second.outcome === 'committed');
    assert.equal(second.firstSequence, 3);
    assert.deepEqual(second.origin.time, { ms: 6000, counter: 0 });
    assert.deepEqual(await sequences(metadata, 0), [2, 3]);
  });
}

function foreignLaws(name: string, open: OpenMetadata): void {
  test(`${name}: a claim replaces its origin's older one of that key, never a newer one`, async () => {
    await using metadata = await open();
    const key = tag('latest');
    const revise = async (revision: number, claim: ForeignClaim) =>
      await commit(metadata, { guards: [{ key, revision }], foreign: [claim] });
    await revise(0, foreign(key, 5));
    await revise(1, foreign(key, 4));
    await revise(2, { ...foreign(key, 1), dot: { region: parseRegionNumber(3), epoch: EPOCH, sequence: 1 } });
    await revise(3, {
      ...foreign(key, 2),
      dot: { region: PEER, epoch: 'ff00000000000000' as Epoch, sequence: 2 },
    });
    const [stored] = await metadata.claims.ofKeys([key]);
    assert.deepEqual(stored?.claims.map(sequenceIn), [5, 2, 1]);
    await revise(4, foreign(key, 6));
    assert.deepEqual(await sequences(metadata, 0, PEER, EPOCH), [6]);
  });

  test(`${name}: a view that a foreign claim wins carries that claim's dot and time`, async () => {
    await using metadata = await open();
    const key = tag('latest');
    const claim = foreign(key, 7);
    const write = { ...view(key, { dot: claim.dot, changedMs: 77 }), principal: 'robot', conflict: true };
    await commit(metadata, { guards: [{ key, revision: 0 }], foreign: [claim], views: [write] });
    assert.deepEqual(
      { ...(await metadata.views.get(key)), value: undefined },
      {
        ...key,
        live: true,
        value: undefined,
        dot: claim.dot,
        changedMs: 77,
        principal: 'robot',
        conflict: true,
      },
    );
  });

  test(`${name}: cursors are replaced, per origin and epoch`, async () => {
    await using metadata = await open();
    const cursors = [
      { region: PEER, epoch: EPOCH, have: 5, safe: 3 },
      { region: parseRegionNumber(3), epoch: EPOCH, have: 1, safe: 0 },
    ];
    await commit(metadata, { cursors });
    await commit(metadata, { cursors: [{ region: PEER, epoch: EPOCH, have: 6, safe: 6 }] });
    assert.deepEqual(await metadata.claims.cursors(), [
      { region: PEER, epoch: EPOCH, have: 6, safe: 6 },
      cursors[1],
    ]);
  });
}

function rangeLaws(name: string, open: OpenMetadata): void {
  test(`${name}: a range is in order, bounded by count and bytes, and has at least one claim`, async () => {
    await using metadata = await open();
    const claims = [4, 2, 9, 7].map((sequence) => foreign(tag(`t${sequence}`), sequence));
    await commit(metadata, { guards: claims.map(({ key }) => ({ key, revision: 0 })), foreign: claims });
    assert.deepEqual(await sequences(metadata, 0, PEER, EPOCH), [2, 4, 7, 9]);
    const range = { region: PEER, epoch: EPOCH, after: 2, maxCount: 2, maxBytes: 1_000_000 };
    assert.deepEqual(sequencesOf(await metadata.claims.range(range)), [4, 7]);
    assert.deepEqual(sequencesOf(await metadata.claims.range({ ...range, maxBytes: 1 })), [4]);
    const size = claimBytes(tag('t4')).byteLength;
    assert.deepEqual(
      sequencesOf(await metadata.claims.range({ ...range, maxCount: 9, maxBytes: 2 * size })),
      [4, 7],
    );
    assert.deepEqual(await metadata.claims.range({ ...range, after: 9 }), []);
  });

  test(`${name}: manifests up to 64 KiB ride along with their claims, larger ones do not`, async () => {
    await using metadata = await open();
    const small = image({});
    const layers = Array.from({ length: 600 }, (_, size) => ({ digest: digestOf(`${size}`), size }));
    const large = image({ layers });
    assert.ok(large.bytes.byteLength > 64 * 1024);
    for (const manifest of [small, large]) {
      const key = { kind: CLAIM_KIND.manifest, repository: app, name: manifest.digest };
      const committed = await commit(metadata, {
        ...ownTag(key, 0),
        manifests: [{ ...manifest, repository: app }],
      });
      assert.equal(committed.outcome, 'committed');
      assert.equal(await metadata.manifests.isLinked(app, manifest.digest), true);
    }
    const { region, epoch } = await metadata.claims.origin();
    const [first, second] = await metadata.claims.range({
      region,
      epoch,
      after: 0,
      maxCount: 10,
      maxBytes: 1_000_000,
    });
    assert.equal(first?.manifest?.mediaType, small.mediaType);
    assert.deepEqual(plain(first?.manifest?.bytes), plain(small.bytes));
    assert.equal(second?.sequence, 2);
    assert.equal(second?.manifest, undefined);
  });

  test(`${name}: a manifest is linked where it is announced, also without its bytes`, async () => {
    await using metadata = await open();
    const key = { kind: CLAIM_KIND.manifest, repository: app, name: digestOf('far away') };
    const claim = foreign(key, 1);
    const guards = [{ key, revision: 0 }];
    await commit(metadata, {
      guards,
      foreign: [claim],
      views: [view(key, { dot: claim.dot, changedMs: 1 })],
    });
    assert.equal(await metadata.manifests.isLinked(app, digestOf('far away')), true);
    assert.equal(await metadata.manifests.isLinked(parseRepositoryName('team'), digestOf('far away')), false);
  });
}

function viewLaws(name: string, open: OpenMetadata): void {
  test(`${name}: lists hold the live rows of their kind, ordered by bytes, after a name, up to a limit`, async () => {
    await using metadata = await open();
    const { views } = metadata;
    for (const text of ['b', '_', 'B', '1.9', '1.10', 'dead']) await commit(metadata, ownTag(tag(text), 0));
    await commit(metadata, ownTag({ ...tag('x'), repository: 'team/app2' }, 0));
    await commit(metadata, ownTag({ ...tag('x'), repository: 'a' }, 0));
    await commit(metadata, ownTag({ kind: CLAIM_KIND.policy, repository: '', name: 'everywhere' }, 0));
    const dead = { ...ownTag(tag('dead'), 1), views: [{ ...view(tag('dead'), { own: 0 }), live: false }] };
    await commit(metadata, dead);
    const listed = async (after: string, limit: number) =>
      (await views.list(CLAIM_KIND.tag, app, after, limit)).map((row) => row.name);
    assert.deepEqual(await listed('', 10), ['1.10', '1.9', 'B', '_', 'b']);
    assert.deepEqual(await listed('1.9', 2), ['B', '_']);
    assert.equal((await views.get(tag('dead')))?.live, false);
    assert.equal(await views.count(CLAIM_KIND.tag), 7);
    assert.equal(await views.count(CLAIM_KIND.policy), 1);
    assert.equal(await views.count(CLAIM_KIND.manifest), 0);
    assert.deepEqual(await views.repositories(CLAIM_KIND.tag, '', 10), ['a', 'team/app', 'team/app2']);
    assert.deepEqual(await views.repositories(CLAIM_KIND.tag, 'a', 1), ['team/app']);
    assert.deepEqual(await views.repositories(CLAIM_KIND.policy, '', 10), []);
    const scanned = await views.scan(CLAIM_KIND.tag, { repository: 'team/app', name: '_' }, 2);
    assert.deepEqual(
      scanned.map((row) => [row.repository, row.name]),
      [
        ['team/app', 'b'],
        ['team/app2', 'x'],
      ],
    );
  });

  test(`${name}: keys in conflict are listed in order, until they are not any more`, async () => {
    await using metadata = await open();
    for (const key of [tag('b'), tag('a'), { ...tag('x'), repository: 'a' }, { ...tag('x'), kind: 9 }]) {
      const inConflict = [{ ...view(key, { own: 0 }), conflict: true }];
      await commit(metadata, { ...ownTag(key, 0), views: inConflict });
    }
    await commit(metadata, ownTag(tag('calm'), 0));
    const listed = async (repository: string, name: string, limit: number) =>
      (await metadata.views.conflicts(CLAIM_KIND.tag, { repository, name }, limit)).map((row) => row.name);
    assert.deepEqual(await listed('', '', 10), ['x', 'a', 'b']);
    assert.deepEqual(await listed('', '', 2), ['x', 'a']);
    assert.deepEqual(await listed(app, 'a', 10), ['b']);
    await commit(metadata, ownTag(tag('b'), 1));
    assert.deepEqual(await listed('', '', 10), ['x', 'a']);
  });

  test(`${name}: a repository whose last tag is deleted is no longer named`, async () => {
    await using metadata = await open();
    await commit(metadata, ownTag(tag('only'), 0));
    const gone = { ...ownTag(tag('only'), 1), views: [{ ...view(tag('only'), { own: 0 }), live: false }] };
    await commit(metadata, gone);
    assert.deepEqual(await metadata.views.repositories(CLAIM_KIND.tag, '', 10), []);
    assert.equal(await metadata.views.count(CLAIM_KIND.tag), 0);
    await commit(metadata, ownTag(tag('only'), 2));
    assert.deepEqual(await metadata.views.repositories(CLAIM_KIND.tag, '', 10), [app]);
    assert.equal(await metadata.views.count(CLAIM_KIND.tag), 1);
  });

  test(`${name}: rows are found by their value, short or long`, async () => {
    await using metadata = await open();
    const long = new Uint8Array(5000).fill(7);
    for (const [text, value] of [
      ['one', new Uint8Array([1, 2])],
      ['two', new Uint8Array([1, 2])],
      ['other', new Uint8Array([1, 2, 3])],
      ['long', long],
    ] as const) {
      await commit(metadata, { ...ownTag(tag(text), 0), views: [{ ...view(tag(text), { own: 0 }), value }] });
    }
    const named = async (value: Uint8Array) =>
      (await metadata.views.withValue(CLAIM_KIND.tag, app, value)).map((row) => row.name);
    assert.deepEqual(await named(new Uint8Array([1, 2])), ['one', 'two']);
    assert.deepEqual(await named(long), ['long']);
    assert.deepEqual(await named(new Uint8Array([9])), []);
  });
}

function tag(name: string): ClaimKey {
  return { kind: CLAIM_KIND.tag, repository: app, name };
}

export function batch(parts: Partial<ClaimBatch>): ClaimBatch {
  const empty = { guards: [], own: [], foreign: [], views: [], cursors: [], manifests: [] };
  return { ...empty, observed: HYBRID_TIME_ZERO, nowMs: 100, ...parts };
}

async function commit(metadata: Metadata, parts: Partial<ClaimBatch>) {
  return await metadata.claims.commit(batch(parts));
}

/** One own claim that wins its key. */
export function ownTag(key: ClaimKey, revision: number): Partial<ClaimBatch> {
  return {
    guards: [{ key, revision }],
    own: [{ key, bytes: claimBytes(key) }],
    views: [view(key, { own: 0 })],
  };
}

function view(key: ClaimKey, winner: ViewWrite['winner']): ViewWrite {
  const value = new TextEncoder().encode(key.name);
  return { ...key, live: true, value, winner, principal: 'someone', conflict: false };
}

/** A head of zeros, then a body: all that the store knows of a claim. */
function claimBytes(key: ClaimKey): Uint8Array {
  return Buffer.concat([new Uint8Array(CLAIM_HEAD_BYTES), Buffer.from(key.name)]);
}

function foreign(key: ClaimKey, sequence: number): ForeignClaim {
  const bytes = stampClaim(claimBytes(key), sequence, { ms: sequence, counter: 0 });
  return { key, dot: { region: PEER, epoch: EPOCH, sequence }, bytes };
}

function sequenceIn(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(CLAIM_SEQUENCE_OFFSET + 4);
}

async function sequences(metadata: Metadata, after: number, region?: typeof PEER, epoch?: Epoch) {
  const origin = await metadata.claims.origin();
  const request = { after, maxCount: 1000, maxBytes: 1_000_000 };
  return sequencesOf(
    await metadata.claims.range({
      ...request,
      region: region ?? origin.region,
      epoch: epoch ?? origin.epoch,
    }),
  );
}

function sequencesOf(claims: readonly StoredClaim[]): readonly number[] {
  return claims.map(({ sequence }) => sequence);
}

function plain(bytes: Uint8Array | undefined): readonly number[] {
  return [...(bytes ?? [])];
}
