/** Uploads over real sockets, into both kinds of blob store: refusals first. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import type { RegistryServerConfig } from '#http/registry-server.ts';
import { systemRandom } from '#runtime/random.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import { openFilesystemBlobStore } from '#storage/blob-store-filesystem.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import { temporaryFolder } from '#test/storage/temporary.ts';
import { errorCode, RegistryUnderTest } from './registry-under-test.ts';

type Open = (config?: Partial<RegistryServerConfig>) => Promise<RegistryUnderTest>;

const STORES: Readonly<Record<string, (folder: string) => Promise<BlobStore>>> = {
  memory: async () => openMemoryBlobStore({ random: systemRandom }),
  filesystem: (root) => openFilesystemBlobStore({ root }, { random: systemRandom }),
};

function testUpload(behaviour: string, check: (open: Open) => Promise<void>): void {
  for (const [store, openStore] of Object.entries(STORES)) {
    test(`upload (${store}): ${behaviour}`, async () => {
      await using folder = await temporaryFolder();
      const blobs = await openStore(folder.path);
      await check((config) => RegistryUnderTest.open({ ...config, blobs }));
    });
  }
}

const BYTES = Buffer.from('0123456789abcdef');
const DIGEST = digestOf(BYTES);

testUpload('a malformed digest is refused, and the upload lives on', async (open) => {
  await using registry = await open();
  const location = await registry.startUpload('app');
  for (const query of ['', '?digest=', '?digest=sha256:xyz', `?digest=md5:${'0'.repeat(32)}`]) {
    const reply = await registry.call('PUT', `${location}${query}`, { body: BYTES });
    assert.equal(reply.status, 400, query);
    assert.equal(errorCode(reply), 'DIGEST_INVALID');
  }
  assert.equal((await registry.call('GET', location)).headers['range'], '0-0');
  assert.equal((await registry.call('PUT', `${location}?digest=${DIGEST}`, { body: BYTES })).status, 201);
});

testUpload('bytes with another digest are refused and not stored', async (open) => {
  await using registry = await open();
  const other = digestOf('other');
  const whole = await registry.call('POST', `/v2/app/blobs/uploads/?digest=${other}`, { body: BYTES });
  assert.deepEqual([whole.status, errorCode(whole)], [400, 'DIGEST_INVALID']);
  const location = await registry.startUpload('app');
  const last = await registry.call('PUT', `${location}?digest=${other}`, { body: BYTES });
  assert.deepEqual([last.status, errorCode(last)], [400, 'DIGEST_INVALID']);
  for (const digest of [DIGEST, other]) {
    assert.equal((await registry.call('HEAD', `/v2/app/blobs/${digest}`)).status, 404);
  }
});

testUpload('an unknown one, or one of another repository, is 404 by every method', async (open) => {
  await using registry = await open();
  const id = (await registry.startUpload('app')).split('/').at(-1);
  for (const path of ['/v2/app/blobs/uploads/0000', `/v2/other/blobs/uploads/${id}`]) {
    for (const method of ['GET', 'PATCH', 'DELETE'] as const) {
      const reply = await registry.call(method, path);
      assert.deepEqual([reply.status, errorCode(reply)], [404, 'BLOB_UPLOAD_UNKNOWN'], `${method} ${path}`);
    }
    assert.equal((await registry.call('PUT', `${path}?digest=${DIGEST}`)).status, 404);
  }
});

testUpload(
  'a misordered chunk is 416 with the range, also in the closing PUT, and the right one is taken after',
  async (open) => {
    await using registry = await open();
    const location = await registry.startUpload('app');
    const chunk = (method: 'PATCH' | 'PUT', start: number, end: number, query = '') =>
      registry.call(method, `${location}${query}`, {
        headers: { 'content-range': `${start}-${end}` },
        body: BYTES.subarray(start, end + 1),
      });
    assert.equal((await chunk('PATCH', 0, 7)).status, 202);
    for (const reply of [
      await chunk('PATCH', 0, 7),
      await chunk('PATCH', 9, 12),
      await chunk('PUT', 9, 15, `?digest=${DIGEST}`),
    ]) {
      assert.deepEqual([reply.status, errorCode(reply)], [416, 'RANGE_INVALID']);
      assert.equal(reply.headers['range'], '0-7');
      assert.equal(reply.headers['location'], location);
    }
    const status = await registry.call('GET', location);
    assert.deepEqual([status.status, status.headers['range']], [204, '0-7']);
    assert.equal((await chunk('PUT', 8, 15, `?digest=${DIGEST}`)).status, 201);
    assert.deepEqual((await registry.call('GET', `/v2/app/blobs/${DIGEST}`)).bytes, BYTES);
  },
);

testUpload('a chunk whose lengths contradict each other is refused before it is read', async (open) => {
  await using registry = await open();
  const location = await registry.startUpload('app');
  const headers = { 'content-range': '0-3' };
  const reply = await registry.call('PATCH', location, { headers, body: BYTES });
  assert.deepEqual([reply.status, errorCode(reply)], [400, 'SIZE_INVALID']);
  const malformed = await registry.call('PATCH', location, {
    headers: { 'content-range': 'a-b' },
    body: BYTES,
  });
  assert.deepEqual([malformed.status, errorCode(malformed)], [400, 'BLOB_UPLOAD_INVALID']);
  assert.equal((await registry.call('GET', location)).headers['range'], '0-0');
});

testUpload(
  'a chunked body longer or shorter than its content range keeps what fits, and says so',
  async (open) => {
    await using registry = await open();
    const location = await registry.startUpload('app');
    const long = await registry.call('PATCH', location, {
      headers: { 'content-range': '0-3' },
      body: pieces(['0123', '456']),
    });
    assert.deepEqual([long.status, errorCode(long)], [400, 'SIZE_INVALID']);
    assert.equal((await registry.call('GET', location)).headers['range'], '0-3');
    const short = await registry.call('PATCH', location, {
      headers: { 'content-range': '4-9' },
      body: pieces(['45']),
    });
    assert.deepEqual([short.status, errorCode(short)], [400, 'SIZE_INVALID']);
    assert.equal((await registry.call('GET', location)).headers['range'], '0-5');
  },
);

testUpload('a body that is cut off commits nothing, and the upload has what arrived', async (open) => {
  await using registry = await open();
  const location = await registry.startUpload('app');
  const socket = registry.connect();
  socket.write(
    `PUT ${location}?digest=${DIGEST} HTTP/1.1\r\nHost: r\r\nContent-Length: ${BYTES.length}\r\n\r\n0123456789`,
  );
  await arrived(registry, location, '0-9');
  socket.destroy();
  await once(socket, 'close');
  assert.equal((await registry.call('HEAD', `/v2/app/blobs/${DIGEST}`)).status, 404);
  assert.equal(await closed(registry, location), 201);
});

testUpload(
  'a client that sends half and closes its side is answered 400, and the upload lives on',
  async (open) => {
    await using registry = await open();
    const location = await registry.startUpload('app');
    const socket = registry.connect();
    socket.end(`PATCH ${location} HTTP/1.1\r\nHost: r\r\nContent-Length: 16\r\n\r\n01234567`);
    const [head] = await once(socket.setEncoding('utf8'), 'data');
    assert.match(String(head), /^HTTP\/1\.1 400 /);
    const status = await registry.call('GET', location);
    assert.equal(status.status, 204);
    assert.match(String(status.headers['range']), /^0-[07]$/);
  },
);

testUpload('more than the limit of a blob is 413', async (open) => {
  await using registry = await open({ blobBytesMax: 10 });
  const location = await registry.startUpload('app');
  const reply = await registry.call('PATCH', location, { body: BYTES });
  assert.deepEqual([reply.status, errorCode(reply)], [413, 'SIZE_INVALID']);
});

testUpload('a second writer at the same time is refused, the first goes on', async (open) => {
  await using registry = await open();
  const location = await registry.startUpload('app');
  const socket = registry.connect();
  socket.write(`PATCH ${location} HTTP/1.1\r\nHost: r\r\nContent-Length: 16\r\n\r\n0123`);
  await arrived(registry, location, '0-3');
  const second = await registry.call('PATCH', location, { body: 'x' });
  assert.deepEqual([second.status, errorCode(second)], [409, 'BLOB_UPLOAD_INVALID']);
  socket.write('456789abcdef');
  const [head] = await once(socket.setEncoding('utf8'), 'data');
  assert.match(String(head), /^HTTP\/1\.1 202 [\s\S]*Range: 0-15/);
});

testUpload('a refused body is not invited, and its sender gets the whole refusal', async (open) => {
  await using registry = await open();
  const answer = await registry.raw(
    'PATCH /v2/app/blobs/uploads/none HTTP/1.1\r\nHost: r\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n',
  );
  assert.match(answer, /^HTTP\/1\.1 404 /);
  assert.match(answer, /Connection: close/);
  assert.match(answer, /BLOB_UPLOAD_UNKNOWN/);
});

testUpload('a sender that goes on after a refusal gets the answer and no reset', async (open) => {
  await using registry = await open();
  const socket = registry.connect();
  const sizeBytes = 8 * 1024 * 1024;
  socket.write(
    `PATCH /v2/app/blobs/uploads/none HTTP/1.1\r\nHost: r\r\nContent-Length: ${sizeBytes}\r\n\r\n`,
  );
  socket.end(Buffer.alloc(sizeBytes));
  let answer = '';
  for await (const piece of socket.setEncoding('utf8')) answer += piece;
  assert.match(answer, /^HTTP\/1\.1 404 [\s\S]*BLOB_UPLOAD_UNKNOWN/);
});

testUpload('an invited body is continued', async (open) => {
  await using registry = await open();
  const location = await registry.startUpload('app');
  const socket = registry.connect().setEncoding('utf8');
  socket.write(`PATCH ${location} HTTP/1.1\r\nHost: r\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n`);
  const [invitation] = await once(socket, 'data');
  assert.match(String(invitation), /^HTTP\/1\.1 100 /);
  socket.write('0123');
  const [answer] = await once(socket, 'data');
  assert.match(String(answer), /^HTTP\/1\.1 202 /);
});

testUpload('a mount with a malformed digest or source is 400', async (open) => {
  await using registry = await open();
  const digest = await registry.call('POST', '/v2/app/blobs/uploads/?mount=sha256:1&from=lib');
  assert.deepEqual([digest.status, errorCode(digest)], [400, 'DIGEST_INVALID']);
  const from = await registry.call('POST', `/v2/app/blobs/uploads/?mount=${DIGEST}&from=LIB`);
  assert.deepEqual([from.status, errorCode(from)], [400, 'NAME_INVALID']);
});

testUpload('an algorithm that is not supported is refused', async (open) => {
  await using registry = await open();
  const reply = await registry.call('POST', '/v2/app/blobs/uploads/?digest-algorithm=md5');
  assert.deepEqual([reply.status, errorCode(reply)], [400, 'DIGEST_INVALID']);
  const sha512 = await registry.call('POST', '/v2/app/blobs/uploads/?digest-algorithm=sha512');
  assert.equal(sha512.status, 202);
});

testUpload('whole, streamed, chunked and empty ones are stored', async (open) => {
  await using registry = await open();
  const whole = await registry.call('POST', `/v2/a/blobs/uploads/?digest=${DIGEST}`, { body: BYTES });
  assert.equal(whole.status, 201);
  assert.equal(whole.headers['location'], `/v2/a/blobs/${DIGEST}`);
  assert.equal(whole.headers['docker-content-digest'], DIGEST);

  const started = await registry.call('POST', '/v2/b/blobs/uploads/');
  assert.deepEqual([started.status, started.headers['range']], [202, '0-0']);
  const location = String(started.headers['location']);
  assert.match(location, /^\/v2\/b\/blobs\/uploads\/[^/?]+$/);
  const streamed = await registry.call('PATCH', location, { body: pieces(['01234567', '89abcdef']) });
  assert.deepEqual([streamed.status, streamed.headers['range']], [202, '0-15']);
  assert.equal((await registry.call('PUT', `${location}?digest=${DIGEST}`)).status, 201);
  assert.equal((await registry.call('GET', location)).status, 404);

  const sha512 = digestOf(BYTES, 'sha512');
  const long = await registry.call('POST', `/v2/c/blobs/uploads/?digest=${sha512}`, { body: BYTES });
  assert.deepEqual([long.status, long.headers['docker-content-digest']], [201, sha512]);

  const empty = digestOf('');
  const none = await registry.startUpload('d');
  assert.equal((await registry.call('PUT', `${none}?digest=${empty}`)).status, 201);
  const read = await registry.call('GET', `/v2/d/blobs/${empty}`, { headers: { range: 'bytes=0-' } });
  assert.deepEqual([read.status, read.bytes.length], [200, 0]);
});

testUpload('the same blob again is stored again without complaint', async (open) => {
  await using registry = await open();
  assert.equal(await registry.pushBlob('app', BYTES), DIGEST);
  assert.equal(await registry.pushBlob('app', BYTES), DIGEST);
});

testUpload('a cancelled one is gone', async (open) => {
  await using registry = await open();
  const location = await registry.startUpload('app');
  await registry.call('PATCH', location, { body: BYTES });
  assert.equal((await registry.call('DELETE', location)).status, 204);
  assert.equal((await registry.call('GET', location)).status, 404);
});

testUpload(
  'a mount links what the other repository has, and begins an upload where it has not',
  async (open) => {
    await using registry = await open();
    await registry.pushBlob('lib', BYTES);
    const mounted = await registry.call('POST', `/v2/app/blobs/uploads/?mount=${DIGEST}&from=lib`);
    assert.deepEqual([mounted.status, mounted.headers['location']], [201, `/v2/app/blobs/${DIGEST}`]);
    assert.equal((await registry.call('HEAD', `/v2/app/blobs/${DIGEST}`)).status, 200);
    const missing = await registry.call('POST', `/v2/app/blobs/uploads/?mount=${digestOf('no')}&from=lib`);
    assert.equal(missing.status, 202);
    assert.match(String(missing.headers['location']), /^\/v2\/app\/blobs\/uploads\//);
  },
);

async function* pieces(texts: readonly string[]): AsyncGenerator<Buffer> {
  for (const piece of texts) yield Buffer.from(piece);
}

/** Asks until the upload has these bytes: what was sent takes its time through the sockets. */
async function arrived(registry: RegistryUnderTest, location: string, range: string): Promise<void> {
  for (let attempt = 0; attempt < 1000; attempt += 1) {
    if ((await registry.call('GET', location)).headers['range'] === range) return;
  }
  assert.fail(`${location} never had ${range}`);
}

/** Sends the rest until the request that was cut off has let go of the upload. */
async function closed(registry: RegistryUnderTest, location: string): Promise<number> {
  for (let attempt = 0; attempt < 1000; attempt += 1) {
    const { status } = await registry.call('PUT', `${location}?digest=${DIGEST}`, {
      headers: { 'content-range': '10-15' },
      body: BYTES.subarray(10),
    });
    if (status !== 409) return status;
  }
  return 409;
}
