/**
 * The law of the seam `Metadata`, which every dialect passes. Claims and views, which guard each other, have a file
 * of their own: `claim-rows-suite.ts`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import type { Metadata, NewTask, TaskRow } from '#storage/metadata.ts';
import { isRegistryError } from './blob-store-suite.ts';
import { cachedBlobsSuite } from './cached-blobs-suite.ts';
import { claimRowsSuite } from './claim-rows-suite.ts';
import { epochSuite } from './epoch-suite.ts';
import { image, index } from './manifest-samples.ts';
import { readingRightsSuite } from './reading-rights-suite.ts';

type OpenMetadata = () => Promise<Metadata>;

const app = parseRepositoryName('team/app');
const other = parseRepositoryName('team/other');

export function metadataSuite(name: string, open: OpenMetadata): void {
  blobLaws(name, open);
  manifestLaws(name, open);
  presenceLaws(name, open);
  taskLaws(name, open);
  cachedTagLaws(name, open);
  cachedBlobsSuite(name, open);
  claimRowsSuite(name, open);
  readingRightsSuite(name, open);
  epochSuite(name, open);
}

function blobLaws(name: string, open: OpenMetadata): void {
  test(`${name}: a blob is readable only where it was uploaded, mounted or is referred to`, async () => {
    await using metadata = await open();
    const { blobs, manifests } = metadata;
    const digest = digestOf('layer');
    assert.equal(await blobs.find(digest), undefined);
    assert.equal(await blobs.isReadable(app, digest), false);
    await blobs.record({ digest, sizeBytes: 5, source: 'push', storedMs: 7 }, app);
    assert.equal(await blobs.isReadable(app, digest), true);
    assert.equal(await blobs.isReadable(other, digest), false);
    await blobs.link(other, digest);
    await blobs.link(other, digest);
    assert.equal(await blobs.isReadable(other, digest), true);
    assert.equal(await blobs.unlink(other, digest), true);
    assert.equal(await blobs.unlink(other, digest), false);
    assert.equal(await blobs.isReadable(other, digest), false);
    await manifests.record(other, image({ layers: [{ digest, size: 5 }] }));
    assert.equal(await blobs.isReadable(other, digest), true);
    assert.equal(await blobs.unlink(other, digest), false);
  });

  test(`${name}: a blob is forgotten with its links, unless it was used since`, async () => {
    await using metadata = await open();
    const { blobs, blobUses } = metadata;
    const digest = digestOf('layer');
    await blobs.record({ digest, sizeBytes: 5, source: 'push', storedMs: 7 }, app);
    const usedMs = (await blobUses.usedMs(digest)) ?? assert.fail('it is here');
    assert.equal(await blobUses.touch(digest, { nowMs: 10, everyMs: 1 }), true);
    assert.equal(await blobUses.forgetUnused(digest, usedMs), false);
    assert.equal(await blobs.isReadable(app, digest), true);
    assert.equal(await blobUses.forgetUnused(digest, 10), true);
    assert.equal(await blobs.isReadable(app, digest), false);
    assert.equal(await blobUses.forgetUnused(digest, 10), false);
    assert.equal(await blobUses.touch(digest, { nowMs: 20, everyMs: 1 }), false);
  });

  test(`${name}: a blob recorded twice counts once, and not at all when it is forgotten`, async () => {
    await using metadata = await open();
    const { blobs } = metadata;
    assert.deepEqual(await blobs.totals(), { count: 0, sizeBytes: 0 });
    const row = { digest: digestOf('layer'), sizeBytes: 5, source: 'push', storedMs: 7 };
    await blobs.record(row, app);
    await blobs.record({ ...row, source: 'us-east', storedMs: 9 }, other);
    await blobs.record({ digest: digestOf('more'), sizeBytes: 4, source: 'us-east', storedMs: 8 }, app);
    assert.deepEqual(await blobs.find(row.digest), row);
    assert.deepEqual(await blobs.totals(), { count: 2, sizeBytes: 9 });
    await blobs.forget(row.digest);
    await blobs.forget(row.digest);
    assert.equal(await blobs.find(row.digest), undefined);
    assert.deepEqual(await blobs.totals(), { count: 1, sizeBytes: 4 });
  });
}

function manifestLaws(name: string, open: OpenMetadata): void {
  test(`${name}: bytes that are no manifest, or another one, are not kept`, async () => {
    await using metadata = await open();
    const { manifests } = metadata;
    const bytes = new TextEncoder().encode('{"schemaVersion":1}');
    const wrong = { digest: digestOf(bytes), mediaType: MEDIA_TYPE.ociManifest, bytes };
    await assert.rejects(manifests.record(app, wrong), isRegistryError('MANIFEST_INVALID', 400));
    const swapped = { ...image({}), digest: digestOf('another') };
    await assert.rejects(manifests.record(app, swapped), isRegistryError('DIGEST_INVALID', 400));
    assert.equal(await manifests.find(wrong.digest), undefined);
    assert.equal(await manifests.find(swapped.digest), undefined);
  });

  test(`${name}: a manifest keeps its bytes, its repositories and its references in order`, async () => {
    await using metadata = await open();
    const { manifests } = metadata;
    const layers = ['b', 'a', 'b'].map((text) => ({ digest: digestOf(text), size: 1 }));
    const foreign = { digest: digestOf('windows'), size: 9, urls: ['https://example.com/layer'] };
    const manifest = image({ layers: [...layers, foreign], subject: digestOf('subject') });
    assert.equal(await manifests.isLinked(app, manifest.digest), false);
    await manifests.record(app, manifest);
    await manifests.record(app, manifest);
    const found = await manifests.find(manifest.digest);
    assert.deepEqual(
      { ...found, bytes: Buffer.from(found?.bytes ?? []) },
      {
        ...manifest,
        bytes: Buffer.from(manifest.bytes),
      },
    );
    assert.equal(await manifests.isLinked(app, manifest.digest), true);
    assert.equal(await manifests.isLinked(other, manifest.digest), false);
    const references = await manifests.references(manifest.digest);
    assert.deepEqual(
      references.map(({ kind, digest }) => [kind, digest]),
      [
        ['blob', digestOf('config')],
        ...layers.map((layer) => ['blob', layer.digest]),
        ['foreign', foreign.digest],
        ['subject', digestOf('subject')],
      ],
    );
    assert.ok(references.every((reference) => !('platform' in reference)));
  });

  test(`${name}: referrers are those of one repository, ordered by digest`, async () => {
    await using metadata = await open();
    const { manifests } = metadata;
    const subject = digestOf('subject');
    const mine = [1, 2, 3].map((size) => image({ layers: [{ digest: digestOf('sbom'), size }], subject }));
    for (const manifest of mine) await manifests.record(app, manifest);
    await manifests.record(other, image({ layers: [{ digest: digestOf('sbom'), size: 9 }], subject }));
    await manifests.record(app, image({ layers: [{ digest: subject, size: 3 }] }));
    assert.deepEqual(
      (await manifests.referrers(app, subject)).map(({ digest }) => digest),
      mine.map(({ digest }) => digest).toSorted(),
    );
    assert.deepEqual(await manifests.referrers(app, digestOf('nobody')), []);
  });
}

function presenceLaws(name: string, open: OpenMetadata): void {
  test(`${name}: a manifest that is missing makes the count a lower bound`, async () => {
    await using metadata = await open();
    const here = image({ layers: [{ digest: digestOf('layer'), size: 10 }] });
    const away = digestOf('away');
    const root = index([here.digest, away]);
    await metadata.manifests.record(app, root);
    await metadata.manifests.record(app, here);
    await metadata.blobs.record(
      { digest: digestOf('layer'), sizeBytes: 10, source: 'eu-west', storedMs: 5 },
      app,
    );
    assert.deepEqual(await metadata.manifests.presence(root.digest), {
      manifests: 3,
      manifestsHere: 2,
      blobs: 2,
      blobsHere: 1,
      sizeBytes: 16,
      sizeBytesHere: 10,
      missingBlobs: [{ digest: digestOf('config'), sizeBytes: 6 }],
      missingManifests: [away],
      bytesBySource: { 'eu-west': 10 },
      newestStoredMs: 5,
    });
    const unknown = await metadata.manifests.presence(away);
    assert.deepEqual([unknown.manifests, unknown.manifestsHere, unknown.missingManifests], [1, 0, [away]]);
  });

  test(`${name}: presence counts each digest once, and neither subjects nor foreign layers`, async () => {
    await using metadata = await open();
    const shared = { digest: digestOf('shared'), size: 10 };
    const foreign = { digest: digestOf('windows'), size: 9, urls: ['https://example.com/layer'] };
    const one = image({ layers: [shared, shared, foreign], subject: digestOf('subject') });
    const two = image({ layers: [shared, { digest: digestOf('own'), size: 3 }] });
    const inner = index([one.digest, two.digest]);
    const root = index([inner.digest, one.digest]);
    for (const manifest of [root, inner, one, two]) await metadata.manifests.record(app, manifest);
    await metadata.blobs.record({ digest: shared.digest, sizeBytes: 10, source: 'push', storedMs: 4 }, app);
    await metadata.blobs.record(
      { digest: digestOf('own'), sizeBytes: 3, source: 'us-east', storedMs: 6 },
      app,
    );
    await metadata.blobs.record(
      { digest: digestOf('config'), sizeBytes: 6, source: 'push', storedMs: 1 },
      app,
    );
    assert.deepEqual(await metadata.manifests.presence(root.digest), {
      manifests: 4,
      manifestsHere: 4,
      blobs: 3,
      blobsHere: 3,
      sizeBytes: 19,
      sizeBytesHere: 19,
      missingBlobs: [],
      missingManifests: [],
      bytesBySource: { push: 16, 'us-east': 3 },
      newestStoredMs: 6,
    });
  });
}

function taskLaws(name: string, open: OpenMetadata): void {
  test(`${name}: a task whose lease ended is due again, and a lease that was renewed is not`, async () => {
    await using metadata = await open();
    const { tasks } = metadata;
    await tasks.enqueue([task('one', 10), task('two', 11)]);
    assert.deepEqual(await tasks.lease({ nowMs: 9, leaseMs: 100, limit: 10 }), []);
    const taken = await tasks.lease({ nowMs: 20, leaseMs: 100, limit: 10 });
    assert.deepEqual(taken.map(brief), [
      ['one', 'running', 1],
      ['two', 'running', 1],
    ]);
    assert.deepEqual(await tasks.lease({ nowMs: 119, leaseMs: 100, limit: 10 }), []);
    await tasks.renew([idOf(taken, 'one'), 999], 500);
    const again = await tasks.lease({ nowMs: 120, leaseMs: 100, limit: 10 });
    assert.deepEqual(again.map(brief), [['two', 'running', 2]]);
  });

  test(`${name}: tasks are leased by how long they are due, up to a limit`, async () => {
    await using metadata = await open();
    await metadata.tasks.enqueue([task('late', 30), task('early', 10), task('middle', 20)]);
    const first = await metadata.tasks.lease({ nowMs: 50, leaseMs: 10, limit: 2 });
    assert.deepEqual(
      new Set(first.map(({ digest }) => digest)),
      new Set(['early', 'middle'].map((t) => digestOf(t))),
    );
  });

  test(`${name}: settled tasks are done, due later or parked, and counted so`, async () => {
    await using metadata = await open();
    const { tasks } = metadata;
    await tasks.enqueue([task('done', 1), task('later', 1), task('parked', 1), task('queued', 1000)]);
    const taken = await tasks.lease({ nowMs: 5, leaseMs: 100, limit: 10 });
    await tasks.settle(idOf(taken, 'done'), { state: 'done', bytes: 42, nowMs: 6 });
    await tasks.settle(idOf(taken, 'later'), { state: 'queued', retryAtMs: 60, reason: 'slow', nowMs: 7 });
    await tasks.settle(idOf(taken, 'parked'), { state: 'parked', reason: 'forbidden', nowMs: 8 });
    assert.deepEqual(await tasks.counts(), { queued: 2, running: 0, done: 1, parked: 1 });
    const ended = await tasks.list({ states: ['done', 'parked'], limit: 10 });
    assert.deepEqual(
      ended.map(({ digest, state, bytes, reason, changedMs }) => ({
        digest,
        state,
        bytes,
        reason,
        changedMs,
      })),
      [
        { digest: digestOf('parked'), state: 'parked', bytes: 0, reason: 'forbidden', changedMs: 8 },
        { digest: digestOf('done'), state: 'done', bytes: 42, reason: '', changedMs: 6 },
      ],
    );
    assert.deepEqual(await tasks.lease({ nowMs: 59, leaseMs: 1, limit: 10 }), []);
    const retried = await tasks.lease({ nowMs: 60, leaseMs: 1, limit: 10 });
    assert.deepEqual(retried.map(brief), [['later', 'running', 2]]);
    assert.equal((await tasks.list({ states: ['done', 'parked', 'queued', 'running'], limit: 3 })).length, 3);
  });

  test(`${name}: enqueueing again reopens what ended, and leaves alone what did not`, async () => {
    await using metadata = await open();
    const { tasks } = metadata;
    await tasks.enqueue([task('done', 1), task('parked', 1), task('running', 1)]);
    const taken = await tasks.lease({ nowMs: 5, leaseMs: 100, limit: 10 });
    await tasks.settle(idOf(taken, 'done'), { state: 'done', bytes: 42, nowMs: 6 });
    await tasks.settle(idOf(taken, 'parked'), { state: 'parked', reason: 'forbidden', nowMs: 6 });
    await tasks.enqueue([task('done', 50), task('parked', 50), task('running', 50), task('new', 50)]);
    assert.deepEqual(await tasks.counts(), { queued: 3, running: 1, done: 0, parked: 0 });
    const reopened = await tasks.list({ states: ['queued'], limit: 10 });
    assert.ok(
      reopened.every(({ attempts, dueMs, reason }) => attempts === 0 && dueMs === 50 && reason === ''),
    );
  });

  test(`${name}: tasks of policies that are gone are removed, and settling one does nothing`, async () => {
    await using metadata = await open();
    const { tasks } = metadata;
    await tasks.enqueue([
      { ...task('kept', 1), policy: 'kept' },
      { ...task('gone', 1), policy: 'gone' },
      { ...task('also', 1), policy: 'also-gone' },
    ]);
    const taken = await tasks.lease({ nowMs: 5, leaseMs: 100, limit: 10 });
    await tasks.retain(['kept', 'never-was']);
    assert.deepEqual(await tasks.counts(), { queued: 0, running: 1, done: 0, parked: 0 });
    await tasks.settle(idOf(taken, 'gone'), { state: 'done', bytes: 1, nowMs: 6 });
    assert.deepEqual(await tasks.counts(), { queued: 0, running: 1, done: 0, parked: 0 });
    await tasks.retain([]);
    assert.deepEqual(await tasks.counts(), { queued: 0, running: 0, done: 0, parked: 0 });
  });
}

function cachedTagLaws(name: string, open: OpenMetadata): void {
  test(`${name}: cached tags are replaced, removed, and listed in the order of bytes`, async () => {
    await using metadata = await open();
    const { cachedTags } = metadata;
    assert.equal(await cachedTags.get(app, 'latest'), undefined);
    for (const tag of ['b', '_', 'B', '1.9', '1.10']) {
      await cachedTags.put({ repository: app, tag, digest: digestOf('old'), checkedMs: 1 });
    }
    await cachedTags.put({ repository: other, tag: 'a', digest: digestOf('old'), checkedMs: 1 });
    const newer = { repository: app, tag: 'b', digest: digestOf('new'), checkedMs: 2 };
    await cachedTags.put(newer);
    assert.deepEqual(await cachedTags.get(app, 'b'), newer);
    const listed = async (after: string, limit: number) =>
      (await cachedTags.list(app, after, limit)).map(({ tag }) => tag);
    assert.deepEqual(await listed('', 10), ['1.10', '1.9', 'B', '_', 'b']);
    assert.deepEqual(await listed('1.9', 2), ['B', '_']);
    await cachedTags.remove(app, 'b');
    await cachedTags.remove(app, 'b');
    assert.equal(await cachedTags.get(app, 'b'), undefined);
  });
}

function task(content: string, nowMs: number): NewTask {
  return { policy: 'everywhere', repository: app, digest: digestOf(content), tag: 'latest', nowMs };
}

function idOf(tasks: readonly TaskRow[], content: string): number {
  const found = tasks.find(({ digest }) => digest === digestOf(content));
  assert.ok(found, `no task for ${content}`);
  return found.id;
}

function brief(row: TaskRow): readonly [string, string, number] {
  const contents = ['one', 'two', 'later'];
  return [
    contents.find((content) => digestOf(content) === row.digest) ?? row.digest,
    row.state,
    row.attempts,
  ];
}
