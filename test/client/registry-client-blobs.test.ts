/** Blobs from counterpart registries that fail, lie and stall, and from one that does as it should. */
import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { test } from 'node:test';
import { HOST_LIMITS } from '#client/host-limits.ts';
import { digestOf } from '#domain/digest.ts';
import { FAST, MANIFEST_REQUEST, openClient, start, unavailable } from '#test/client/client-under-test.ts';
import { Counterpart, contextOf, REPOSITORY, readAll, sendError } from '#test/client/counterpart.ts';

const BLOB = Buffer.from('0123456789'.repeat(20_000));
const DIGEST = digestOf(BLOB);
const BLOB_REQUEST = { repository: REPOSITORY, digest: DIGEST, offset: 0 };

/** Serves ranges as a registry should. */
function serveBlob(request: IncomingMessage, response: ServerResponse): void {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const isRange = request.headers.range !== undefined;
  if (start >= BLOB.byteLength) {
    response.writeHead(416, { 'content-range': `bytes */${BLOB.byteLength}` }).end();
    return;
  }
  response.writeHead(isRange ? 206 : 200, {
    'content-length': BLOB.byteLength - start,
    ...(isRange
      ? { 'content-range': `bytes ${start}-${BLOB.byteLength - 1}/${BLOB.byteLength}` }
      : undefined),
  });
  response.end(BLOB.subarray(start));
}

for (const { status, pattern } of [
  { status: 401, pattern: /"hub".*refused access \(401\).*credentials.*blob sha256:.*said 401/ },
  { status: 403, pattern: /"hub".*refused access \(403\).*credentials/ },
  { status: 500, pattern: /"hub".*answered 500.*said 500/ },
  { status: 503, pattern: /"hub".*answered 503/ },
  { status: 418, pattern: /"hub".*answered 418/ },
]) {
  test(`registry client: ${status} is unavailable, and says who refused what`, async () => {
    await using under = await start((_request, response) => sendError(response, status));
    await assert.rejects(under.client.openBlob(BLOB_REQUEST, contextOf()), unavailable(pattern));
  });
}

test('registry client: a port where nobody listens fails at once, and after five times without being asked', async () => {
  const gone = await Counterpart.start(() => undefined);
  await gone[Symbol.asyncDispose]();
  await using client = openClient(gone.url);
  for (let i = 0; i < 5; i += 1) {
    await assert.rejects(
      client.openBlob(BLOB_REQUEST, contextOf()),
      unavailable(/did not answer.*ECONNREFUSED/),
    );
  }
  await assert.rejects(client.openBlob(BLOB_REQUEST, contextOf()), unavailable(/failed 5 times/));
});

test('registry client: a body that stalls is given up after the progress limit', async () => {
  await using under = await start(
    (_request, response) => {
      response.writeHead(200, { 'content-length': BLOB.byteLength });
      response.write(BLOB.subarray(0, 1_000));
    },
    { timeouts: FAST },
  );
  const blob = await under.client.openBlob(BLOB_REQUEST, contextOf());
  assert.ok(blob !== undefined);
  await assert.rejects(readAll(blob.body), unavailable(/broke off.*Timeout/));
});

test('registry client: a truncated body throws from the iteration, after the bytes that came', async () => {
  await using under = await start((_request, response) => {
    response.writeHead(200, { 'content-length': BLOB.byteLength });
    response.write(BLOB.subarray(0, 1_000), () => response.destroy());
  });
  const blob = await under.client.openBlob(BLOB_REQUEST, contextOf());
  let receivedBytes = 0;
  await assert.rejects(
    async () => {
      for await (const piece of blob?.body ?? []) receivedBytes += piece.byteLength;
    },
    unavailable(/broke off/),
  );
  assert.equal(receivedBytes, 1_000);
});

