/** Manifests from counterpart registries, whose answers are not what they should be or exactly that. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { parseRegistryUrl } from '#client/registry-session.ts';
import { digestOf } from '#domain/digest.ts';
import type { UnavailableError } from '#domain/errors.ts';
import { MANIFEST_ACCEPT, MANIFEST_BYTES_MAX, MEDIA_TYPE } from '#domain/manifest.ts';
import { FAST, MANIFEST_REQUEST, openClient, start, unavailable } from '#test/client/client-under-test.ts';
import {
  Counterpart,
  contextOf,
  manifestBytes,
  REPOSITORY,
  sendError,
  sendManifest,
} from '#test/client/counterpart.ts';

test('registry client: 429 is unavailable for as long as it says, and nobody asks meanwhile', async () => {
  await using under = await start((_request, response) => sendError(response, 429, { 'retry-after': '7' }));
  await assert.rejects(under.client.fetchManifest(MANIFEST_REQUEST, contextOf()), (thrown) => {
    assert.ok(unavailable(/limits our rate/)(thrown));
    assert.equal((thrown as UnavailableError).retryAfterMs, 7_000);
    return true;
  });
  const blob = { repository: REPOSITORY, digest: digestOf('x'), offset: 0 };
  await assert.rejects(under.client.openBlob(blob, contextOf()), unavailable(/limits our rate/));
  assert.equal(under.registry.seen.length, 1);
});

test('registry client: a registry that accepts and never answers is given up after the first-byte limit', async () => {
  await using under = await start(() => undefined, { timeouts: FAST });
  await assert.rejects(
    under.client.headManifest(MANIFEST_REQUEST, contextOf()),
    unavailable(/did not answer: Headers Timeout/),
  );
});

test('registry client: a kept connection that the registry closed is tried once more', async () => {
  await using under = await start((request, response) => {
    if (under.registry.seen.length === 2) request.socket.destroy();
    else sendManifest(response, manifestBytes('a'));
  });
  assert.ok(await under.client.fetchManifest(MANIFEST_REQUEST, contextOf()));
  assert.ok(await under.client.fetchManifest(MANIFEST_REQUEST, contextOf()));
  assert.equal(under.registry.seen.length, 3);
});

for (const { what, send, pattern } of [
  {
    what: 'an HTML page',
    send: (response: ServerResponse) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Please log in</html>'),
    pattern: /not valid JSON/,
  },
  {
    what: 'a Docker schema 1 manifest',
    send: (response: ServerResponse) =>
      response
        .writeHead(200, { 'content-type': 'application/vnd.docker.distribution.manifest.v1+prettyjws' })
        .end('{"schemaVersion":1}'),
    pattern: /schema 1/,
  },
  {
    what: 'other bytes than the Docker-Content-Digest names',
    send: (response: ServerResponse) => sendManifest(response, manifestBytes('a'), digestOf('b')),
    pattern: /have the digest sha256:/,
  },
  {
    what: 'one byte too many',
    send: (response: ServerResponse) =>
      response
        .writeHead(200, { 'content-type': MEDIA_TYPE.ociManifest })
        .end(Buffer.alloc(MANIFEST_BYTES_MAX + 1, 32)),
    pattern: /more than 4194304 bytes/,
  },
] as const) {
  test(`registry client: ${what} is no manifest`, async () => {
    await using under = await start((_request, response) => {
      send(response);
    });
    await assert.rejects(under.client.fetchManifest(MANIFEST_REQUEST, contextOf()), unavailable(pattern));
  });
}

test('registry client: a manifest by digest must hash to it, whatever the header says', async () => {
  const bytes = manifestBytes('a');
  await using under = await start((_request, response) => sendManifest(response, bytes));
  const wrong = { repository: REPOSITORY, reference: { digest: digestOf('b') } };
  await assert.rejects(under.client.fetchManifest(wrong, contextOf()), unavailable(/have the digest/));
  const sha512 = digestOf(bytes, 'sha512');
  const right = { repository: REPOSITORY, reference: { digest: sha512 } };
  assert.equal((await under.client.fetchManifest(right, contextOf()))?.digest, sha512);
});

test('registry client: a manifest by tag comes byte for byte, with its digest and media type', async () => {
  const bytes = manifestBytes('a');
  await using under = await start((_request, response) => sendManifest(response, bytes));
  const manifest = await under.client.fetchManifest(MANIFEST_REQUEST, contextOf());
  assert.equal(manifest?.digest, digestOf(bytes));
  assert.equal(manifest.mediaType, MEDIA_TYPE.ociManifest);
  assert.deepEqual(Buffer.from(manifest.bytes), Buffer.from(bytes));
  assert.equal(under.registry.seen[0]?.headers.accept, MANIFEST_ACCEPT);
  const head = await under.client.headManifest(MANIFEST_REQUEST, contextOf());
  assert.equal(head?.digest, digestOf(bytes));
});

test('registry client: a registry without HEAD, or without the digest header, is to be asked by GET', async () => {
  for (const status of [200, 405, 501]) {
    await using under = await start((_request, response) => response.writeHead(status).end());
    assert.deepEqual(await under.client.headManifest(MANIFEST_REQUEST, contextOf()), { digest: undefined });
  }
});

test('registry client: the address of a registry is one without secrets in it', () => {
  for (const url of ['', 'registry.test', 'ftp://a', 'https://me:secret@a', 'https://a?b', 'https://a#b']) {
    assert.throws(
      () => parseRegistryUrl(url),
      (thrown) => {
        assert.ok(thrown instanceof TypeError);
        assert.ok(!thrown.message.includes('secret'));
        return true;
      },
    );
  }
});

test('registry client: an address with a path is kept in front', async () => {
  await using registry = await Counterpart.start((_request, response) =>
    sendManifest(response, manifestBytes('a')),
  );
  await using client = openClient(`${registry.url}/mirror/`);
  assert.ok(await client.fetchManifest(MANIFEST_REQUEST, contextOf()));
  assert.equal(registry.seen[0]?.path, '/mirror/v2/library/alpine/manifests/latest');
});
