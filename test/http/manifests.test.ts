/** Manifests over real sockets: refusals first, then what clients rely on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { MANIFEST_BYTES_MAX, MEDIA_TYPE } from '#domain/manifest.ts';
import { errorCode, imageManifest, RegistryUnderTest } from './registry-under-test.ts';

const IMAGE = imageManifest();
const DIGEST = digestOf(IMAGE);

for (const [what, body, contentType] of [
  ['what is no JSON', '{"schemaVersion":2,', MEDIA_TYPE.ociManifest],
  ['what is no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), MEDIA_TYPE.ociManifest],
  ['a list', '[]', MEDIA_TYPE.ociManifest],
  ['nothing', '', MEDIA_TYPE.ociManifest],
  ['an unknown media type', '{"schemaVersion":2,"config":{},"layers":[]}', 'text/plain'],
  ['schema 1', '{"schemaVersion":1}', 'application/vnd.docker.distribution.manifest.v1+prettyjws'],
  ['a media type that the body contradicts', IMAGE, MEDIA_TYPE.ociIndex],
] as const) {
  test(`manifest: ${what} is refused and not stored`, async () => {
    await using registry = await RegistryUnderTest.open();
    const headers = { 'content-type': contentType };
    const reply = await registry.call('PUT', '/v2/app/manifests/v1', { headers, body });
    assert.deepEqual([reply.status, errorCode(reply)], [400, 'MANIFEST_INVALID']);
    assert.equal((await registry.call('GET', '/v2/app/manifests/v1')).status, 404);
  });
}

test('manifest: a media type that is no media type is 400 in the shape of the spec', async () => {
  await using registry = await RegistryUnderTest.open();
  const headers = { 'content-type': 'nonsense' };
  const reply = await registry.call('PUT', '/v2/app/manifests/v1', { headers, body: IMAGE });
  assert.deepEqual([reply.status, errorCode(reply)], [400, 'MANIFEST_INVALID']);
});

test('manifest: exactly 4 MiB is accepted and one byte more is 413, announced or not', async () => {
  await using registry = await RegistryUnderTest.open();
  const frame = imageManifest({ pad: '' }).length;
  const largest = imageManifest({ pad: 'x'.repeat(MANIFEST_BYTES_MAX - frame) });
  assert.equal(Buffer.byteLength(largest), MANIFEST_BYTES_MAX);
  assert.equal((await registry.pushManifest('app', 'large', largest)).status, 201);
  const read = await registry.call('GET', '/v2/app/manifests/large');
  assert.equal(digestOf(read.bytes), digestOf(largest));

  const larger = `${largest} `;
  const announced = await registry.pushManifest('app', 'larger', larger);
  assert.deepEqual([announced.status, errorCode(announced)], [413, 'SIZE_INVALID']);
  const streamed = await registry.call('PUT', '/v2/app/manifests/larger', {
    headers: { 'content-type': MEDIA_TYPE.ociManifest },
    body: (async function* () {
      yield Buffer.from(larger);
    })(),
  });
  assert.deepEqual([streamed.status, errorCode(streamed)], [413, 'SIZE_INVALID']);
  assert.equal((await registry.call('GET', '/v2/app/manifests/larger')).status, 404);
});

test('manifest: a push whose bytes have another digest is refused', async () => {
  await using registry = await RegistryUnderTest.open();
  const reply = await registry.pushManifest('app', digestOf('other'), IMAGE);
  assert.deepEqual([reply.status, errorCode(reply)], [400, 'DIGEST_INVALID']);
});

test('manifest: a body that is cut off stores nothing', async () => {
  await using registry = await RegistryUnderTest.open();
  const socket = registry.connect();
  socket.end(
    `PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: r\r\nContent-Type: ${MEDIA_TYPE.ociManifest}\r\n` +
      `Content-Length: ${IMAGE.length}\r\n\r\n${IMAGE.slice(0, -1)}`,
  );
  let answer = '';
  for await (const piece of socket.setEncoding('utf8')) answer += piece;
  assert.match(answer, /^HTTP\/1\.1 400 /);
  assert.equal((await registry.call('GET', '/v2/app/manifests/v1')).status, 404);
});

test('manifest: what nobody could tell is 503 with what was tried, and for a probe 404 with a warning', async () => {
  await using registry = await RegistryUnderTest.open();
  registry.content.fault = new UnavailableError('no region could say', {
    retryAfterMs: 1500,
    tried: ['us-east: timed out "after" 400 ms\n'],
  });
  for (const reference of ['v1', DIGEST]) {
    const pulled = await registry.call('GET', `/v2/app/manifests/${reference}`);
    assert.deepEqual([pulled.status, errorCode(pulled)], [503, 'UNAVAILABLE']);
    assert.equal(pulled.headers['retry-after'], '2');
    assert.match(pulled.bytes.toString(), /us-east: timed out/);
    const probed = await registry.call('HEAD', `/v2/app/manifests/${reference}`);
    assert.equal(probed.status, 404);
    assert.match(String(probed.headers['warning']), /^299 - "absence is not proven: [^"]*us-east[^"]*"$/);
    assert.equal(probed.bytes.length, 0);
  }
});

test('manifest: a probe for what is not there has the status and no body', async () => {
  await using registry = await RegistryUnderTest.open();
  const reply = await registry.call('HEAD', '/v2/app/manifests/none');
  assert.deepEqual([reply.status, reply.bytes.length], [404, 0]);
  assert.equal(reply.headers['warning'], undefined);
});

test('manifest: a push answers its digest, its version and its location', async () => {
  await using registry = await RegistryUnderTest.open();
  const subject = { mediaType: MEDIA_TYPE.ociManifest, digest: digestOf('subject'), size: 7 };
  const plain = await registry.pushManifest('team/app', 'v1', IMAGE);
  assert.equal(plain.status, 201);
  assert.equal(plain.headers['location'], `/v2/team/app/manifests/${DIGEST}`);
  assert.equal(plain.headers['docker-content-digest'], DIGEST);
  assert.equal(plain.headers['oci-subject'], undefined);
  assert.match(String(plain.headers['fairway-version']), /^eu-west\.00000000000000aa\.\d+$/);
  const referring = await registry.pushManifest('team/app', 'sig', { ...JSON.parse(IMAGE), subject });
  assert.deepEqual([referring.status, referring.headers['oci-subject']], [201, subject.digest]);
});

test('manifest: it is answered byte for byte, by tag and by digest, with what clients need', async () => {
  await using registry = await RegistryUnderTest.open();
  const odd = `${IMAGE.replace('{', '{ "unknown": [1] ,')}\n`;
  const digest = digestOf(odd);
  await registry.call('PUT', '/v2/app/manifests/v1', {
    headers: { 'content-type': `${MEDIA_TYPE.ociManifest}; charset=utf-8` },
    body: odd,
  });
  for (const [reference, cache] of [
    ['v1', 'no-cache'],
    [digest, 'max-age=31536000, immutable'],
    [digest.replace(':', '%3A'), 'max-age=31536000, immutable'],
  ] as const) {
    for (const method of ['GET', 'HEAD'] as const) {
      const reply = await registry.call(method, `/v2/app/manifests/${reference}`);
      assert.equal(reply.status, 200);
      assert.equal(reply.headers['content-type'], MEDIA_TYPE.ociManifest);
      assert.equal(reply.headers['content-length'], String(odd.length));
      assert.equal(reply.headers['docker-content-digest'], digest);
      assert.equal(reply.headers['etag'], `"${digest}"`);
      assert.equal(reply.headers['cache-control'], cache);
      assert.equal(reply.headers['fairway-source'], 'local; name=eu-west');
      assert.equal(reply.headers['docker-distribution-api-version'], 'registry/2.0');
      assert.equal(reply.bytes.toString(), method === 'GET' ? odd : '');
    }
  }
});

test('manifest: who has it already is told so', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushManifest('app', 'v1', IMAGE);
  const headers = { 'if-none-match': `"${DIGEST}"` };
  for (const method of ['GET', 'HEAD'] as const) {
    const same = await registry.call(method, '/v2/app/manifests/v1', { headers });
    assert.deepEqual([same.status, same.bytes.length, same.headers['etag']], [304, 0, `"${DIGEST}"`]);
  }
  await registry.pushManifest('app', 'v1', `${IMAGE} `);
  assert.equal((await registry.call('GET', '/v2/app/manifests/v1', { headers })).status, 200);
});

test('manifest: a write on condition is 412 when something else is there, and nothing is written', async () => {
  await using registry = await RegistryUnderTest.open();
  const other = `${IMAGE} `;
  const write = (method: 'PUT' | 'DELETE', headers: Readonly<Record<string, string>>) =>
    registry.call(method, '/v2/app/manifests/v1', {
      headers: { 'content-type': MEDIA_TYPE.ociManifest, ...headers },
      ...(method === 'PUT' ? { body: other } : {}),
    });
  const absent = await write('PUT', { 'if-match': `"${DIGEST}"` });
  assert.deepEqual([absent.status, errorCode(absent)], [412, 'UNSUPPORTED']);
  await registry.pushManifest('app', 'v1', IMAGE);
  for (const headers of [
    { 'if-none-match': '*' },
    { 'if-none-match': `"${DIGEST}"` },
    { 'if-match': `"${digestOf(other)}"` },
    { 'if-match': `W/"${DIGEST}"` },
  ]) {
    for (const method of ['PUT', 'DELETE'] as const) {
      assert.equal((await write(method, headers)).status, 412, `${method} ${JSON.stringify(headers)}`);
    }
  }
  const read = await registry.call('GET', '/v2/app/manifests/v1', { headers: { 'if-match': '"other"' } });
  assert.equal(read.status, 412);
  assert.equal((await registry.call('GET', '/v2/app/manifests/v1')).headers['etag'], `"${DIGEST}"`);
  assert.equal((await write('PUT', { 'if-match': `"other", "${DIGEST}"` })).status, 201);
  assert.equal((await write('DELETE', { 'if-match': '*' })).status, 202);
  assert.equal((await write('PUT', { 'if-none-match': '*' })).status, 201);
});

test('manifest: a write on condition is 503 while nobody can tell what is there', async () => {
  await using registry = await RegistryUnderTest.open();
  registry.content.fault = new UnavailableError('region us-east does not answer');
  const reply = await registry.call('PUT', '/v2/app/manifests/v1', {
    headers: { 'content-type': MEDIA_TYPE.ociManifest, 'if-none-match': '*' },
    body: IMAGE,
  });
  assert.equal(reply.status, 503);
  registry.content.fault = undefined;
  assert.equal((await registry.call('GET', '/v2/app/manifests/v1')).status, 404);
});

test('manifest: a delete is 202 with its version, and 404 the second time', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushManifest('app', 'v1', IMAGE);
  for (const reference of ['v1', DIGEST]) {
    const deleted = await registry.call('DELETE', `/v2/app/manifests/${reference}`);
    assert.equal(deleted.status, 202);
    assert.match(String(deleted.headers['fairway-version']), /^eu-west\./);
    const again = await registry.call('DELETE', `/v2/app/manifests/${reference}`);
    assert.deepEqual([again.status, errorCode(again)], [404, 'MANIFEST_UNKNOWN']);
  }
});
