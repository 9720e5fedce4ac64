/** Manifests that refer to what is nowhere: sparse images and indexes, subjects, foreign layers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { EVERYTHING } from '#domain/permit.ts';
import { RegionWith } from '#test/content/region-with.ts';
import { image, index } from '#test/suites/manifest-samples.ts';
import { errorCode } from './registry-under-test.ts';
import { openRegistryWithContent } from './registry-with-content.ts';

const LAYER = { digest: digestOf('layer'), size: 5 };
const SPARSE = image({ layers: [LAYER] });

test('sparse: where it is so configured, a manifest with absent blobs is refused and each is named', async () => {
  await using registry = await openRegistryWithContent({ absentBlobs: 'refuse' });
  const reply = await registry.pushManifest('app', 'v1', SPARSE);
  assert.deepEqual([reply.status, errorCode(reply)], [404, 'MANIFEST_BLOB_UNKNOWN']);
  for (const digest of [digestOf('config'), LAYER.digest]) assert.match(String(reply.bytes), RegExp(digest));
  assert.equal(await registry.probe('/v2/app/manifests/v1'), 404);
  await registry.pushBlob('app', 'config');
  await registry.pushBlob('app', 'layer');
  const whole = await registry.pushManifest('app', 'v1', SPARSE);
  assert.deepEqual([whole.status, whole.headers['warning']], [201, undefined]);
});

test('sparse: an image with an absent layer is accepted with a warning that names it, and pulled', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('app', 'config');
  const pushed = await registry.pushManifest('app', 'v1', SPARSE);
  assert.equal(pushed.status, 201);
  assert.match(String(pushed.headers['warning']), RegExp(`^299 - "[^"]*${LAYER.digest}[^"]*"$`));
  for (const reference of ['v1', SPARSE.digest]) {
    const read = await registry.call('GET', `/v2/app/manifests/${reference}`);
    assert.deepEqual([read.status, digestOf(read.bytes)], [200, SPARSE.digest]);
  }
  const blob = await registry.call('GET', `/v2/app/blobs/${LAYER.digest}`);
  assert.deepEqual([blob.status, errorCode(blob)], [404, 'BLOB_UNKNOWN']);
});

test('sparse: a blob that was there and is lost is no absent one: the manifest is 503', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('app', 'config');
  await registry.pushBlob('app', 'layer');
  await registry.pushManifest('app', 'v1', SPARSE);
  await registry.metadata.blobs.forget(LAYER.digest);
  const read = await registry.call('GET', '/v2/app/manifests/v1');
  assert.deepEqual([read.status, errorCode(read)], [503, 'UNAVAILABLE']);
  await registry.pushManifest('app', 'v1', SPARSE);
  assert.equal(await registry.probe('/v2/app/manifests/v1'), 200, 'its pusher was told and accepted that');
});

test('sparse: what another region has is brought here instead', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('app', 'config');
  registry.upstreams = [new RegionWith('us-east', [], [{ ...LAYER, bytes: Buffer.from('layer') }])];
  const pushed = await registry.pushManifest('app', 'v1', SPARSE);
  assert.deepEqual([pushed.status, pushed.headers['warning']], [201, undefined]);
  assert.equal(await registry.probe(`/v2/app/blobs/${LAYER.digest}`), 200);
});

test('sparse: a caller whose rights end somewhere is refused', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('app', 'config');
  const put = { repository: parseRepositoryName('app'), reference: { digest: SPARSE.digest } };
  const manifest = { ...SPARSE, contentType: SPARSE.mediaType, absentBlobs: 'record' as const };
  const about = { requestId: 'r', principal: 'ada', signal: new AbortController().signal };
  const limited = { ...about, permit: { allows: () => true } };
  await assert.rejects(registry.writer.putManifest({ ...put, ...manifest }, limited), {
    code: 'MANIFEST_BLOB_UNKNOWN',
  });
  const everything = { ...about, permit: EVERYTHING };
  assert.deepEqual((await registry.writer.putManifest({ ...put, ...manifest }, everything)).absent, [
    LAYER.digest,
  ]);
});

test('sparse: to name a blob of another repository, as absent, foreign or in an index, does not open it', async () => {
  await using registry = await openRegistryWithContent();
  for (const content of ['config', 'layer']) await registry.pushBlob('secret', content);
  await registry.pushManifest('secret', 'v1', SPARSE);
  await registry.pushBlob('app', 'config');
  const foreign = image({ layers: [{ ...LAYER, urls: ['https://example.com/layer'] }] });
  const list = index([SPARSE.digest]);
  for (const manifest of [foreign, list, index([list.digest])]) {
    assert.equal((await registry.pushManifest('app', manifest.digest, manifest)).status, 201);
    assert.equal(await registry.probe(`/v2/app/blobs/${LAYER.digest}`), 404);
    assert.equal(await registry.probe(`/v2/app/manifests/${SPARSE.digest}`), 404);
  }
  assert.equal((await registry.pushManifest('app', 'v1', SPARSE)).status, 201);
  assert.equal(await registry.probe(`/v2/app/blobs/${LAYER.digest}`), 404);
  assert.equal(await registry.probe(`/v2/secret/blobs/${LAYER.digest}`), 200);
});

test('sparse: a layer that arrives later is served, and the next push of the manifest holds it', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('app', 'config');
  await registry.pushManifest('app', 'v1', SPARSE);
  await registry.pushBlob('app', 'layer');
  assert.equal(await registry.probe(`/v2/app/blobs/${LAYER.digest}`), 200);
  const whole = await registry.pushManifest('app', 'v1', SPARSE);
  assert.equal(whole.headers['warning'], undefined);
  await registry.call('DELETE', `/v2/app/blobs/${LAYER.digest}`);
  assert.equal(await registry.probe(`/v2/app/blobs/${LAYER.digest}`), 200);
});

test('sparse: a warning about many blobs stays below 4,096 bytes', async () => {
  await using registry = await openRegistryWithContent();
  const layers = Array.from({ length: 500 }, (_, size) => ({
    digest: digestOf(String(size), 'sha512'),
    size,
  }));
  const pushed = await registry.pushManifest('app', 'v1', image({ layers }));
  const warning = String(pushed.headers['warning']);
  assert.match(warning, /^299 - "nobody has 501 of the blobs [^"]+"$/);
  assert.ok(warning.length <= 4096, `${warning.length} bytes`);
});

test('sparse: an index of children that nobody has, an empty index, a missing subject and foreign layers are whole', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('app', 'config');
  const subject = digestOf('never pushed');
  const foreign = image({ layers: [{ ...LAYER, urls: ['https://example.com/layer'] }] });
  for (const manifest of [index([SPARSE.digest]), index([]), image({ subject }), foreign]) {
    const pushed = await registry.pushManifest('app', manifest.digest, manifest);
    assert.deepEqual([pushed.status, pushed.headers['warning']], [201, undefined]);
    const read = await registry.call('GET', `/v2/app/manifests/${manifest.digest}`);
    assert.deepEqual([read.status, Buffer.from(manifest.bytes)], [200, read.bytes]);
  }
});