for (const { what, headers, pattern } of [
  {
    what: 'starts elsewhere',
    headers: { 'content-range': `bytes 0-199999/200000` },
    pattern: /answered with 0-199999/,
  },
  {
    what: 'ends early',
    headers: { 'content-range': 'bytes 100-199/200000' },
    pattern: /answered with 100-199/,
  },
  { what: 'has no total', headers: { 'content-range': 'bytes 100-199999/*' }, pattern: /unreadable/ },
  { what: 'is missing', headers: {}, pattern: /unreadable/ },
  {
    what: 'contradicts its length',
    headers: { 'content-range': 'bytes 100-199999/200000', 'content-length': '5' },
    pattern: /Content-Length of 5/,
  },
] as const) {
  test(`registry client: a partial answer whose Content-Range ${what} is refused`, async () => {
    await using under = await start((_request, response) => {
      response.writeHead(206, headers);
      response.end('12345');
    });
    await assert.rejects(
      under.client.openBlob({ ...BLOB_REQUEST, offset: 100 }, contextOf()),
      unavailable(pattern),
    );
  });
}

test('registry client: bytes for another digest, encoded bytes and a blob of unknown size are refused', async () => {
  for (const headers of [
    { 'docker-content-digest': digestOf('another'), 'content-length': '3' },
    { 'content-encoding': 'gzip', 'content-length': '3' },
    {},
  ]) {
    await using under = await start((_request, response) => response.writeHead(200, headers).end('abc'));
    await assert.rejects(under.client.openBlob(BLOB_REQUEST, contextOf()), unavailable(/nothing usable/));
  }
});

test('registry client: 404 is absence, for blobs and manifests', async () => {
  await using under = await start((_request, response) => sendError(response, 404));
  assert.equal(await under.client.openBlob(BLOB_REQUEST, contextOf()), undefined);
  assert.equal(await under.client.fetchManifest(MANIFEST_REQUEST, contextOf()), undefined);
  assert.equal(await under.client.headManifest(MANIFEST_REQUEST, contextOf()), undefined);
});

test('registry client: a blob from the start and from an offset', async () => {
  await using under = await start(serveBlob);
  for (const offset of [0, 1, 123_456, BLOB.byteLength - 1, BLOB.byteLength]) {
    const blob = await under.client.openBlob({ ...BLOB_REQUEST, offset }, contextOf());
    assert.equal(blob?.sizeBytes, BLOB.byteLength);
    assert.deepEqual(await readAll(blob.body), BLOB.subarray(offset));
  }
  const first = under.registry.seen[0];
  assert.equal(first?.path, `/v2/library/alpine/blobs/${DIGEST}`);
  assert.equal(first.headers.range, undefined);
  assert.equal(first.headers['fairway-request-id'], 'request-1');
  assert.equal(first.headers['traceparent'], `00-${'a1'.repeat(16)}-${'b2'.repeat(8)}-00`);
  assert.equal(first.headers['accept-encoding'], 'identity');
});

test('registry client: past the end there is nothing, and that is not the blob we know', async () => {
  await using under = await start(serveBlob);
  await assert.rejects(
    under.client.openBlob({ ...BLOB_REQUEST, offset: BLOB.byteLength + 1 }, contextOf()),
    unavailable(/no bytes from/),
  );
});

test('registry client: a registry without ranges is read up to a near offset, and refused for a far one', async () => {
  const far = 100 * 1024 * 1024;
  let sizeBytes = BLOB.byteLength;
  await using under = await start((_request, response) => {
    response.writeHead(200, { 'content-length': sizeBytes });
    if (sizeBytes === BLOB.byteLength) response.end(BLOB);
    else response.write('x');
  });
  const blob = await under.client.openBlob({ ...BLOB_REQUEST, offset: 70_001 }, contextOf());
  assert.deepEqual(await readAll(blob?.body ?? assert.fail()), BLOB.subarray(70_001));
  sizeBytes = far + 1;
  await assert.rejects(
    under.client.openBlob({ ...BLOB_REQUEST, offset: far }, contextOf()),
    unavailable(/too far/),
  );
});

