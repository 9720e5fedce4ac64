/** Referrers over real content: what the API finds, and what clients had listed under a tag. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { CLAIM_HEAD_BYTES, stampClaim } from '#domain/claim-layout.ts';
import { type Digest, digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName, referrersTag } from '#domain/name.ts';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import type { ManifestRow } from '#storage/metadata.ts';
import { RegionWith } from '#test/content/region-with.ts';
import { TestUpstream } from '#test/content/test-upstream.ts';
import { image, index } from '#test/suites/manifest-samples.ts';
import { errorCode, type Reply } from './registry-under-test.ts';
import { openRegistryWithContent, type RegistryWithContent } from './registry-with-content.ts';

const APP = parseRepositoryName('app');
const SUBJECT = digestOf('subject');
const SIGNATURE = image({ layers: [{ digest: digestOf('signature'), size: 9 }], subject: SUBJECT });
const BILL = image({ layers: [{ digest: digestOf('bill'), size: 4 }], subject: SUBJECT });
const ARTIFACT_TYPE = 'application/vnd.oci.image.config.v1+json';

type Listed = {
  readonly mediaType: string;
  readonly manifests: readonly { readonly digest: string; readonly artifactType?: string }[];
};

async function openWithBlobs(): Promise<RegistryWithContent> {
  const registry = await openRegistryWithContent();
  for (const content of ['config', 'signature', 'bill']) await registry.pushBlob('app', content);
  return registry;
}

async function list(registry: RegistryWithContent, subject = SUBJECT, query = ''): Promise<Reply> {
  return await registry.call('GET', `/v2/app/referrers/${subject}${query}`);
}

function digestsOf(reply: Reply): readonly string[] {
  assert.deepEqual([reply.status, reply.headers['content-type']], [200, MEDIA_TYPE.ociIndex]);
  return (JSON.parse(reply.bytes.toString()) as Listed).manifests.map(({ digest }) => digest);
}

function sorted(...manifests: readonly ManifestRow[]): readonly string[] {
  return manifests.map(({ digest }) => digest).sort();
}

async function pushList(registry: RegistryWithContent, children: readonly ManifestRow[]): Promise<Reply> {
  const listed = index(children.map(({ digest }) => digest));
  return await registry.pushManifest('app', referrersTag(SUBJECT), listed);
}

test('referrers: a list whose holder does not answer is 503, and is complete when it does', async () => {
  await using registry = await openWithBlobs();
  await listElsewhere(registry, [BILL]);
  const answering = registry.upstreams;
  registry.upstreams = [new TestUpstream('us-east', { manifests: new UnavailableError('timed out') })];
  const silent = await list(registry);
  assert.deepEqual([silent.status, errorCode(silent)], [503, 'UNAVAILABLE']);
  assert.ok(silent.headers['retry-after'] !== undefined);
  registry.upstreams = answering;
  assert.deepEqual(digestsOf(await list(registry)), sorted(BILL));
});

test('referrers: more than a few that must be fetched are brought here over several requests', async () => {
  await using registry = await openWithBlobs();
  const artifacts = Array.from({ length: 20 }, (_, position) =>
    image({ layers: [{ digest: digestOf('bill'), size: 4 + position }], subject: SUBJECT }),
  );
  await listElsewhere(registry, artifacts);
  const first = await list(registry);
  assert.deepEqual([first.status, errorCode(first)], [503, 'UNAVAILABLE']);
  assert.deepEqual(digestsOf(await list(registry)), sorted(...artifacts));
});

test('referrers: a list under the tag is trusted for digests only', async () => {
  await using registry = await openWithBlobs();
  const stranger = image({ layers: [{ digest: digestOf('bill'), size: 4 }] });
  const elsewhere = image({ subject: SUBJECT });
  await registry.pushManifest('app', 'stranger', stranger);
  await registry.pushBlob('other', 'config');
  await registry.pushManifest('other', 'v1', elsewhere);
  await registry.pushManifest('app', 'bill', BILL);
  await registry.call('DELETE', `/v2/app/manifests/${BILL.digest}`);
  const never = image({ layers: [{ digest: digestOf('never'), size: 5 }], subject: SUBJECT });
  assert.equal((await pushList(registry, [stranger, elsewhere, BILL, never])).status, 201);
  assert.deepEqual(digestsOf(await list(registry)), []);
});

test('referrers: what is tagged so and is no index, or lists layers, adds nothing', async () => {
  await using registry = await openWithBlobs();
  await registry.pushManifest('app', 'sig', SIGNATURE);
  for (const manifest of [image({}), index([])]) {
    await registry.pushManifest('app', referrersTag(SUBJECT), manifest);
    assert.deepEqual(digestsOf(await list(registry)), sorted(SIGNATURE));
  }
});

test('referrers: an unknown subject, and one of another algorithm, has an empty list', async () => {
  await using registry = await openWithBlobs();
  for (const subject of [digestOf('none'), digestOf('subject', 'sha512')]) {
    assert.deepEqual(digestsOf(await list(registry, subject)), []);
  }
});

test('referrers: artifacts that were listed under the tag before are found, and none twice', async () => {
  await using registry = await openWithBlobs();
  await registry.pushManifest('app', 'sig', SIGNATURE);
  await listElsewhere(registry, [SIGNATURE, BILL]);
  assert.deepEqual(digestsOf(await list(registry)), sorted(SIGNATURE, BILL));
  const filtered = await list(registry, SUBJECT, `?artifactType=${encodeURIComponent(ARTIFACT_TYPE)}`);
  assert.equal(filtered.headers['oci-filters-applied'], 'artifactType');
  assert.deepEqual(digestsOf(filtered), sorted(SIGNATURE, BILL));
  assert.deepEqual(digestsOf(await list(registry, SUBJECT, '?artifactType=other')), []);
});

test('referrers: pages go through both, in one order', async () => {
  await using registry = await openWithBlobs();
  const third = image({ subject: SUBJECT });
  for (const manifest of [SIGNATURE, third]) await registry.pushManifest('app', manifest.digest, manifest);
  await listElsewhere(registry, [BILL, third]);
  const seen: string[] = [];
  for (let path: string | undefined = `/v2/app/referrers/${SUBJECT}?n=1`; path !== undefined; ) {
    const page = await registry.call('GET', path);
    seen.push(...digestsOf(page));
    path = /^<([^>]+)>; rel="next"$/.exec(String(page.headers['link']))?.[1];
  }
  assert.deepEqual(seen, sorted(SIGNATURE, BILL, third));
});

test('referrers: a deleted one is gone, and a missing subject or an index as one is fine', async () => {
  await using registry = await openWithBlobs();
  const pushed = await registry.pushManifest('app', 'sig', SIGNATURE);
  assert.deepEqual([pushed.status, pushed.headers['oci-subject']], [201, SUBJECT]);
  const subject = index([]);
  const about = image({ subject: subject.digest });
  await registry.pushManifest('app', 'about', about);
  assert.deepEqual(digestsOf(await list(registry, subject.digest)), sorted(about));
  await registry.pushManifest('app', 'index', subject);
  assert.deepEqual(digestsOf(await list(registry, subject.digest)), sorted(about));
  await registry.call('DELETE', `/v2/app/manifests/${SIGNATURE.digest}`);
  assert.deepEqual(digestsOf(await list(registry)), []);
});

test('referrers: a subject of sha512 is found by its own digest and tag', async () => {
  await using registry = await openWithBlobs();
  const subject = digestOf('subject', 'sha512');
  const about = image({ subject });
  const digest = digestOf(about.bytes, 'sha512');
  await registry.pushManifest('app', digest, about);
  assert.deepEqual(digestsOf(await list(registry, subject)), [digest]);
});

/**
 * The list under the tag, and what it names, in another region, whose claims came without bytes as those of large
 * manifests do: nothing here says then what their subject is.
 */
