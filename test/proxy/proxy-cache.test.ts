/** Pull-through caches: freshness, staleness and absence, against a registry that moves, fails and comes back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { parseRepositoryName, parseTag } from '#domain/name.ts';
import { parseRegionName } from '#domain/region.ts';
import { NO_POLICIES } from '#policies/policy-set.ts';
import { upstreamAddress, upstreamRepository } from '#proxy/upstream-name.ts';
import { contextOf, manifestBytes, readAll, sendError } from '#test/client/counterpart.ts';
import { FakeRegistry, startProxy, TIME_TO_LIVE_MS } from '#test/proxy/upstream-under-test.ts';

const HERE = parseRepositoryName('hub/library/alpine');
const THERE = 'library/alpine';
const LOCAL = { kind: 'local', name: 'eu-west' };
const FROM_HUB = { kind: 'upstream', name: 'hub' };

function unavailable(...patterns: readonly RegExp[]) {
  return (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError, `not an UnavailableError: ${thrown}`);
    for (const pattern of patterns) assert.match(thrown.message, pattern);
    return true;
  };
}

test('proxy cache: an upstream that is down and a tag that is not cached are unavailable, and say both', async () => {
  await using under = await startProxy();
  under.registry.break((_request, response) => sendError(response, 500));
  await assert.rejects(
    under.cache.resolve(HERE, 'latest', contextOf()),
    unavailable(/"docker-hub" could say what hub\/library\/alpine:latest is/, /not cached/, /"hub".*500/),
  );
  assert.deepEqual(await under.lookups(), { failed: 1 });
});

test('proxy cache: with whenDown fail, a stale tag is not served', async () => {
  await using under = await startProxy({ whenDown: 'fail' });
  under.registry.setTag(THERE, 'latest', manifestBytes('a'));
  assert.equal((await under.cache.resolve(HERE, 'latest', contextOf())).outcome, 'found');
  under.registry.break((_request, response) => sendError(response, 503));
  under.clock.advance(TIME_TO_LIVE_MS);
  await assert.rejects(
    under.cache.resolve(HERE, 'latest', contextOf()),
    unavailable(/to fail rather than be stale/),
  );
});

test('proxy cache: credentials that are refused are a failure of the upstream, with the remedy', async () => {
  await using under = await startProxy();
  under.registry.break((_request, response) => sendError(response, 403));
  await assert.rejects(under.cache.resolve(HERE, 'latest', contextOf()), unavailable(/credentials/));
});

test('proxy cache: a secret that this region does not have names the upstream and the reason', async () => {
  await using registry = await FakeRegistry.start();
  registry.break((_request, response) => sendError(response, 401, { 'www-authenticate': 'Basic realm="x"' }));
  const credentials = { username: { value: 'me' }, password: { env: 'HUB_PASSWORD' } };
  await using under = await startProxy({
    upstreams: [{ name: 'hub', url: registry.url, credentials }],
    resolveSecret: async (source) => {
      if ('value' in source) return source.value;
      throw new Error('HUB_PASSWORD is not set');
    },
  });
  await assert.rejects(
    under.cache.resolve(HERE, 'latest', contextOf()),
    unavailable(/credentials of upstream "hub" cannot be read in this region: HUB_PASSWORD is not set/),
  );
});

test('proxy cache: an upstream that does not answer is given up after the budget', async () => {
  await using under = await startProxy({ askBudgetMs: 50 });
  under.registry.break(() => undefined);
  await assert.rejects(
    under.cache.resolve(HERE, 'latest', contextOf()),
    unavailable(/hub: no answer within 50 ms/),
  );
});

test('proxy cache: a client that leaves gets its own reason', async () => {
  await using under = await startProxy();
  const controller = new AbortController();
  const gone = new Error('the client has gone');
  under.registry.break(() => controller.abort(gone));
  await assert.rejects(under.cache.resolve(HERE, 'latest', contextOf(controller.signal)), gone);
  assert.deepEqual(await under.lookups(), {});
});

test('proxy cache: a policy that names an upstream nobody configured says so', async () => {
  await using under = await startProxy({ proxy: { upstreams: ['nowhere'] } });
  await assert.rejects(
    under.cache.resolve(HERE, 'latest', contextOf()),
    unavailable(/upstream "nowhere" is not configured/),
  );
});

test('proxy cache: an upstream that names a digest and does not have it is no answer', async () => {
  await using under = await startProxy();
  const digest = under.registry.setTag(THERE, 'latest', manifestBytes('a'));
  under.registry.remove(THERE, `manifests/${digest}`);
  await assert.rejects(under.cache.resolve(HERE, 'latest', contextOf()), unavailable(/does not have it/));
  assert.equal(under.cachedTags.rows.size, 0);
});

test('proxy cache: what the upstream no longer has is absent, also when it is down afterwards', async () => {
  await using under = await startProxy();
  under.registry.setTag(THERE, 'latest', manifestBytes('a'));
  await under.cache.resolve(HERE, 'latest', contextOf());
  under.registry.remove(THERE, 'manifests/latest');
  under.clock.advance(TIME_TO_LIVE_MS);
  assert.deepEqual(await under.cache.resolve(HERE, 'latest', contextOf()), { outcome: 'absent' });
  under.registry.break((_request, response) => sendError(response, 500));
  await assert.rejects(under.cache.resolve(HERE, 'latest', contextOf()), UnavailableError);
  assert.deepEqual(await under.lookups(), { miss: 1, absent: 1, failed: 1 });
});

test('proxy cache: a fresh tag is answered without asking, an older one is confirmed by HEAD', async () => {
  await using under = await startProxy();
  const bytes = manifestBytes('a');
  const digest = under.registry.setTag(THERE, 'latest', bytes);
  const first = await under.cache.resolve(HERE, 'latest', contextOf());
  assert.ok(first.outcome === 'found');
  assert.equal(first.digest, digest);
  assert.deepEqual(first.source, FROM_HUB);
  assert.deepEqual(Buffer.from(first.manifest?.bytes ?? []), Buffer.from(bytes));
  assert.ok(under.manifests.rows.has(digest));
  assert.deepEqual(under.registry.asked, ['HEAD manifests/latest', `GET manifests/${digest}`]);

  under.clock.advance(TIME_TO_LIVE_MS - 1);
  assert.deepEqual(await under.cache.resolve(HERE, 'latest', contextOf()), {
    outcome: 'found',
    digest,
    source: LOCAL,
  });
  assert.equal(under.registry.asked.length, 2);

  under.clock.advance(1);
  assert.deepEqual(await under.cache.resolve(HERE, 'latest', contextOf()), {
    outcome: 'found',
    digest,
    source: FROM_HUB,
  });
  assert.deepEqual(under.registry.asked.slice(2), ['HEAD manifests/latest']);
  under.clock.advance(TIME_TO_LIVE_MS - 1);
  await under.cache.resolve(HERE, 'latest', contextOf());
  assert.equal(under.registry.asked.length, 3, 'a confirmed tag is fresh again');
  assert.deepEqual(await under.lookups(), { miss: 2, hit: 2 });
});

test('proxy cache: a tag that moved upstream is fetched anew once it is no longer fresh', async () => {
  await using under = await startProxy();
  under.registry.setTag(THERE, 'latest', manifestBytes('a'));
  await under.cache.resolve(HERE, 'latest', contextOf());
  const moved = under.registry.setTag(THERE, 'latest', manifestBytes('b'));
  under.clock.advance(TIME_TO_LIVE_MS);
  const answer = await under.cache.resolve(HERE, 'latest', contextOf());
  assert.ok(answer.outcome === 'found');
  assert.equal(answer.digest, moved);
  assert.ok(under.manifests.rows.has(moved));
  assert.equal(under.cachedTags.rows.get(`${HERE}:latest`)?.digest, moved);
});

test('proxy cache: an upstream that is down leaves the stale tag, marked as such, and is asked again', async () => {
  await using under = await startProxy();
  const digest = under.registry.setTag(THERE, 'latest', manifestBytes('a'));
  await under.cache.resolve(HERE, 'latest', contextOf());
  under.clock.advance(TIME_TO_LIVE_MS);
  under.registry.break((_request, response) => response.destroy());
  const stale = await under.cache.resolve(HERE, 'latest', contextOf());
  assert.deepEqual(stale, { outcome: 'found', digest, source: { kind: 'stale', name: 'hub' } });
  under.registry.break(undefined);
  const fresh = await under.cache.resolve(HERE, 'latest', contextOf());
  assert.deepEqual(fresh, { outcome: 'found', digest, source: FROM_HUB });
  assert.deepEqual(await under.lookups(), { miss: 2, stale: 1 });
});

test('proxy cache: a clock that was set back makes no tag fresh for ever', async () => {
  await using under = await startProxy();
  const digest = under.registry.setTag(THERE, 'latest', manifestBytes('a'));
  const checkedMs = under.clock.nowMs() + 1_000_000;
  await under.cachedTags.put({ repository: HERE, tag: 'latest', digest, checkedMs });
  await under.cache.resolve(HERE, 'latest', contextOf());
  assert.ok(under.registry.asked.length > 0);
  assert.equal(under.cachedTags.rows.get(`${HERE}:latest`)?.checkedMs, under.clock.nowMs());
});

test('proxy cache: an upstream without HEAD is asked by GET', async () => {
  await using under = await startProxy();
  const bytes = manifestBytes('a');
  under.registry.break((request, response) => {
    if (request.method === 'HEAD') response.writeHead(405).end();
    else response.writeHead(200, { 'content-type': 'application/json' }).end(bytes);
  });
  const answer = await under.cache.resolve(HERE, 'latest', contextOf());
  assert.ok(answer.outcome === 'found');
  assert.equal(answer.digest, digestOf(bytes));
  assert.deepEqual(under.registry.asked, ['HEAD manifests/latest', 'GET manifests/latest']);
});

test('proxy cache: a manifest that is here already is linked, not fetched', async () => {
  await using under = await startProxy();
  const bytes = manifestBytes('a');
  const digest = under.registry.setTag(THERE, 'latest', bytes);
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  await under.manifests.record('another/repository', { digest, mediaType, bytes });
  await under.cache.resolve(HERE, 'latest', contextOf());
  assert.deepEqual(under.registry.asked, ['HEAD manifests/latest']);
  assert.ok(await under.manifests.isLinked(HERE, digest));
});

test('proxy cache: however many ask for a tag at the same moment, the upstream is asked once', async () => {
  await using under = await startProxy();
  const digest = under.registry.setTag(THERE, 'latest', manifestBytes('a'));
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => under.cache.resolve(HERE, 'latest', contextOf())),
  );
  assert.ok(answers.every((answer) => answer.outcome === 'found' && answer.digest === digest));
  assert.equal(under.registry.asked.length, 2);
  assert.deepEqual(await under.lookups(), { miss: 20 });
});

test('proxy cache: another region is told what is here, and nobody is asked on its behalf', async () => {
  await using under = await startProxy();
  const digest = under.registry.setTag(THERE, 'latest', manifestBytes('a'));
  const fromPeer = { ...contextOf(), from: parseRegionName('us-east') };
  assert.deepEqual(await under.cache.resolve(HERE, 'latest', fromPeer), { outcome: 'absent' });
  assert.equal(under.registry.asked.length, 0);
  await under.cache.resolve(HERE, 'latest', contextOf());
  under.clock.advance(TIME_TO_LIVE_MS * 2);
  const answer = await under.cache.resolve(HERE, 'latest', fromPeer);
  assert.deepEqual(answer, { outcome: 'found', digest, source: LOCAL });
  assert.equal(under.registry.asked.length, 2);
});

test('proxy cache: the second upstream is asked when the first is down or has nothing, absence needs both', async () => {
  await using first = await FakeRegistry.start();
  await using second = await FakeRegistry.start();
  await using under = await startProxy({
    upstreams: [
      { name: 'first', url: first.url },
      { name: 'second', url: second.url },
    ],
  });
  const digest = second.setTag(THERE, 'latest', manifestBytes('a'));
  const source = { kind: 'upstream', name: 'second' };
  const found = await under.cache.resolve(HERE, 'latest', contextOf());
  assert.ok(found.outcome === 'found');
  assert.deepEqual([found.digest, found.source], [digest, source]);

  first.break((_request, response) => sendError(response, 500));
  under.clock.advance(TIME_TO_LIVE_MS);
  assert.deepEqual(await under.cache.resolve(HERE, 'latest', contextOf()), {
    outcome: 'found',
    digest,
    source,
  });
  await assert.rejects(under.cache.resolve(HERE, 'unknown', contextOf()), unavailable(/"first".*500/));
  first.break(undefined);
  assert.deepEqual(await under.cache.resolve(HERE, 'unknown', contextOf()), { outcome: 'absent' });
});

test('proxy cache: fills read blobs and manifests under the upstream name', async () => {
  await using under = await startProxy();
  const blob = Buffer.from('a layer');
  const digest = under.registry.setBlob(THERE, blob);
  const manifestDigest = under.registry.setTag(THERE, 'latest', manifestBytes('a'));
  const [upstream, ...others] = under.cache.upstreamsOf(HERE);
  assert.deepEqual(others, []);
  assert.equal(upstream?.kind, 'registry');
  assert.equal(upstream.name, 'hub');
  const opened = await upstream.openBlob({ repository: HERE, digest, offset: 0 }, contextOf());
  assert.deepEqual(await readAll(opened?.body ?? assert.fail()), blob);
  const reference = { digest: manifestDigest };
  const manifest = await upstream.fetchManifest({ repository: HERE, reference }, contextOf());
  assert.equal(manifest?.digest, manifestDigest);
  const absent = { repository: HERE, reference: { tag: parseTag('absent') } };
  assert.equal(await upstream.fetchManifest(absent, contextOf()), undefined);
});

test('proxy cache: changed settings take effect, and leave what is under way alone', async () => {
  await using second = await FakeRegistry.start();
  await using under = await startProxy();
  const blob = Buffer.alloc(300_000, 'x');
  const digest = digestOf(blob);
  under.registry.break((_request, response) => {
    response.writeHead(200, { 'content-length': blob.byteLength });
    response.write(blob.subarray(0, 1_000));
    finish.promise.then(() => response.end(blob.subarray(1_000)));
  });
  const finish = Promise.withResolvers<void>();
  const [upstream] = under.cache.upstreamsOf(HERE);
  const opened = await upstream?.openBlob({ repository: HERE, digest, offset: 0 }, contextOf());
  under.policies.set = { ...under.policies.set, upstreams: [{ name: 'hub', url: second.url }] };
  const moved = second.setTag(THERE, 'latest', manifestBytes('b'));
  const answer = await under.cache.resolve(HERE, 'latest', contextOf());
  assert.ok(answer.outcome === 'found');
  assert.equal(answer.digest, moved);
  finish.resolve();
  assert.equal(digestOf(await readAll(opened?.body ?? assert.fail())), digest);
});

test('proxy cache: disposing breaks off what a former client still reads', async () => {
  const under = await startProxy();
  under.registry.break((_request, response) => {
    response.writeHead(200, { 'content-length': 1_000 });
    response.write('x');
  });
  const [upstream] = under.cache.upstreamsOf(HERE);
  const request = { repository: HERE, digest: digestOf('x'), offset: 0 };
  const opened = await upstream?.openBlob(request, contextOf());
  under.policies.set = NO_POLICIES;
  await assert.rejects(
    upstream?.openBlob(request, contextOf()) ?? assert.fail(),
    unavailable(/not configured/),
  );
  const reading = assert.rejects(readAll(opened?.body ?? assert.fail()), unavailable(/broke off/));
  await under[Symbol.asyncDispose]();
  await reading;
});

test('proxy cache: covers what is below its prefix, refuses writes there, and has no say elsewhere', async () => {
  await using under = await startProxy();
  assert.equal(under.cache.covers(HERE)?.name, 'docker-hub');
  assert.match(under.cache.refuseWrite(HERE) ?? '', /proxy cache "docker-hub" of hub.*outside of "hub\/"/);
  for (const name of ['hubble/alpine', 'library/hub/alpine']) {
    const repository = parseRepositoryName(name);
    assert.equal(under.cache.covers(repository), undefined);
    assert.equal(under.cache.refuseWrite(repository), undefined);
    assert.deepEqual(under.cache.upstreamsOf(repository), []);
    assert.deepEqual(await under.cache.resolve(repository, 'latest', contextOf()), { outcome: 'absent' });
  }
  const alone = parseRepositoryName('hub');
  assert.deepEqual(await under.cache.resolve(alone, 'latest', contextOf()), { outcome: 'absent' });
  assert.equal(under.registry.asked.length, 0);
});

test('upstream name: Docker Hub has its own address and a folder for official images', () => {
  const proxy = { prefix: 'hub' };
  const named = (repository: string, url: string) =>
    upstreamRepository(proxy, parseRepositoryName(repository), url);
  for (const host of ['docker.io', 'index.docker.io', 'registry-1.docker.io']) {
    assert.equal(upstreamAddress(`https://${host}`), 'https://registry-1.docker.io');
    assert.equal(named('hub/alpine', `https://${host}`), 'library/alpine');
    assert.equal(named('hub/grafana/grafana', `https://${host}`), 'grafana/grafana');
  }
  assert.equal(upstreamAddress('https://quay.io'), 'https://quay.io');
  assert.equal(named('hub/alpine', 'https://quay.io'), 'alpine');
  assert.equal(named('hub', 'https://quay.io'), undefined);
});
