/** Manifests in memory: never older than what a writer was told, never for longer than they can be delivered. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WarmManifests } from '#content/warm-manifests.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestToBytes } from '#domain/digest.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { parseTag } from '#domain/name.ts';
import { mintEpoch, type RegionNumber } from '#domain/region.ts';
import type { ManifestRow } from '#storage/metadata.ts';
import { ViewWriteListeners } from '#storage/view-write-listeners.ts';
import {
  blobOf,
  type ContentRig,
  contextOf,
  imageOf,
  LATEST,
  OTHER,
  openContentRig,
  pushBlob,
  REPOSITORY,
} from './content-rig.ts';

const CONFIG = blobOf(100, 1);
const ONE = imageOf([CONFIG, blobOf(300, 2)]);
const TWO = imageOf([CONFIG, blobOf(300, 3)]);
const TAG_KEY = { kind: CLAIM_KIND.tag, repository: REPOSITORY, name: LATEST };

async function push(rig: ContentRig, image: ManifestRow): Promise<void> {
  await pushBlob(rig, CONFIG.bytes);
  for (const seed of [2, 3]) await pushBlob(rig, blobOf(300, seed).bytes);
  await rig.writer.putManifest(
    { repository: REPOSITORY, reference: { tag: LATEST }, bytes: image.bytes, contentType: image.mediaType },
    contextOf(),
  );
}

/** A rig whose reader has the tag in memory. */
async function openWarm(): Promise<ContentRig> {
  const rig = await openContentRig();
  await push(rig, ONE);
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST), undefined);
  await rig.reader.manifest(REPOSITORY, { tag: LATEST }, contextOf());
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST)?.digest, ONE.digest);
  return rig;
}

async function digestOfTag(rig: ContentRig): Promise<string> {
  return (await rig.reader.manifest(REPOSITORY, { tag: LATEST }, contextOf())).digest;
}

test('warm manifests: whoever was told that a tag moved finds it moved', async () => {
  await using rig = await openWarm();
  await push(rig, TWO);
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST), undefined);
  assert.equal(await digestOfTag(rig), TWO.digest);
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST)?.digest, TWO.digest);
});

test('warm manifests: a tag that was deleted is gone', async () => {
  await using rig = await openWarm();
  await rig.writer.deleteManifest(REPOSITORY, { tag: LATEST }, contextOf());
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST), undefined);
  await assert.rejects(digestOfTag(rig), { code: 'MANIFEST_UNKNOWN' });
});

test('warm manifests: a manifest that was deleted by digest is gone', async () => {
  await using rig = await openWarm();
  await rig.writer.deleteManifest(REPOSITORY, { digest: ONE.digest }, contextOf());
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST), undefined);
});

test('warm manifests: what another region announced counts as soon as it is applied', async () => {
  await using rig = await openWarm();
  await push(rig, TWO);
  await digestOfTag(rig);
  const dot = { region: 2 as RegionNumber, epoch: mintEpoch(1, 1), sequence: 7 };
  const [stored] = await rig.metadata.claims.ofKeys([TAG_KEY]);
  const committed = await rig.metadata.claims.commit({
    guards: [{ key: TAG_KEY, revision: stored?.revision ?? 0 }],
    own: [],
    foreign: [{ key: TAG_KEY, dot, bytes: new Uint8Array(100) }],
    views: [
      {
        ...{ ...TAG_KEY, live: true, value: digestToBytes(ONE.digest), principal: 'eve', conflict: false },
        winner: { dot, changedMs: 1 },
      },
    ],
    cursors: [],
    observed: HYBRID_TIME_ZERO,
    manifests: [],
    nowMs: 1,
  });
  assert.equal(committed.outcome, 'committed');
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST), undefined);
  assert.equal(await digestOfTag(rig), ONE.digest);
});

test('warm manifests: a commit that was refused leaves nothing in memory either', async () => {
  await using rig = await openWarm();
  const refused = await rig.metadata.claims.commit({
    guards: [{ key: TAG_KEY, revision: 999 }],
    own: [],
    foreign: [],
    views: [
      {
        ...{ ...TAG_KEY, live: false, value: new Uint8Array(), principal: 'eve', conflict: false },
        winner: { dot: { region: 2 as RegionNumber, epoch: mintEpoch(1, 1), sequence: 7 }, changedMs: 1 },
      },
    ],
    cursors: [],
    observed: HYBRID_TIME_ZERO,
    manifests: [],
    nowMs: 1,
  });
  assert.equal(refused.outcome, 'conflict');
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST), undefined);
  assert.equal(await digestOfTag(rig), ONE.digest);
});

test('warm manifests: what may not be delivered any more is asked for anew', async () => {
  await using rig = await openWarm();
  rig.clock.advance(60_001);
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST), undefined);
  await digestOfTag(rig);
  assert.equal(rig.reader.warmManifest(REPOSITORY, LATEST)?.digest, ONE.digest);
});

test('warm manifests: what was read while a write settled is not remembered', () => {
  const viewWrites = new ViewWriteListeners();
  using warm = new WarmManifests<ManifestRow>({ viewWrites });
  const at = warm.moment;
  viewWrites.tell([TAG_KEY]);
  warm.remember(REPOSITORY, LATEST, { found: ONE, at });
  assert.equal(warm.get(REPOSITORY, LATEST), undefined);
});

test('warm manifests: of two reads on the way, the one that was answered first stays', () => {
  const viewWrites = new ViewWriteListeners();
  using warm = new WarmManifests<ManifestRow>({ viewWrites });
  const at = warm.moment;
  warm.remember(REPOSITORY, LATEST, { found: TWO, at });
  warm.remember(REPOSITORY, LATEST, { found: ONE, at });
  assert.equal(warm.get(REPOSITORY, LATEST), TWO);
});

test('warm manifests: a write to one tag forgets that tag alone', () => {
  const viewWrites = new ViewWriteListeners();
  using warm = new WarmManifests<ManifestRow>({ viewWrites });
  for (const repository of [REPOSITORY, OTHER])
    warm.remember(repository, LATEST, { found: ONE, at: warm.moment });
  warm.remember(REPOSITORY, parseTag('v1'), { found: ONE, at: warm.moment });
  viewWrites.tell([TAG_KEY]);
  assert.equal(warm.get(REPOSITORY, LATEST), undefined);
  assert.equal(warm.get(OTHER, LATEST), ONE);
  assert.equal(warm.get(REPOSITORY, parseTag('v1')), ONE);
});

test('warm manifests: memory is bounded by bytes', () => {
  using warm = new WarmManifests<ManifestRow>({ viewWrites: new ViewWriteListeners() });
  const found = { ...ONE, bytes: new Uint8Array(4 * 1024 * 1024) };
  for (let n = 0; n < 9; n += 1) warm.remember(REPOSITORY, parseTag(`v${n}`), { found, at: warm.moment });
  assert.equal(warm.get(REPOSITORY, parseTag('v0')), undefined);
  assert.equal(warm.get(REPOSITORY, parseTag('v8')), found);
});
