/** Blobs over real sockets: what happens to a reader when the source fails comes first. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { errorCode, RegistryUnderTest } from './registry-under-test.ts';

const BYTES = Buffer.from('0123456789');
const DIGEST = digestOf(BYTES);

test('blob: a source that fails before its first byte is 503', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushBlob('app', BYTES);
  registry.content.body = async function* () {
    yield* [];
    throw new UnavailableError('the source is gone', { tried: ['us-east: closed'] });
  };
  const reply = await registry.call('GET', `/v2/app/blobs/${DIGEST}`);
  assert.deepEqual([reply.status, errorCode(reply)], [503, 'UNAVAILABLE']);
});

for (const [what, pieces] of [
  ['fails in the middle', ['0123', 'fail']],
  ['ends too early', ['0123']],
  ['has more than it said', ['0123', '456789ab']],
] as const) {
  test(`blob: a source that ${what} ends the answer short, by FIN`, async () => {
    await using registry = await RegistryUnderTest.open();
    await registry.pushBlob('app', BYTES);
    registry.content.body = async function* () {
      for (const piece of pieces) {
        if (piece === 'fail') throw new UnavailableError('the source is gone');
        yield Buffer.from(piece);
      }
    };
    // The iteration ends at the server's FIN and throws at a reset.
    const answer = await registry.raw(`GET /v2/app/blobs/${DIGEST} HTTP/1.1\r\nHost: r\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 200 [\s\S]*Content-Length: 10\r\n[\s\S]*\r\n\r\n0123$/);
    assert.ok(registry.lines.some((line) => line.event === 'answer ended short' && line.level === 'warn'));
  });
}

test('blob: everything that arrived before the source failed is delivered', async () => {
  await using registry = await RegistryUnderTest.open();
  const large = Buffer.alloc(4 * 1024 * 1024, 7);
  const digest = await registry.pushBlob('app', large);
  const failAt = large.length - 1;
  registry.content.body = async function* () {
    for (let at = 0; at < failAt; at += 65_536) yield large.subarray(at, Math.min(at + 65_536, failAt));
    throw new UnavailableError('the source is gone');
  };
  const answer = await registry.raw(`GET /v2/app/blobs/${digest} HTTP/1.1\r\nHost: r\r\n\r\n`);
  assert.equal(answer.length - answer.indexOf('\r\n\r\n') - 4, failAt);
});

test('blob: a client that leaves ends the reading and gives the source back', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushBlob('app', BYTES);
  const opened = Promise.withResolvers<AbortSignal>();
  const returned = Promise.withResolvers<void>();
  registry.content.body = async function* (_blob, signal) {
    opened.resolve(signal);
    try {
      yield BYTES.subarray(0, 4);
      await once(signal, 'abort');
    } finally {
      returned.resolve();
    }
  };
  const socket = registry.connect();
  socket.write(`GET /v2/app/blobs/${DIGEST} HTTP/1.1\r\nHost: r\r\n\r\n`);
  await once(socket, 'data');
  socket.destroy();
  const signal = await opened.promise;
  await returned.promise;
  assert.ok(signal.aborted);
});

test('blob: a client that does not read stops the source, and is cut off when it stays silent', async () => {
  const limits = { idleTimeoutMs: 100, drainMs: 50 };
  await using registry = await RegistryUnderTest.open({ limits });
  const piece = Buffer.alloc(1024 * 1024);
  const digest = await registry.pushBlob('app', Buffer.alloc(48 * piece.length));
  let given = 0;
  const returned = Promise.withResolvers<void>();
  registry.content.body = async function* () {
    try {
      for (; given < 48; given += 1) yield piece;
    } finally {
      returned.resolve();
    }
  };
  // What it never read is thrown away with the connection, and it may hear of that.
  const socket = registry
    .connect()
    .on('error', () => undefined)
    .pause();
  socket.write(`GET /v2/app/blobs/${digest} HTTP/1.1\r\nHost: r\r\n\r\n`);
  await returned.promise;
  assert.ok(given < 32, `${given} MiB were taken for a client that reads nothing`);
});

test('blob: what is not there is 404, and a range beyond the end 416', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushBlob('app', BYTES);
  const unknown = await registry.call('GET', `/v2/other/blobs/${DIGEST}`);
  assert.deepEqual([unknown.status, errorCode(unknown)], [404, 'BLOB_UNKNOWN']);
  const probe = await registry.call('HEAD', `/v2/other/blobs/${DIGEST}`);
  assert.deepEqual([probe.status, probe.bytes.length], [404, 0]);
  const beyond = await registry.call('GET', `/v2/app/blobs/${DIGEST}`, { headers: { range: 'bytes=10-' } });
  assert.deepEqual([beyond.status, errorCode(beyond)], [416, 'RANGE_INVALID']);
  assert.equal(beyond.headers['content-range'], 'bytes */10');
});

