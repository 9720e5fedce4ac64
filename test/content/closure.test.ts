/** Bringing a whole image here: what is missing, once, children before parents. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Upstream } from '#content/upstream.ts';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import type { ManifestRow } from '#storage/metadata.ts';
import {
  blobOf,
  contextOf,
  descriptorOf,
  imageOf,
  indexOf,
  manifestOf,
  OTHER,
  openContentRig,
  pushBlob,
  REPOSITORY,
} from './content-rig.ts';
import { RegionWith } from './region-with.ts';
import { TestUpstream } from './test-upstream.ts';

const CONFIG = blobOf(100, 1);
const BASE = blobOf(200_000, 2);
const APP = blobOf(5000, 3);
const ARM = blobOf(6000, 4);
const AMD64 = imageOf([CONFIG, BASE, APP]);
const ARM64 = imageOf([CONFIG, BASE, ARM]);
const INDEX = indexOf([AMD64, ARM64]);

test('closure: a manifest that nobody has is unknown', async () => {
  await using rig = await openContentRig();
  rig.upstreams = [new TestUpstream('us-east')];
  await assert.rejects(rig.closure.complete(REPOSITORY, AMD64.digest, contextOf()), (thrown: unknown) => {
    assert.ok(thrown instanceof RegistryError);
    assert.equal(thrown.code, 'MANIFEST_UNKNOWN');
    return true;
  });
});

test('closure: a blob that nobody has leaves the manifest unrecorded, and a repetition goes on', async () => {
  await using rig = await openContentRig();
  const partial = new RegionWith('us-east', [AMD64], [CONFIG, BASE]);
  rig.upstreams = [partial];
  await assert.rejects(rig.closure.complete(REPOSITORY, AMD64.digest, contextOf()), UnavailableError);
  assert.equal(await rig.metadata.manifests.find(AMD64.digest), undefined);
  const whole = new RegionWith('us-east', [AMD64], [CONFIG, BASE, APP]);
  rig.upstreams = [whole];
  // A blob whose fill was under way goes on by itself, so only what is surely missing is compared.
  await rig.closure.complete(REPOSITORY, AMD64.digest, contextOf());
  assert.equal(whole.opened.get(APP.digest), 1);
  assert.ok((await rig.metadata.manifests.find(AMD64.digest)) !== undefined);
});

test('closure: who asked and left stops it', async () => {
  await using rig = await openContentRig();
  rig.upstreams = [new RegionWith('us-east', [AMD64], [CONFIG, BASE, APP])];
  const gone = contextOf(AbortSignal.abort(new Error('gone')));
  await assert.rejects(rig.closure.complete(REPOSITORY, AMD64.digest, gone), /gone/);
});

test('closure: an index with its children and their blobs, each once, children first', async () => {
  await using rig = await openContentRig();
  const region = new RegionWith('us-east', [INDEX, AMD64, ARM64], [CONFIG, BASE, APP, ARM]);
  rig.upstreams = [region];
  const recorded: string[] = [];
  const record = rig.metadata.manifests.record;
  rig.metadata.manifests.record = async (repository, manifest: ManifestRow) => {
    recorded.push(manifest.digest);
    await record(repository, manifest);
  };
  const done = await rig.closure.complete(REPOSITORY, INDEX.digest, contextOf());
  assert.deepEqual(done, { bytes: 211_100, blobs: 4 });
  assert.deepEqual(recorded, [AMD64.digest, ARM64.digest, INDEX.digest]);
  assert.deepEqual([...region.opened.values()], [1, 1, 1, 1]);
  const presence = await rig.metadata.manifests.presence(INDEX.digest);
  assert.deepEqual(presence.missingBlobs, []);
  assert.equal(presence.manifestsHere, 3);
  assert.deepEqual(presence.bytesBySource, { 'us-east': 211_100 });
});

test('closure: what is here is not copied, and is then readable in this repository too', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, BASE.bytes, OTHER);
  const region = new RegionWith('us-east', [AMD64], [CONFIG, BASE, APP]);
  rig.upstreams = [region];
  assert.deepEqual(await rig.closure.complete(REPOSITORY, AMD64.digest, contextOf()), {
    bytes: 5100,
    blobs: 2,
  });
  assert.equal(region.opened.get(BASE.digest), undefined);
  assert.ok(await rig.metadata.blobs.isReadable(REPOSITORY, BASE.digest));
  assert.deepEqual(await rig.closure.complete(REPOSITORY, AMD64.digest, contextOf()), { bytes: 0, blobs: 0 });
});

test('closure: subjects, foreign layers and children that nobody has are not part of it', async () => {
  await using rig = await openContentRig();
  const foreign = { ...descriptorOf(ARM.digest, 6000), urls: ['https://example.test/layer'] };
  const image = manifestOf({
    config: descriptorOf(CONFIG.digest, 100),
    layers: [foreign],
    subject: descriptorOf(AMD64.digest, 10, AMD64.mediaType),
  });
  const index = indexOf([image, ARM64]);
  rig.upstreams = [new RegionWith('us-east', [index, image], [CONFIG])];
  assert.deepEqual(await rig.closure.complete(REPOSITORY, index.digest, contextOf()), {
    bytes: 100,
    blobs: 1,
  });
});

test('closure: it fills four blobs at a time', async () => {
  await using rig = await openContentRig();
  const layers = Array.from({ length: 12 }, (_, at) => blobOf(1000, 10 + at));
  const image = imageOf(layers);
  let [open, most] = [0, 0];
  const gate = Promise.withResolvers<void>();
  const region = new RegionWith('us-east', [image], layers);
  const counting: Upstream = {
    name: 'us-east',
    kind: 'region',
    fetchManifest: (request) => region.fetchManifest(request),
    async openBlob(request) {
      open += 1;
      most = Math.max(most, open);
      if (open === 4) gate.resolve();
      await gate.promise;
      const blob = await region.openBlob(request);
      open -= 1;
      return blob;
    },
  };
  rig.upstreams = [counting];
  await rig.closure.complete(REPOSITORY, image.digest, contextOf());
  assert.equal(most, 4);
});
