/** sha512 beside sha256: announced or not, in every way of uploading, and what happens when a client errs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DigestAlgorithm, digestOf } from '#domain/digest.ts';
import { image } from '#test/suites/manifest-samples.ts';
import { errorCode } from './registry-under-test.ts';
import { openRegistryWithContent, type RegistryWithContent } from './registry-with-content.ts';

const BYTES = Buffer.from('0123456789abcdef');
const UPLOADS = '/v2/app/blobs/uploads/';

async function start(registry: RegistryWithContent, query = ''): Promise<string> {
  return String((await registry.call('POST', `${UPLOADS}${query}`)).headers['location']);
}

async function chunk(registry: RegistryWithContent, location: string, range: readonly [number, number]) {
  const headers = { 'content-range': range.join('-') };
  return await registry.call('PATCH', location, { headers, body: BYTES.subarray(range[0], range[1] + 1) });
}

test('digest algorithm: another digest of either algorithm is 400, whatever was announced', async () => {
  await using registry = await openRegistryWithContent();
  for (const announced of ['', '?digest-algorithm=sha256', '?digest-algorithm=sha512']) {
    for (const algorithm of ['sha256', 'sha512'] as const) {
      const location = await start(registry, announced);
      const wrong = digestOf('other', algorithm);
      const reply = await registry.call('PUT', `${location}?digest=${wrong}`, { body: BYTES });
      assert.deepEqual([reply.status, errorCode(reply)], [400, 'DIGEST_INVALID']);
      assert.equal(await registry.probe(`/v2/app/blobs/${wrong}`), 404);
    }
  }
});

test('digest algorithm: one that is not supported is 400 in every place', async () => {
  await using registry = await openRegistryWithContent();
  const md5 = `md5:${'0'.repeat(32)}`;
  const location = await start(registry);
  for (const [method, path] of [
    ['POST', `${UPLOADS}?digest-algorithm=md5`],
    ['POST', `${UPLOADS}?digest=${md5}`],
    ['POST', `${UPLOADS}?mount=${md5}`],
    ['PUT', `${location}?digest=${md5}`],
    ['GET', `/v2/app/blobs/${md5}`],
    ['GET', `/v2/app/manifests/${md5}`],
    ['PUT', `/v2/app/manifests/${md5}`],
    ['GET', `/v2/app/referrers/${md5}`],
  ] as const) {
    const reply = await registry.call(method, path, method === 'PUT' ? { body: BYTES } : {});
    assert.deepEqual([reply.status, errorCode(reply)], [400, 'DIGEST_INVALID'], `${method} ${path}`);
  }
  assert.equal((await registry.call('GET', location)).status, 204, 'the upload lives on');
});

for (const announced of ['', '?digest-algorithm=sha256', '?digest-algorithm=sha512']) {
  for (const algorithm of ['sha256', 'sha512'] as const satisfies readonly DigestAlgorithm[]) {
    test(`digest algorithm: ${algorithm} in chunks, begun with "${announced}", out of order in between`, async () => {
      await using registry = await openRegistryWithContent();
      const digest = digestOf(BYTES, algorithm);
      const location = await start(registry, announced);
      assert.equal((await chunk(registry, location, [8, 15])).status, 416);
      assert.equal((await chunk(registry, location, [0, 7])).status, 202);
      const early = await registry.call('PUT', `${location}?digest=${digest}`, {
        headers: { 'content-range': '12-15' },
        body: BYTES.subarray(12),
      });
      assert.deepEqual([early.status, errorCode(early)], [416, 'RANGE_INVALID']);
      assert.deepEqual([early.headers['range'], early.headers['location']], ['0-7', location]);
      const status = await registry.call('GET', location);
      assert.deepEqual([status.status, status.headers['range']], [204, '0-7']);
      assert.equal((await chunk(registry, String(status.headers['location']), [8, 15])).status, 202);
      const closed = await registry.call('PUT', `${location}?digest=${digest}`);
      assert.deepEqual([closed.status, closed.headers['docker-content-digest']], [201, digest]);
      assert.deepEqual((await registry.call('GET', String(closed.headers['location']))).bytes, BYTES);
      assert.equal((await registry.call('GET', location)).status, 404);
    });
  }
}

test('digest algorithm: blobs and manifests are addressed by the digest they were pushed by, and by no other', async () => {
  await using registry = await openRegistryWithContent();
  await registry.pushBlob('app', 'config');
  const manifest = image({});
  const digest = digestOf(manifest.bytes, 'sha512');
  const pushed = await registry.pushManifest('app', digest, manifest);
  assert.deepEqual([pushed.status, pushed.headers['docker-content-digest']], [201, digest]);
  assert.equal(pushed.headers['location'], `/v2/app/manifests/${digest}`);
  assert.equal(await registry.probe(`/v2/app/manifests/${digest}`), 200);
  assert.equal(await registry.probe(`/v2/app/manifests/${manifest.digest}`), 404);
  const blob = await registry.pushBlob('app', 'layer', 'sha512');
  assert.equal(await registry.probe(`/v2/app/blobs/${blob}`), 200);
  assert.equal(await registry.probe(`/v2/app/blobs/${digestOf('layer')}`), 404);
});

test('digest algorithm: blobs without bytes, and of two, are blobs like others', async () => {
  await using registry = await openRegistryWithContent();
  for (const content of ['', '{}']) {
    for (const algorithm of ['sha256', 'sha512'] as const) {
      const digest = digestOf(content, algorithm);
      const location = await start(registry);
      assert.equal(
        (await registry.call('PUT', `${location}?digest=${digest}`, { body: content })).status,
        201,
      );
      const read = await registry.call('GET', `/v2/app/blobs/${digest}`);
      assert.deepEqual([read.status, read.headers['content-length']], [200, String(content.length)]);
      assert.equal((await registry.call('DELETE', `/v2/app/blobs/${digest}`)).status, 202);
    }
  }
});

for (const range of ['bytes=5-2', 'BYTES=1-0', 'bytes=99-0']) {
  test(`blob range: "${range}" ends before it begins, and is 416`, async () => {
    await using registry = await openRegistryWithContent();
    const digest = await registry.pushBlob('app', BYTES.toString());
    const path = `/v2/app/blobs/${digest}`;
    const reply = await registry.call('GET', path, { headers: { range } });
    assert.deepEqual([reply.status, errorCode(reply)], [416, 'RANGE_INVALID']);
    assert.equal(reply.headers['content-range'], `bytes */${BYTES.length}`);
    const other = await registry.call('GET', path, { headers: { range, 'if-range': '"other"' } });
    assert.equal(other.status, 200, 'the condition says that no range is wanted');
  });
}
