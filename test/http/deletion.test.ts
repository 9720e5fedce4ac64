/** What is still there after a deletion, and what is not, as the spec has it: end-9 and end-10. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { image } from '#test/suites/manifest-samples.ts';
import { errorCode } from './registry-under-test.ts';
import { openRegistryWithContent, type RegistryWithContent } from './registry-with-content.ts';

const LAYER = { digest: digestOf('layer'), size: 5 };
const IMAGE = image({ layers: [LAYER] });
const blobPath = `/v2/app/blobs/${LAYER.digest}`;
const manifestPath = `/v2/app/manifests/${IMAGE.digest}`;

async function openWithImage(): Promise<RegistryWithContent> {
  const registry = await openRegistryWithContent();
  await registry.pushBlob('app', 'config');
  await registry.pushBlob('app', 'layer');
  await registry.pushManifest('app', 'v1', IMAGE);
  return registry;
}

test('deletion: a blob that only manifests hold is refused with 405 and stays', async () => {
  await using registry = await openWithImage();
  assert.equal((await registry.call('DELETE', blobPath)).status, 202);
  const held = await registry.call('DELETE', blobPath);
  assert.deepEqual([held.status, errorCode(held)], [405, 'UNSUPPORTED']);
  assert.equal(await registry.probe(blobPath), 200);
});

test('deletion: a blob of a deleted manifest can be deleted, and is gone at once', async () => {
  await using registry = await openWithImage();
  assert.equal((await registry.call('DELETE', manifestPath)).status, 202);
  assert.equal(await registry.probe(blobPath), 200, 'it was uploaded there');
  assert.equal((await registry.call('DELETE', blobPath)).status, 202);
  assert.equal(await registry.probe(blobPath), 404);
  const again = await registry.call('DELETE', blobPath);
  assert.deepEqual([again.status, errorCode(again)], [404, 'BLOB_UNKNOWN']);
  const read = await registry.call('GET', blobPath);
  assert.deepEqual([read.status, errorCode(read)], [404, 'BLOB_UNKNOWN']);
});

test('deletion: a blob that another manifest refers to stays readable', async () => {
  await using registry = await openWithImage();
  const other = image({ layers: [LAYER], subject: digestOf('subject') });
  await registry.pushManifest('app', 'v2', other);
  await registry.call('DELETE', manifestPath);
  await registry.call('DELETE', blobPath);
  assert.equal(await registry.probe(blobPath), 200);
  await registry.call('DELETE', `/v2/app/manifests/${other.digest}`);
  assert.equal(await registry.probe(blobPath), 404);
});

test('deletion: a deletion in one repository takes nothing from another', async () => {
  await using registry = await openWithImage();
  await registry.call('POST', `/v2/lib/blobs/uploads/?mount=${digestOf('config')}&from=app`);
  await registry.call('POST', `/v2/lib/blobs/uploads/?mount=${LAYER.digest}&from=app`);
  assert.equal((await registry.pushManifest('lib', 'v1', IMAGE)).status, 201);
  await registry.call('DELETE', manifestPath);
  await registry.call('DELETE', blobPath);
  assert.equal(await registry.probe(blobPath), 404);
  assert.equal(await registry.probe(`/v2/lib/blobs/${LAYER.digest}`), 200);
  assert.equal(await registry.probe('/v2/lib/manifests/v1'), 200);
});

test('deletion: by tag only the tag, by digest the manifest and every tag of it', async () => {
  await using registry = await openWithImage();
  await registry.pushManifest('app', `${IMAGE.digest}?tag=v2&tag=v3`, IMAGE);
  assert.equal((await registry.call('DELETE', '/v2/app/manifests/v1')).status, 202);
  assert.equal(await registry.probe('/v2/app/manifests/v1'), 404);
  assert.equal(await registry.probe('/v2/app/manifests/v2'), 200);
  assert.equal((await registry.call('DELETE', manifestPath)).status, 202);
  for (const reference of ['v2', 'v3', IMAGE.digest]) {
    assert.equal(await registry.probe(`/v2/app/manifests/${reference}`), 404, reference);
  }
});

test('deletion: a manifest that is pushed again serves its blobs again', async () => {
  await using registry = await openWithImage();
  await registry.call('DELETE', manifestPath);
  await registry.call('DELETE', blobPath);
  await registry.pushBlob('app', 'layer');
  assert.equal((await registry.pushManifest('app', 'v1', IMAGE)).status, 201);
  await registry.call('DELETE', blobPath);
  assert.equal(await registry.probe(blobPath), 200, 'the manifest holds it');
});
