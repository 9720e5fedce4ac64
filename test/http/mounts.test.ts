/** Mounts, with and without a source: end-11. A mount hands on the right to read, so it needs that right. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { parseRepositoryName, type RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import { image } from '#test/suites/manifest-samples.ts';
import { openRegistryWithContent } from './registry-with-content.ts';

const APP = parseRepositoryName('app');
const SECRET = parseRepositoryName('secret');
const DIGEST = digestOf('layer');
const start = (repository: string) => `/v2/${repository}/blobs/uploads/?mount=${DIGEST}`;

function contextOf(...readable: readonly RepositoryName[]): RequestContext {
  const permit = { allows: (repository: RepositoryName) => readable.includes(repository) };
  return { requestId: 'r', signal: new AbortController().signal, principal: 'ada', permit };
}

test('mount: what the caller may not read is mounted neither by name nor by digest alone', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('secret', 'layer');
  const { writer } = registry;
  assert.equal(await writer.mount(APP, DIGEST, SECRET, contextOf(APP)), false);
  assert.equal(await writer.mount(APP, DIGEST, undefined, contextOf(APP)), false);
  assert.equal(await registry.probe(`/v2/app/blobs/${DIGEST}`), 404);
  assert.equal(await writer.mount(APP, DIGEST, undefined, contextOf(APP, SECRET)), true);
  assert.equal(await registry.probe(`/v2/app/blobs/${DIGEST}`), 200);
});

test('mount: without a source, one readable repository among others is enough', async () => {
  await using registry = await openRegistryWithContent();
  for (const repository of ['a', 'b', 'c']) await registry.pushBlob(repository, 'layer');
  assert.ok(await registry.writer.mount(APP, DIGEST, undefined, contextOf(parseRepositoryName('c'))));
});

test('mount: a blob that was deleted everywhere does not come back by its digest', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('lib', 'layer');
  await registry.call('DELETE', `/v2/lib/blobs/${DIGEST}`);
  for (const query of ['', '&from=lib']) {
    const reply = await registry.call('POST', `${start('app')}${query}`);
    assert.equal(reply.status, 202, query);
    assert.match(String(reply.headers['location']), /^\/v2\/app\/blobs\/uploads\/[^/]+$/);
  }
  assert.equal(await registry.probe(`/v2/app/blobs/${DIGEST}`), 404);
});

test('mount: the blobs of a deleted manifest are not mounted from its repository', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('lib', 'config');
  await registry.pushBlob('lib', 'layer');
  const pushed = image({ layers: [{ digest: DIGEST, size: 5 }] });
  await registry.pushManifest('lib', 'v1', pushed);
  await registry.call('DELETE', `/v2/lib/blobs/${DIGEST}`);
  assert.equal((await registry.call('POST', `${start('app')}&from=lib`)).status, 201, 'a manifest has it');
  await registry.call('DELETE', `/v2/lib/manifests/${pushed.digest}`);
  assert.equal((await registry.call('POST', `${start('other')}&from=lib`)).status, 202);
});

for (const algorithm of ['sha256', 'sha512'] as const) {
  test(`mount: a ${algorithm} blob is mounted without a source, and pulled from its location`, async () => {
    await using registry = await openRegistryWithContent();
    const digest = await registry.pushBlob('lib', 'layer', algorithm);
    const mounted = await registry.call('POST', `/v2/app/blobs/uploads/?mount=${digest}`);
    assert.deepEqual([mounted.status, mounted.headers['docker-content-digest']], [201, digest]);
    const read = await registry.call('GET', String(mounted.headers['location']));
    assert.deepEqual([read.status, read.bytes.toString()], [200, 'layer']);
  });
}
