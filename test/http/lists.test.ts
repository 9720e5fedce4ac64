/** Tags, catalog and referrers over real sockets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Digest, digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { errorCode, imageManifest, RegistryUnderTest, type Reply } from './registry-under-test.ts';

const IMAGE = imageManifest();

test('tags: of a repository that nobody knows are 404', async () => {
  await using registry = await RegistryUnderTest.open();
  const reply = await registry.call('GET', '/v2/none/tags/list');
  assert.deepEqual([reply.status, errorCode(reply)], [404, 'NAME_UNKNOWN']);
});

for (const n of ['-1', 'x', '1.5', '', '0x10']) {
  test(`tags: n=${n} is refused`, async () => {
    await using registry = await RegistryUnderTest.open();
    await registry.pushManifest('app', 'v1', IMAGE);
    const reply = await registry.call('GET', `/v2/app/tags/list?n=${n}`);
    assert.deepEqual([reply.status, errorCode(reply)], [400, 'UNSUPPORTED']);
  });
}

test('tags: a page of none is empty and has no next', async () => {
  await using registry = await RegistryUnderTest.open();
  await registry.pushManifest('app', 'v1', IMAGE);
  const reply = await registry.call('GET', '/v2/app/tags/list?n=0');
  assert.deepEqual([listed(reply, 'tags'), reply.headers['link']], [[], undefined]);
});

test('tags: ordered by bytes, and following the links gives each once', async () => {
  await using registry = await RegistryUnderTest.open();
  const tags = ['B', 'Z', '_x', 'a', 'aa', 'b', 'v10', 'v2'];
  for (const tag of tags.toReversed()) await registry.pushManifest('app', tag, IMAGE);
  assert.deepEqual(listed(await registry.call('GET', '/v2/app/tags/list'), 'tags'), tags);
  for (const n of [1, 3, 8, 9]) {
    assert.deepEqual(await follow(registry, `/v2/app/tags/list?n=${n}`, 'tags'), tags, `n=${n}`);
  }
  const after = await registry.call('GET', '/v2/app/tags/list?last=aa');
  assert.deepEqual([listed(after, 'tags'), after.headers['link']], [['b', 'v10', 'v2'], undefined]);
  assert.deepEqual(listed(await registry.call('GET', '/v2/app/tags/list?last=zz'), 'tags'), []);
});

test('tags: those cached of a proxied registry are listed among the others, once', async () => {
  await using registry = await RegistryUnderTest.open();
  const repository = parseRepositoryName('hub/alpine');
  for (const tag of ['3.20', 'latest']) {
    registry.content.cached.push({ repository, tag, digest: digestOf(IMAGE), checkedMs: 0 });
  }
  assert.deepEqual(await follow(registry, '/v2/hub/alpine/tags/list?n=1', 'tags'), ['3.20', 'latest']);
  for (const tag of ['3.19', 'latest']) await registry.pushManifest('hub/alpine', tag, IMAGE);
  for (const n of [1, 2, 5]) {
    const found = await follow(registry, `/v2/hub/alpine/tags/list?n=${n}`, 'tags');
    assert.deepEqual(found, ['3.19', '3.20', 'latest']);
  }
});

test('catalog: repositories are ordered and paged', async () => {
  await using registry = await RegistryUnderTest.open();
  assert.deepEqual(listed(await registry.call('GET', '/v2/_catalog'), 'repositories'), []);
  const names = ['a', 'a/b', 'team/app', 'team/tags/list'];
  for (const name of names) await registry.pushManifest(name, 'v1', IMAGE);
  assert.deepEqual(await follow(registry, '/v2/_catalog?n=1', 'repositories'), names);
  assert.deepEqual(listed(await registry.call('GET', '/v2/_catalog?last=a/b&n=1'), 'repositories'), [
    'team/app',
  ]);
});

test('referrers: a malformed digest is 400, and an unknown subject an empty index', async () => {
  await using registry = await RegistryUnderTest.open();
  const malformed = await registry.call('GET', '/v2/app/referrers/sha256:xyz');
  assert.deepEqual([malformed.status, errorCode(malformed)], [400, 'DIGEST_INVALID']);
  const none = await registry.call('GET', `/v2/none/referrers/${digestOf('nothing')}`);
  assert.equal(none.status, 200);
  assert.equal(none.headers['content-type'], MEDIA_TYPE.ociIndex);
  assert.deepEqual(JSON.parse(none.bytes.toString()), {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociIndex,
    manifests: [],
  });
});

test('referrers: each is described, filtered by type, paged, and gone when it was deleted', async () => {
  await using registry = await RegistryUnderTest.open();
  const subject = digestOf(IMAGE);
  const signature = await refer(registry, subject, 'application/signature');
  const bill = await refer(registry, subject, 'application/bill-of-materials');
  const path = `/v2/app/referrers/${subject}`;
  const all = await registry.call('GET', path);
  assert.deepEqual(digests(all), [signature, bill].sort());
  assert.equal(all.headers['oci-filters-applied'], undefined);

  const filtered = await registry.call('GET', `${path}?artifactType=application/signature`);
  assert.equal(filtered.headers['oci-filters-applied'], 'artifactType');
  const [descriptor] = JSON.parse(filtered.bytes.toString()).manifests;
  const size = Number(
    (await registry.call('HEAD', `/v2/app/manifests/${signature}`)).headers['content-length'],
  );
  assert.deepEqual(descriptor, {
    mediaType: MEDIA_TYPE.ociManifest,
    digest: signature,
    size,
    artifactType: 'application/signature',
    annotations: { made: 'here' },
  });

  const first = await registry.call('GET', `${path}?n=1`);
  assert.deepEqual(digests(first), [[signature, bill].sort()[0]]);
  const second = await registry.call('GET', next(first) ?? '');
  assert.deepEqual(digests(second), [[signature, bill].sort()[1]]);
  assert.equal(next(second), undefined);

  await registry.call('DELETE', `/v2/app/manifests/${signature}`);
  assert.deepEqual(digests(await registry.call('GET', path)), [bill]);
});

test('referrers: a list never outgrows what clients take for a manifest', async () => {
  await using registry = await RegistryUnderTest.open();
  const subject = digestOf(IMAGE);
  const pushed: Digest[] = [];
  for (let position = 0; position < 3; position += 1) {
    pushed.push(await refer(registry, subject, `application/${position}`, 'x'.repeat(1_500_000)));
  }
  const found: string[] = [];
  for (let path: string | undefined = `/v2/app/referrers/${subject}`; path !== undefined; ) {
    const reply: Reply = await registry.call('GET', path);
    assert.ok(reply.bytes.length < 4 * 1024 * 1024);
    found.push(...digests(reply));
    path = next(reply);
  }
  assert.deepEqual(found, pushed.sort());
});

async function refer(
  registry: RegistryUnderTest,
  subject: Digest,
  artifactType: string,
  note = 'here',
): Promise<Digest> {
  const manifest = JSON.stringify({
    ...JSON.parse(IMAGE),
    artifactType,
    annotations: { made: note },
    subject: { mediaType: MEDIA_TYPE.ociManifest, digest: subject, size: IMAGE.length },
  });
  const digest = digestOf(manifest);
  assert.equal((await registry.pushManifest('app', digest, manifest)).status, 201);
  return digest;
}

function digests(reply: Reply): readonly string[] {
  const { manifests } = JSON.parse(reply.bytes.toString()) as { manifests: { digest: string }[] };
  return manifests.map((descriptor) => descriptor.digest);
}

function listed(reply: Reply, field: 'tags' | 'repositories'): readonly string[] {
  assert.equal(reply.status, 200);
  const body = JSON.parse(reply.bytes.toString()) as Record<string, readonly string[]>;
  return body[field] ?? [];
}

function next(reply: Reply): string | undefined {
  return /^<([^>]+)>; rel="next"$/.exec(String(reply.headers['link'] ?? ''))?.[1];
}

async function follow(
  registry: RegistryUnderTest,
  first: string,
  field: 'tags' | 'repositories',
): Promise<readonly string[]> {
  const found: string[] = [];
  for (let path: string | undefined = first; path !== undefined; ) {
    const reply: Reply = await registry.call('GET', path);
    found.push(...listed(reply, field));
    path = next(reply);
  }
  return found;
}