test('blob: a probe asks nobody and says the size', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushBlob('app', BYTES);
  registry.content.fault = new Error('the reader was asked');
  const reply = await registry.call('HEAD', `/v2/app/blobs/${DIGEST}`, { headers: { range: 'bytes=0-1' } });
  assert.deepEqual([reply.status, reply.headers['content-length']], [200, '10']);
  assert.equal(reply.headers['docker-content-digest'], DIGEST);
});

for (const [headers, status, body, contentRange] of [
  [{}, 200, '0123456789', undefined],
  [{ range: 'bytes=2-4' }, 206, '234', 'bytes 2-4/10'],
  [{ range: 'bytes=7-' }, 206, '789', 'bytes 7-9/10'],
  [{ range: 'bytes=-2' }, 206, '89', 'bytes 8-9/10'],
  [{ range: 'bytes=0-1,4-5' }, 200, '0123456789', undefined],
  [{ range: 'bytes=2-4', 'if-range': `"${DIGEST}"` }, 206, '234', 'bytes 2-4/10'],
  [{ range: 'bytes=2-4', 'if-range': '"other"' }, 200, '0123456789', undefined],
  [{ 'if-none-match': `"${DIGEST}"`, range: 'bytes=2-4' }, 304, '', undefined],
] as const) {
  test(`blob: ${JSON.stringify(headers).slice(0, 60)} is ${status}`, async () => {
    await using registry = await RegistryUnderTest.open();
    await registry.pushBlob('app', BYTES);
    const reply = await registry.call('GET', `/v2/app/blobs/${DIGEST}`, { headers });
    assert.equal(reply.status, status);
    assert.equal(reply.bytes.toString(), body);
    assert.equal(reply.headers['content-range'], contentRange);
    assert.equal(reply.headers['etag'], `"${DIGEST}"`);
    if (status === 304) return;
    assert.equal(reply.headers['content-length'], String(body.length));
    assert.equal(reply.headers['accept-ranges'], 'bytes');
    assert.equal(reply.headers['content-type'], 'application/octet-stream');
    assert.equal(reply.headers['cache-control'], 'max-age=31536000, immutable');
    assert.equal(reply.headers['fairway-source'], 'local; name=eu-west');
  });
}

test('blob: a large one arrives whole', async () => {
  await using registry = await RegistryUnderTest.open();
  const large = Buffer.alloc(9 * 1024 * 1024 + 1, 'fairway');
  const digest = await registry.pushBlob('app', large);
  assert.equal(digestOf((await registry.call('GET', `/v2/app/blobs/${digest}`)).bytes), digest);
});

test('blob: a deleted one is gone from its repository', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushBlob('app', BYTES);
  assert.equal((await registry.call('DELETE', `/v2/app/blobs/${DIGEST}`)).status, 202);
  assert.equal((await registry.call('GET', `/v2/app/blobs/${DIGEST}`)).status, 404);
  assert.equal((await registry.call('DELETE', `/v2/app/blobs/${DIGEST}`)).status, 404);
});
