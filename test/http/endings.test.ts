/**
 * How connections end when something fails: the client has its answer at once and whole, then FIN, and whatever it
 * still sends meets no reset. Each of these tests sees the reset where the server closes over bytes that nobody read.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { parseRegionName } from '#domain/region.ts';
import { closeLingering } from '#http/lingering-close.ts';
import { createAuthority, issueCertificate } from '#mesh/transport/authority.ts';
import { openAuthRig } from './auth-rig.ts';
import { imageManifest, RegistryUnderTest } from './registry-under-test.ts';
import { wireClient } from './wire-client.ts';

const BODY_BYTES = 50_000_000;
const PIECE = Buffer.alloc(1_000_000, 7);
const DIGEST = digestOf('of nothing that is here');

/** Sends a request whose body is refused, reads the answer up to the FIN, and then sends all of the body. */
async function refusedBody(port: number, head: string, options: { readonly tls?: boolean } = {}) {
  await using client = await wireClient(port, options);
  await client.send(`${head} HTTP/1.1\r\nHost: r\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`);
  await client.send(PIECE);
  const answer = await client.ended();
  for (let sent = PIECE.length; sent < BODY_BYTES; sent += PIECE.length) await client.send(PIECE);
  const closed = once(client.socket, 'close');
  client.socket.end();
  const [hadError] = await closed;
  assert.equal(hadError, false);
  return answer;
}

for (const [what, head, status] of [
  ['larger than a blob may be', 'PATCH <upload>', 413],
  ['larger than a manifest may be', 'PUT /v2/app/manifests/v1', 413],
  ['of an upload that nobody knows', 'PATCH /v2/app/blobs/uploads/none', 404],
  ['to close an upload that nobody knows', `PUT /v2/app/blobs/uploads/none?digest=${DIGEST}`, 404],
  ['for a digest that is none', 'PUT <upload>?digest=sha256:1', 400],
  ['for a method that is none of the resource', 'PUT /v2/app/tags/list', 405],
  ['for a path that is none of the API', 'PUT /v1/images', 404],
] as const) {
  test(`endings: a body ${what} is refused by ${status} at once, and never reset`, async () => {
    await using registry = await RegistryUnderTest.open({ blobBytesMax: 10 });
    const location = await registry.startUpload('app');
    const answer = await refusedBody(registry.port, head.replace('<upload>', location));
    assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), answer);
    assert.match(answer, /\r\nConnection: close\r\n/i);
    assert.match(answer, /\r\n\r\n\{"errors":\[\{.*\}\]\}$/);
  });
}

test('endings: a small body is not reset either where the client wants the connection closed', async () => {
  await using registry = await RegistryUnderTest.open();
  await using client = await wireClient(registry.port);
  const headers = 'Host: r\r\nConnection: close\r\nContent-Length: 100000\r\n';
  await client.send(`PATCH /v2/app/blobs/uploads/none HTTP/1.1\r\n${headers}\r\n`);
  assert.match(await client.ended(), /^HTTP\/1\.1 404 /);
  for (let sent = 0; sent < 100_000; sent += 1000) await client.send(PIECE.subarray(0, 1000));
});

test('endings: a push by nobody is refused by 401 at once, and never reset', async () => {
  await using rig = await openAuthRig();
  await rig.account('ada');
  const answer = await refusedBody(rig.registry.port, 'PUT /v2/app/manifests/v1');
  assert.match(answer, /^HTTP\/1\.1 401 [\s\S]*WWW-Authenticate: Bearer /);
});

test('endings: over TLS a refused body is not reset either', async () => {
  const authority = await createAuthority({ meshId: 'test' });
  const request = { meshId: 'test', hosts: ['127.0.0.1'], days: 1, number: 1 };
  const pair = await issueCertificate(authority, { ...request, region: parseRegionName('eu-west') });
  const tls = { key: pair.keyPem, cert: pair.certificatePem };
  await using registry = await RegistryUnderTest.open({ tls });
  const answer = await refusedBody(registry.port, 'PATCH /v2/app/blobs/uploads/none', { tls: true });
  assert.match(answer, /^HTTP\/1\.1 404 /);
});

