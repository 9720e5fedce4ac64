/** A manifest from memory is answered like one from the database: the same bytes, headers, conditions and refusals. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import type { Reply } from './registry-under-test.ts';
import { openRegistryWithContent, type RegistryWithContent } from './registry-with-content.ts';

const PATH = '/v2/team/app/manifests/latest';

/** With bytes of every kind that UTF-8 has, and one above what a text is sent for. */
async function pushed(registry: RegistryWithContent, pad: string) {
  const config = await registry.pushBlob('team/app', '{}');
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config, size: 2 },
      layers: [],
      annotations: { pad },
    }),
  );
  const manifest = { digest: digestOf(bytes), mediaType: MEDIA_TYPE.ociManifest, bytes };
  assert.equal((await registry.pushManifest('team/app', 'latest', manifest)).status, 201);
  return manifest;
}

function comparable({ status, headers, bytes }: Reply) {
  const { date: _date, 'fairway-request-id': _id, ...others } = headers;
  return { status, headers: others, bytes: bytes.toString('latin1') };
}

for (const [what, pad] of [
  ['small', 'ÿé€𝄞\\u0000'],
  ['large', 'é'.repeat(20_000)],
]) {
  test(`registry: a ${what} manifest from memory is the one from the database`, async () => {
    await using registry = await openRegistryWithContent();
    const manifest = await pushed(registry, pad ?? '');
    for (const method of ['GET', 'HEAD'] as const) {
      const replies: Reply[] = [];
      for (let n = 0; n < 3; n += 1) replies.push(await registry.call(method, PATH));
      const [first, second, third] = replies.map(comparable);
      assert.equal(first?.status, 200);
      assert.deepEqual(second, first);
      assert.deepEqual(third, first);
      assert.ok(replies[2]?.bytes.equals(method === 'GET' ? manifest.bytes : Buffer.alloc(0)));
      assert.equal(replies[2]?.headers['content-length'], String(manifest.bytes.length));
    }
    const conditional = await registry.call('GET', PATH, {
      headers: { 'if-none-match': `"${manifest.digest}"` },
    });
    assert.equal(conditional.status, 304);
    const other = await registry.call('GET', PATH, { headers: { 'if-none-match': '"sha256:0"' } });
    assert.ok(other.bytes.equals(manifest.bytes));
  });
}

test('registry: after its 201 a moved tag is answered, and after its 202 a deleted one is not', async () => {
  await using registry = await openRegistryWithContent();
  for (const pad of ['one', 'two', 'three']) {
    const manifest = await pushed(registry, pad);
    for (let n = 0; n < 2; n += 1) {
      assert.equal((await registry.call('GET', PATH)).headers['docker-content-digest'], manifest.digest);
    }
  }
  assert.equal((await registry.call('DELETE', PATH)).status, 202);
  assert.equal((await registry.call('GET', PATH)).status, 404);
});

test('registry: a request with a fault is refused although its manifest is in memory', async () => {
  await using registry = await openRegistryWithContent();
  await pushed(registry, 'x');
  for (let n = 0; n < 2; n += 1) await registry.call('GET', PATH);
  assert.equal((await registry.call('POST', PATH)).status, 405);
  assert.equal((await registry.call('GET', '/v2/team/app/manifests/late%2fst')).status, 400);
  assert.equal((await registry.call('GET', '/v2/Team/app/manifests/latest')).status, 400);
});
