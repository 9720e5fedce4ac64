/** The frame of the registry: bad requests, ids, logs, metrics, and how it stops. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { errorCode, imageManifest, RegistryUnderTest } from './registry-under-test.ts';

for (const [method, path, status, code] of [
  ['GET', '/v2/UPPER/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/a__b___c/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2//app/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/app/../lib/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/app/%2e%2e/lib/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/app%2Flib/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/app/manifests/%zz', 400, 'NAME_INVALID'],
  ['GET', '/v2/app/manifests/%ff', 400, 'NAME_INVALID'],
  ['GET', '/v2/app%00/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', `/v2/${'a'.repeat(256)}/manifests/v1`, 400, 'NAME_INVALID'],
  ['GET', `/v2/${'a/'.repeat(2000)}a/manifests/v1`, 400, 'NAME_INVALID'],
  ['GET', '/v2/app/manifests/-v1', 400, 'TAG_INVALID'],
  ['GET', `/v2/app/manifests/${'t'.repeat(129)}`, 400, 'TAG_INVALID'],
  ['GET', '/v2/app/manifests/sha256:abc', 400, 'DIGEST_INVALID'],
  ['GET', `/v2/app/blobs/sha256:${'A'.repeat(64)}`, 400, 'DIGEST_INVALID'],
  ['GET', `/v2/app/blobs/md5:${'0'.repeat(32)}`, 400, 'DIGEST_INVALID'],
  ['GET', '/', 404, 'UNSUPPORTED'],
  ['GET', '/v1/search', 404, 'UNSUPPORTED'],
  ['GET', '/v2/app', 404, 'UNSUPPORTED'],
  ['POST', '/v2/', 405, 'UNSUPPORTED'],
  ['PATCH', '/v2/app/manifests/v1', 405, 'UNSUPPORTED'],
  ['PUT', '/v2/app/tags/list', 405, 'UNSUPPORTED'],
  ['GET', '/v2/app/blobs/uploads/', 405, 'UNSUPPORTED'],
  ['OPTIONS', '/v2/app/manifests/v1', 405, 'UNSUPPORTED'],
] as const) {
  test(`registry: ${method} ${path.slice(0, 50)} is ${status} ${code}`, async () => {
    await using registry = await RegistryUnderTest.open();
    const answer = await registry.raw(`${method} ${path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n`);
    const [head = '', body = ''] = answer.split('\r\n\r\n');
    assert.ok(head.startsWith(`HTTP/1.1 ${status} `), head);
    assert.match(head, /Content-Type: application\/json/);
    assert.match(head, /Docker-Distribution-Api-Version: registry\/2\.0/);
    assert.equal((JSON.parse(body) as { errors: { code: string }[] }).errors[0]?.code, code);
    if (status === 405) assert.match(head, /Allow: /);
    assert.equal(registry.content.contexts.length, 0);
  });
}

for (const [what, headers] of [
  ['content-type', 'Content-Type: a/b\r\ncontent-type: c/d\r\n'],
  ['range', 'Range: bytes=0-1\r\nRange: bytes=2-3\r\n'],
  ['content-range', 'Content-Range: 0-1\r\nContent-Range: 0-1\r\n'],
  ['fairway-request-id', 'Fairway-Request-Id: a\r\nFairway-Request-Id: b\r\n'],
  ['host', 'Host: other\r\n'],
] as const) {
  test(`registry: a repeated ${what} is 400`, async () => {
    await using registry = await RegistryUnderTest.open();
    const answer = await registry.raw(
      `GET /v2/app/manifests/v1 HTTP/1.1\r\nHost: r\r\n${headers}Connection: close\r\n\r\n`,
    );
    assert.match(answer, /^HTTP\/1\.1 400 [\s\S]*UNSUPPORTED/);
    assert.match(answer, new RegExp(`header ${what} is repeated`));
  });
}

test('registry: several Accept headers are taken', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushManifest('app', 'v1', imageManifest());
  const answer = await registry.raw(
    'GET /v2/app/manifests/v1 HTTP/1.1\r\nHost: r\r\nAccept: a/b\r\nAccept: c/d\r\nConnection: close\r\n\r\n',
  );
  assert.match(answer, /^HTTP\/1\.1 200 /);
});

for (const [what, sent, status] of [
  ['no HTTP', 'nonsense\r\n\r\n', 400],
  ['a header without end', `GET /v2/ HTTP/1.1\r\nHost: r\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
  ['a path without end', `GET /v2/${'x'.repeat(20_000)} HTTP/1.1\r\nHost: r\r\n\r\n`, 431],
  ['two lengths', 'POST /v2/ HTTP/1.1\r\nHost: r\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 400],
  [
    'a length and chunks',
    'POST /v2/ HTTP/1.1\r\nHost: r\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    400,
  ],
  ['a negative length', 'POST /v2/ HTTP/1.1\r\nHost: r\r\nContent-Length: -1\r\n\r\n', 400],
] as const) {
  test(`registry: ${what} is ${status} in the shape of the spec, and the connection ends`, async () => {
    await using registry = await RegistryUnderTest.open();
    const [head = '', body = ''] = (await registry.raw(sent)).split('\r\n\r\n');
    assert.ok(head.startsWith(`HTTP/1.1 ${status} `), head);
    assert.equal((JSON.parse(body) as { errors: { code: string }[] }).errors[0]?.code, 'UNSUPPORTED');
  });
}

test('registry: headers that do not arrive in time are 408', async () => {
  const limits = { headersTimeoutMs: 50, drainMs: 50 };
  await using registry = await RegistryUnderTest.open({ limits });
  assert.match(await registry.raw('GET /v2/ HTTP/1.1\r\nHost: r\r\nX-Slow: '), /^HTTP\/1\.1 408 /);
});

test('registry: garbage behind a request does not get into the bytes of its answer', async () => {
  await using registry = await RegistryUnderTest.open();
  const bytes = Buffer.from('0123456789');
  const digest = await registry.pushBlob('app', bytes);
  const broken = Promise.withResolvers<void>();
  registry.content.body = async function* () {
    yield bytes.subarray(0, 4);
    await broken.promise;
    yield bytes.subarray(4);
  };
  const socket = registry.connect().setEncoding('utf8');
  socket.write(`GET /v2/app/blobs/${digest} HTTP/1.1\r\nHost: r\r\n\r\n`);
  let answer = String((await once(socket, 'data'))[0]);
  socket.on('data', (piece) => {
    answer += String(piece);
  });
  socket.on('error', () => undefined);
  socket.write('nonsense\r\n\r\n');
  await once(socket, 'close');
  broken.resolve();
  assert.ok(answer.endsWith('\r\n\r\n0123'), answer);
});

test('registry: our own fault is 500 without its text, and logged with it', async () => {
  await using registry = await RegistryUnderTest.open();
  registry.content.fault = new TypeError('secret detail');
  const reply = await registry.call('GET', '/v2/app/manifests/v1');
  const requestId = String(reply.headers['fairway-request-id']);
  assert.deepEqual([reply.status, errorCode(reply)], [500, 'UNKNOWN']);
  assert.ok(!reply.bytes.toString().includes('secret'));
  assert.ok(reply.bytes.toString().includes(requestId));
  const line = registry.lines.find((candidate) => candidate.level === 'error');
  assert.deepEqual([line?.fields.requestId, line?.fields.err], [requestId, registry.content.fault]);
});

test('registry: a request id is taken when it is harmless and made when it is not', async () => {
  await using registry = await RegistryUnderTest.open();
  for (const given of ['', 'a b', 'x'.repeat(65), 'a/b', 'ä']) {
    const headers = { 'fairway-request-id': Buffer.from(given).toString('latin1') };
    const reply = await registry.call('GET', '/v2/app/manifests/none', { headers });
    assert.match(String(reply.headers['fairway-request-id']), /^[A-Za-z0-9._-]{1,64}$/);
    assert.notEqual(reply.headers['fairway-request-id'], given);
  }
  const headers = { 'fairway-request-id': 'build-7.a_b' };
  const reply = await registry.call('GET', '/v2/app/manifests/none', { headers });
  assert.equal(reply.headers['fairway-request-id'], 'build-7.a_b');
  assert.equal(registry.content.contexts.at(-1)?.requestId, 'build-7.a_b');
  assert.equal(new Set(registry.content.contexts.map((context) => context.requestId)).size, 6);
});

test('registry: a trace is taken with a step of our own, and begun where there is none that is one', async () => {
  await using registry = await RegistryUnderTest.open();
  const given = `00-${'a1'.repeat(16)}-${'b2'.repeat(8)}-01`;
  const traceOf = async (headers: Record<string, string>) => {
    await registry.call('GET', '/v2/app/manifests/none', { headers });
    const { trace } = registry.content.contexts.at(-1) ?? {};
    assert.ok(trace !== undefined);
    assert.equal(registry.lines.at(-1)?.fields.traceId, trace.traceId);
    return trace;
  };
  const spans = new Set<string>();
  for (const headers of [
    {},
    { traceparent: `${given}-more` },
    { traceparent: given.replaceAll('b2', '00') },
  ]) {
    const { traceId, spanId, sampled } = await traceOf(headers);
    assert.match(`${traceId}-${spanId}`, /^[0-9a-f]{32}-[0-9a-f]{16}$/);
    assert.notEqual(traceId, 'a1'.repeat(16));
    assert.equal(sampled, false);
    spans.add(spanId);
  }
  const { traceId, spanId, sampled } = await traceOf({ traceparent: given });
  assert.deepEqual([traceId, sampled], ['a1'.repeat(16), true]);
  assert.notEqual(spanId, 'b2'.repeat(8));
  assert.equal(spans.add(spanId).size, 4);
});

test('registry: a copy of the context keeps its signal', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.call('GET', '/v2/app/manifests/none');
  const copy = { ...registry.content.contexts[0] };
  assert.ok(copy.signal instanceof AbortSignal);
  assert.equal(copy.principal, 'anonymous');
});

test('registry: writes and errors are logged at info, reads and probes at debug', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushManifest('app', 'v1', imageManifest());
  await registry.call('GET', '/v2/app/manifests/v1?secret=1');
  await registry.call('HEAD', '/v2/app/manifests/none');
  await registry.call('GET', '/v2/app/manifests/none');
  await registry.until(() => registry.lines.length === 4);
  const lines = registry.lines.map(({ level, fields }) => [level, fields.method, fields.status, fields.path]);
  assert.deepEqual(lines, [
    ['info', 'PUT', 201, '/v2/app/manifests/v1'],
    ['debug', 'GET', 200, '/v2/app/manifests/v1'],
    ['debug', 'HEAD', 404, '/v2/app/manifests/none'],
    ['info', 'GET', 404, '/v2/app/manifests/none'],
  ]);
});

test('registry: requests are counted by method, route and class, with their bytes', async () => {
  await using registry = await RegistryUnderTest.open();
  const digest = await registry.pushBlob('app', Buffer.from('0123456789'));
  await registry.call('GET', `/v2/app/blobs/${digest}`);
  await registry.call('GET', '/v2/app/manifests/none');
  await registry.until(() => registry.lines.length === 3);
  const text = await registry.metrics.metrics();
  for (const line of [
    'fairway_http_requests_total{server="registry",route="blob",method="GET",status="2xx"} 1',
    'fairway_http_requests_total{server="registry",route="upload-start",method="POST",status="2xx"} 1',
    'fairway_http_requests_total{server="registry",route="manifest",method="GET",status="4xx"} 1',
    'fairway_http_response_bytes_total{server="registry",route="blob"} 10',
    'fairway_http_request_duration_seconds_count{server="registry",route="blob"} 1',
    'fairway_http_requests_in_flight{server="registry"} 0',
  ]) {
    assert.ok(text.includes(line), `${line}\n${text}`);
  }
});

test('registry: a node that is not ready says so where clients begin', async () => {
  await using registry = await RegistryUnderTest.open();
  assert.equal((await registry.call('GET', '/v2/')).status, 200);
  registry.notReady.push('the store is being opened');
  const reply = await registry.call('GET', '/v2/');
  assert.deepEqual([reply.status, errorCode(reply)], [503, 'UNAVAILABLE']);
  assert.match(reply.bytes.toString(), /the store is being opened/);
});

test('registry: stopping waits for a short answer, ends a long one short, and then nobody is served', async () => {
  const limits = { drainMs: 50 };
  const registry = await RegistryUnderTest.open({ limits });
  const bytes = Buffer.from('0123456789');
  await registry.pushBlob('app', bytes);
  registry.content.body = async function* (_blob, signal) {
    yield bytes.subarray(0, 4);
    await once(signal, 'abort');
    throw signal.reason;
  };
  const idle = registry.connect();
  await once(idle, 'connect');
  const socket = registry.connect().setEncoding('utf8');
  socket.write(`GET /v2/app/blobs/${digestOf(bytes)} HTTP/1.1\r\nHost: r\r\n\r\n`);
  let answer = String((await once(socket, 'data'))[0]);
  const ended = (async () => {
    for await (const piece of socket) answer += String(piece);
  })();
  await registry.stop();
  await ended;
  assert.ok(answer.endsWith('\r\n\r\n0123'), answer);
  const [refused] = await once(registry.connect(), 'error');
  assert.equal((refused as NodeJS.ErrnoException).code, 'ECONNREFUSED');
  await registry[Symbol.asyncDispose]();
});