async function listElsewhere(registry: RegistryWithContent, children: readonly ManifestRow[]): Promise<void> {
  const away = index(children.map(({ digest }) => digest));
  for (const { digest } of [away, ...children]) await announce(registry, digest);
  const tag = {
    change: 'set-tag',
    repository: APP,
    tag: referrersTag(SUBJECT),
    digest: away.digest,
  } as const;
  await registry.claims.write([tag], { principal: 'ada', signal: new AbortController().signal });
  registry.upstreams = [new RegionWith('us-east', [away, ...children], [])];
}

/** Does nothing where the manifest is announced already. */
async function announce({ metadata }: RegistryWithContent, digest: Digest): Promise<void> {
  const key = { kind: CLAIM_KIND.manifest, repository: APP, name: digest };
  const [known] = await metadata.claims.ofKeys([key]);
  if (known?.revision !== 0) return;
  const { have } = (await metadata.claims.cursors())[0] ?? { have: 0 };
  const at = { region: parseRegionNumber(2), epoch: parseEpoch('00000000000000bb') };
  const dot = { ...at, sequence: have + 1 };
  const bytes = stampClaim(new Uint8Array(CLAIM_HEAD_BYTES), dot.sequence, { ms: 1, counter: 0 });
  const winner = { dot, changedMs: 1 };
  const view = { ...key, live: true, value: new Uint8Array(0), winner, principal: 'eve', conflict: false };
  const { outcome } = await metadata.claims.commit({
    guards: [{ key, revision: 0 }],
    own: [],
    foreign: [{ key, dot, bytes }],
    views: [view],
    cursors: [{ ...at, have: dot.sequence, safe: dot.sequence }],
    observed: HYBRID_TIME_ZERO,
    manifests: [],
    nowMs: 1,
  });
  assert.equal(outcome, 'committed');
}