test('endings: headers that are too large are answered, and what follows them is not reset', async () => {
  await using registry = await RegistryUnderTest.open();
  await using client = await wireClient(registry.port);
  await client.send(`GET /v2/ HTTP/1.1\r\nHost: r\r\nX-Large: ${'x'.repeat(100_000)}`);
  assert.match(await client.ended(), /^HTTP\/1\.1 431 [\s\S]*\}$/);
  for (let sent = 0; sent < 10; sent += 1) await client.send(PIECE);
});

test('endings: a body that was announced and refused before it was invited is not reset when it comes', async () => {
  await using registry = await RegistryUnderTest.open();
  const head = `PATCH /v2/app/blobs/uploads/none HTTP/1.1\r\nHost: r\r\nExpect: 100-continue\r\n`;
  await using client = await wireClient(registry.port);
  await client.send(`${head}Content-Length: ${BODY_BYTES}\r\n\r\n`);
  assert.match(await client.ended(), /^HTTP\/1\.1 404 /);
  for (let sent = 0; sent < 10; sent += 1) await client.send(PIECE);
});

for (const [what, head, bytes] of [
  ['an upload', 'PATCH <upload>', BODY_BYTES],
  ['a manifest', 'PUT /v2/app/manifests/v1', 2_000_000],
] as const) {
  test(`endings: a server that stops answers ${what} that is under way`, async () => {
    await using registry = await RegistryUnderTest.open();
    const request = head.replace('<upload>', await registry.startUpload('app'));
    await using client = await wireClient(registry.port);
    // Whoever is answered 100 has been heard.
    const heard = once(client.socket, 'data');
    const expect = `Expect: 100-continue\r\nContent-Length: ${bytes}`;
    await client.send(`${request} HTTP/1.1\r\nHost: r\r\n${expect}\r\n\r\n`);
    await heard;
    await client.send(PIECE);
    const stopped = registry.stop();
    assert.match(await client.ended(), /\r\n\r\nHTTP\/1\.1 503 [\s\S]*this node is stopping/);
    client.socket.end();
    await stopped;
  });
}

test('endings: requests behind one another on a connection are answered in their order', async () => {
  await using registry = await RegistryUnderTest.open();
  const digest = await registry.pushBlob('app', Buffer.from('0123456789'));
  await registry.pushManifest('app', 'v1', imageManifest());
  const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: r\r\n${more}\r\n`;
  const answer = await registry.raw(
    get(`/v2/app/blobs/${digest}`) +
      get('/v2/app/manifests/none') +
      get('/v2/app/manifests/v1') +
      get(`/v2/app/blobs/${digest}`, 'Range: bytes=3-5\r\nConnection: close\r\n'),
  );
  const statuses = [...answer.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status);
  assert.deepEqual(statuses, ['200', '404', '200', '206']);
  assert.ok(answer.endsWith('\r\n\r\n345'), answer);
});

test('endings: a blob that ends short behind other answers keeps them, and is no reset over what follows', async () => {
  await using registry = await RegistryUnderTest.open();
  const digest = await registry.pushBlob('app', Buffer.from('0123456789'));
  await registry.pushManifest('app', 'v1', imageManifest());
  registry.content.body = async function* () {
    yield Buffer.from('0123');
    throw new UnavailableError('the source is gone');
  };
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: r\r\n\r\n`;
  await using client = await wireClient(registry.port);
  await client.send(get('/v2/app/manifests/v1') + get(`/v2/app/blobs/${digest}`) + get('/v2/'));
  const answer = await client.ended();
  assert.ok(answer.includes(imageManifest()), answer);
  assert.ok(answer.endsWith('\r\n\r\n0123'), answer);
  for (let sent = 0; sent < 100; sent += 1) await client.send(get('/v2/'));
});

test('endings: who neither sends nor closes is left after a while, and so is who sends without end', async () => {
  for (const [limits, isFlood] of [
    [{ silenceMs: 20, droppedBytesMax: 1 }, false],
    [{ silenceMs: 60_000, droppedBytesMax: 1_000_000 }, true],
  ] as const) {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    client.on('error', () => undefined);
    const [socket] = (await once(server, 'connection')) as [Socket];
    const closed = once(socket, 'close');
    closeLingering(socket, limits);
    if (isFlood) client.write(Buffer.alloc(4_000_000));
    await closed;
    client.destroy();
    server.close();
    await once(server, 'close');
  }
});
