/** Reading manifests: what is answered 404, what 503, and what is never answered at all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { parseTag } from '#domain/name.ts';
import {
  blobOf,
  type ContentRig,
  contextOf,
  imageOf,
  LATEST,
  manifestOf,
  OTHER,
  openContentRig,
  pushBlob,
  REPOSITORY,
} from './content-rig.ts';
import { RegionWith } from './region-with.ts';
import { TestUpstream } from './test-upstream.ts';

const CONFIG = blobOf(100, 1);
const LAYER = blobOf(3000, 2);
const IMAGE = imageOf([CONFIG, LAYER]);
const BY_TAG = { tag: LATEST };
const BY_DIGEST = { digest: IMAGE.digest };
const LOCAL = { kind: 'local', name: 'eu-west' };

async function pushImage(rig: ContentRig): Promise<void> {
  await pushBlob(rig, CONFIG.bytes);
  await pushBlob(rig, LAYER.bytes);
  await rig.writer.putManifest(
    { repository: REPOSITORY, reference: BY_TAG, bytes: IMAGE.bytes, contentType: IMAGE.mediaType },
    contextOf(),
  );
}

function isUnknown(thrown: unknown): true {
  assert.ok(thrown instanceof RegistryError);
  assert.equal(thrown.code, 'MANIFEST_UNKNOWN');
  return true;
}

test('reader: a tag that everyone denies is unknown', async () => {
  await using rig = await openContentRig();
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_TAG, contextOf()), isUnknown);
  assert.deepEqual(rig.resolved, ['team/app:latest']);
});

test('reader: a tag whose absence is not proven is unavailable, and the silent regions are named', async () => {
  await using rig = await openContentRig();
  rig.answer = { outcome: 'unknown', silent: ['us-east', 'ap-south'] };
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_TAG, contextOf()), (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.deepEqual(thrown.tried, ['us-east: did not answer', 'ap-south: did not answer']);
    return true;
  });
});

test('reader: a region that asks is answered from here, and nobody else is asked', async () => {
  await using rig = await openContentRig();
  const region = new RegionWith('us-east', [IMAGE], [CONFIG, LAYER]);
  rig.upstreams = [region];
  rig.answer = { outcome: 'found', digest: IMAGE.digest, source: LOCAL as never };
  const peer = contextOf(undefined, 'ap-south');
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_TAG, peer), isUnknown);
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_DIGEST, peer), isUnknown);
  assert.deepEqual(rig.resolved, []);
  await pushImage(rig);
  assert.deepEqual((await rig.reader.manifest(REPOSITORY, BY_TAG, peer)).bytes, new Uint8Array(IMAGE.bytes));
});

test('reader: a digest that nobody has is unknown, and unavailable when somebody is silent', async () => {
  await using rig = await openContentRig();
  rig.upstreams = [new TestUpstream('us-east')];
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_DIGEST, contextOf()), isUnknown);
  rig.upstreams = [new TestUpstream('us-east', { manifests: new UnavailableError('connection refused') })];
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_DIGEST, contextOf()), UnavailableError);
});

test('reader: what was deleted here is not fetched again from who still has it', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  await rig.writer.deleteManifest(REPOSITORY, BY_DIGEST, contextOf());
  rig.upstreams = [new RegionWith('us-east', [IMAGE], [CONFIG, LAYER])];
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_DIGEST, contextOf()), isUnknown);
});

test('reader: a manifest of another repository is not shown in this one', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  await assert.rejects(rig.reader.manifest(OTHER, BY_DIGEST, contextOf()), isUnknown);
});

test('reader: a manifest whose blob nobody has is unavailable, and the blob is named', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  await rig.metadata.blobs.forget(LAYER.digest);
  rig.upstreams = [new TestUpstream('us-east')];
  rig.nowhere.add(LAYER.digest);
  for (const reference of [BY_TAG, BY_DIGEST]) {
    await assert.rejects(rig.reader.manifest(REPOSITORY, reference, contextOf()), (thrown: unknown) => {
      assert.ok(thrown instanceof UnavailableError);
      assert.ok(thrown.message.includes(LAYER.digest), thrown.message);
      return true;
    });
  }
  rig.nowhere.clear();
  assert.equal((await rig.reader.manifest(REPOSITORY, BY_TAG, contextOf())).digest, IMAGE.digest);
});

test('reader: when nobody can say in time who has a blob, the manifest is answered', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  await rig.metadata.blobs.forget(LAYER.digest);
  const asked = rig.clock.timerSet(1000);
  const forever = Promise.withResolvers<never>();
  rig.sourcesOf = () => forever.promise;
  const reading = rig.reader.manifest(REPOSITORY, BY_TAG, contextOf());
  await asked;
  rig.clock.advance(1000);
  assert.equal((await reading).digest, IMAGE.digest);
});

test('reader: a tag that is claimed but whose manifest nobody delivers is unavailable, not unknown', async () => {
  await using rig = await openContentRig();
  await rig.claims.write([{ change: 'set-tag', repository: REPOSITORY, tag: LATEST, digest: IMAGE.digest }], {
    principal: 'ada',
    signal: contextOf().signal,
  });
  rig.upstreams = [new TestUpstream('us-east')];
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_TAG, contextOf()), UnavailableError);
  rig.upstreams = [new RegionWith('us-east', [IMAGE], [CONFIG, LAYER])];
  const read = await rig.reader.manifest(REPOSITORY, BY_TAG, contextOf());
  assert.deepEqual(read.source, { kind: 'region', name: 'us-east' });
  assert.ok((await rig.metadata.manifests.find(IMAGE.digest)) !== undefined, 'it is kept');
});

test('reader: by tag and by digest, byte for byte', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  for (const reference of [BY_TAG, BY_DIGEST]) {
    const { bytes, ...about } = await rig.reader.manifest(REPOSITORY, reference, contextOf());
    assert.ok(Buffer.from(bytes).equals(IMAGE.bytes));
    assert.deepEqual(about, { digest: IMAGE.digest, mediaType: IMAGE.mediaType, source: LOCAL });
  }
  assert.deepEqual(rig.resolved, [], 'what is known here is asked of nobody');
});

test('reader: a tag found elsewhere is answered with its source, and its content is readable from then on', async () => {
  await using rig = await openContentRig();
  const region = new RegionWith('us-east', [IMAGE], [CONFIG, LAYER]);
  rig.upstreams = [region];
  const source = { kind: 'stale', name: 'docker.io' } as const;
  rig.answer = { outcome: 'found', digest: IMAGE.digest, source };
  const read = await rig.reader.manifest(REPOSITORY, BY_TAG, contextOf());
  assert.ok(Buffer.from(read.bytes).equals(IMAGE.bytes));
  assert.deepEqual(read.source, source);
  assert.ok(await rig.metadata.blobs.isReadable(REPOSITORY, LAYER.digest));
  const again = await rig.reader.manifest(REPOSITORY, BY_DIGEST, contextOf());
  assert.deepEqual(again.source, LOCAL);
  await rig.reader.manifest(REPOSITORY, { tag: parseTag('latest') }, contextOf());
  assert.equal(rig.resolved.length, 2, 'a tag that is no claim is asked for each time');
});

test('reader: a manifest that comes with the answer for its tag is verified', async () => {
  await using rig = await openContentRig();
  const source = { kind: 'region', name: 'us-east' } as const;
  const answer = { outcome: 'found', digest: IMAGE.digest, source } as const;
  rig.upstreams = [new TestUpstream('us-east')];
  rig.answer = { ...answer, manifest: manifestOf({ config: {} }) };
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_TAG, contextOf()), UnavailableError);
  rig.answer = { ...answer, manifest: IMAGE };
  assert.equal((await rig.reader.manifest(REPOSITORY, BY_TAG, contextOf())).digest, IMAGE.digest);
});

test('reader: a digest that a reachable region has is found', async () => {
  await using rig = await openContentRig();
  rig.upstreams = [new RegionWith('us-east', [IMAGE], [CONFIG, LAYER])];
  const read = await rig.reader.manifest(REPOSITORY, BY_DIGEST, contextOf());
  assert.deepEqual(read.source, { kind: 'region', name: 'us-east' });
});
