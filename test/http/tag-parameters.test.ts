/** Tags that are set by a push by digest: `PUT …/manifests/<digest>?tag=a&tag=b`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DigestAlgorithm, digestOf } from '#domain/digest.ts';
import { image, index } from '#test/suites/manifest-samples.ts';
import { errorCode } from './registry-under-test.ts';
import { openRegistryWithContent, type RegistryWithContent } from './registry-with-content.ts';

const IMAGE = image({});
const OTHER = image({ subject: digestOf('subject') });

async function openWithConfig(): Promise<RegistryWithContent> {
  const registry = await openRegistryWithContent();
  await registry.pushBlob('app', 'config');
  return registry;
}

function queryOf(tags: readonly string[]): string {
  return tags.map((tag) => `tag=${tag}`).join('&');
}

async function tagsOf(registry: RegistryWithContent): Promise<readonly string[]> {
  const reply = await registry.call('GET', '/v2/app/tags/list');
  return reply.status === 404 ? [] : (JSON.parse(reply.bytes.toString()) as { tags: string[] }).tags;
}

test('tag parameter: one that is no tag refuses the push, and nothing of it is stored', async () => {
  await using registry = await openWithConfig();
  for (const wrong of ['', '-a', 'a%2Fb', 'x'.repeat(129), 'ä']) {
    const reply = await registry.pushManifest('app', `${IMAGE.digest}?tag=good&tag=${wrong}`, IMAGE);
    assert.deepEqual([reply.status, errorCode(reply)], [400, 'TAG_INVALID'], wrong);
  }
  assert.deepEqual(await tagsOf(registry), []);
  assert.equal(await registry.probe(`/v2/app/manifests/${IMAGE.digest}`), 404);
});

test('tag parameter: too many tags, and a query that is too long, are 414, and nothing is stored', async () => {
  await using registry = await openWithConfig();
  const many = Array.from({ length: 49 }, (_, position) => `t${position}`);
  const long = Array.from({ length: 65 }, (_, position) => String(position).padStart(128, 'x'));
  for (const tags of [many, long]) {
    const reply = await registry.pushManifest('app', `${IMAGE.digest}?${queryOf(tags)}`, IMAGE);
    assert.deepEqual([reply.status, errorCode(reply)], [414, 'UNSUPPORTED']);
  }
  assert.deepEqual(await tagsOf(registry), []);
});

test('tag parameter: another digest than that of the bytes sets no tag', async () => {
  await using registry = await openWithConfig();
  const reply = await registry.pushManifest('app', `${OTHER.digest}?tag=v1`, IMAGE);
  assert.deepEqual([reply.status, errorCode(reply)], [400, 'DIGEST_INVALID']);
  assert.deepEqual(await tagsOf(registry), []);
});

test('tag parameter: a push by tag sets that tag only, and echoes none', async () => {
  await using registry = await openWithConfig();
  const reply = await registry.pushManifest('app', 'v1?tag=v2', IMAGE);
  assert.deepEqual([reply.status, reply.headers['oci-tag']], [201, undefined]);
  assert.deepEqual(await tagsOf(registry), ['v1']);
});

for (const algorithm of ['sha256', 'sha512'] as const satisfies readonly DigestAlgorithm[]) {
  test(`tag parameter: the longest tags that fit are set by one push with a ${algorithm} digest`, async () => {
    await using registry = await openWithConfig();
    const tags = Array.from({ length: 48 }, (_, position) => String(position).padStart(128, 'x'));
    const digest = digestOf(IMAGE.bytes, algorithm);
    const before = (await registry.metadata.claims.origin()).sequence;
    const reply = await registry.pushManifest('app', `${digest}?${queryOf([...tags, tags[0] ?? ''])}`, IMAGE);
    assert.deepEqual([reply.status, reply.headers['docker-content-digest']], [201, digest]);
    assert.deepEqual([reply.headers['oci-tag']].flat(), tags);
    assert.deepEqual(await tagsOf(registry), tags.toSorted());
    for (const tag of [tags[0], tags.at(-1)]) {
      const read = await registry.call('GET', `/v2/app/manifests/${tag}`);
      assert.deepEqual([read.status, read.headers['docker-content-digest']], [200, digest]);
    }
    const { sequence, epoch } = await registry.metadata.claims.origin();
    assert.equal(sequence - before, 1 + tags.length, 'a claim for the manifest and one for each tag');
    assert.equal(reply.headers['fairway-version'], `eu-west.${epoch}.${sequence}`);
  });
}

test('tag parameter: tags that exist are moved, also between algorithms', async () => {
  await using registry = await openWithConfig();
  const list = index([]);
  await registry.pushManifest('app', 'v1', list);
  const digest = digestOf(IMAGE.bytes, 'sha512');
  await registry.pushManifest('app', `${digest}?tag=v1&tag=v2`, IMAGE);
  const moved = await registry.call('GET', '/v2/app/manifests/v1');
  assert.equal(moved.headers['docker-content-digest'], digest);
  assert.equal(await registry.probe(`/v2/app/manifests/${list.digest}`), 200);
});