test('registry client: the reason of the signal is thrown, before and in the middle of a body', async () => {
  await using under = await start((_request, response) => {
    response.writeHead(200, { 'content-length': BLOB.byteLength });
    response.write(BLOB.subarray(0, 1_000));
  });
  const gone = new Error('the client has gone');
  await assert.rejects(under.client.openBlob(BLOB_REQUEST, contextOf(AbortSignal.abort(gone))), gone);
  const controller = new AbortController();
  const blob = await under.client.openBlob(BLOB_REQUEST, contextOf(controller.signal));
  await assert.rejects(async () => {
    for await (const _piece of blob?.body ?? []) controller.abort(gone);
  }, gone);
});

test('registry client: a body returned before it was read closes its connection and frees its place', async () => {
  const closed = Promise.withResolvers<void>();
  const limits = { ...HOST_LIMITS, concurrency: { question: 1, blob: 1 } };
  await using under = await start(
    (request, response) => {
      if (under.registry.seen.length > 1) {
        serveBlob(request, response);
        return;
      }
      response.writeHead(200, { 'content-length': BLOB.byteLength });
      response.write(BLOB.subarray(0, 1_000));
      response.once('close', () => closed.resolve());
    },
    { limits },
  );
  const first = await under.client.openBlob(BLOB_REQUEST, contextOf());
  const second = under.client.openBlob(BLOB_REQUEST, contextOf());
  await first?.body[Symbol.asyncIterator]().return?.();
  await closed.promise;
  assert.deepEqual(await readAll((await second)?.body ?? assert.fail()), BLOB);
  assert.equal(under.registry.seen.length, 2);
});

test('registry client: a redirect to another host is followed, without what was meant for the registry', async () => {
  await using store = await Counterpart.start(serveBlob);
  await using under = await start(
    (request, response) => {
      if (request.headers.authorization === undefined) {
        sendError(response, 401, { 'www-authenticate': 'Basic realm="test"' });
        return;
      }
      response.writeHead(307, { location: `http://localhost:${store.port}/data?signature=x` }).end();
    },
    {
      credentials: async () => ({ username: 'me', password: 'secret' }),
      headers: { 'fairway-hop': 'eu-west' },
    },
  );
  const blob = await under.client.openBlob({ ...BLOB_REQUEST, offset: 10 }, contextOf());
  assert.deepEqual(await readAll(blob?.body ?? assert.fail()), BLOB.subarray(10));
  assert.ok(under.registry.seen[1]?.headers.authorization?.startsWith('Basic '));
  const [redirected] = store.seen;
  assert.equal(redirected?.path, '/data?signature=x');
  assert.equal(redirected.headers.range, 'bytes=10-');
  assert.equal(redirected.headers.authorization, undefined);
  assert.equal(redirected.headers['fairway-hop'], undefined);
  assert.equal(redirected.headers['fairway-request-id'], undefined);
  assert.equal(redirected.headers['traceparent'], undefined);
});

test('registry client: redirects that go in circles end', async () => {
  await using under = await start((request, response) =>
    response.writeHead(302, { location: request.url ?? '' }).end(),
  );
  await assert.rejects(
    under.client.openBlob(BLOB_REQUEST, contextOf()),
    unavailable(/redirected.*more than 5 times/),
  );
  assert.equal(under.registry.seen.length, 6);
});

test('registry client: disposing breaks off what is under way', async () => {
  const registry = await Counterpart.start((_request, response) => {
    response.writeHead(200, { 'content-length': BLOB.byteLength });
    response.write(BLOB.subarray(0, 1_000));
  });
  await using _registry = registry;
  const client = openClient(registry.url);
  const blob = await client.openBlob(BLOB_REQUEST, contextOf());
  const reading = assert.rejects(readAll(blob?.body ?? assert.fail()), unavailable(/broke off/));
  await client[Symbol.asyncDispose]();
  await reading;
});
