/** Manifests from elsewhere: verified, whoever sent them, and asked for once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManifestFetch } from '#content/manifest-fetch.ts';
import type { Upstream, UpstreamManifest } from '#content/upstream.ts';
import { type Digest, digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { MANIFEST_BYTES_MAX } from '#domain/manifest.ts';
import { silentLog } from '#runtime/log.ts';
import { blobOf, contextOf, imageOf, manifestOf, REPOSITORY, RushingClock } from './content-rig.ts';
import { TestUpstream } from './test-upstream.ts';

const IMAGE = imageOf([blobOf(10)]);

function fetcher(upstreams: readonly Upstream[], clock = new RushingClock()): ManifestFetch {
  return new ManifestFetch({ sources: { of: async () => upstreams }, clock, log: silentLog });
}

function having(name: string, manifests: readonly (readonly [Digest, UpstreamManifest])[]): TestUpstream {
  return new TestUpstream(name, { manifests: new Map(manifests) });
}

const bad: readonly (readonly [string, Digest, UpstreamManifest, RegExp])[] = [
  ['other bytes', IMAGE.digest, manifestOf({ config: {} }), /with the digest sha256:/],
  ['no manifest', digestOf('{}'), { ...IMAGE, bytes: Buffer.from('{}') }, /what is no manifest/],
  [
    'too many bytes',
    IMAGE.digest,
    { ...IMAGE, bytes: new Uint8Array(MANIFEST_BYTES_MAX + 1) },
    /4194305 bytes/,
  ],
];

for (const [what, digest, manifest, reason] of bad) {
  test(`manifest fetch: a source that sends ${what} is not believed`, async () => {
    const fetch = fetcher([having('us-east', [[digest, manifest]])]);
    await assert.rejects(fetch.fetch(REPOSITORY, digest, contextOf()), (thrown: unknown) => {
      assert.ok(thrown instanceof UnavailableError);
      assert.match(thrown.tried.join(), reason);
      return true;
    });
  });
}

test('manifest fetch: after a liar and a dead source the next one is asked', async () => {
  const liar = having('us-east', [[IMAGE.digest, manifestOf({ config: {} })]]);
  const dead = new TestUpstream('sa-east', { manifests: new UnavailableError('connection refused') });
  const sound = having('ap-south', [[IMAGE.digest, IMAGE]]);
  const found = await fetcher([liar, dead, sound]).fetch(REPOSITORY, IMAGE.digest, contextOf());
  assert.deepEqual(found, { ...IMAGE, source: { kind: 'region', name: 'ap-south' } });
});

test('manifest fetch: absent when all say so, unavailable when one is silent', async () => {
  const without = new TestUpstream('us-east');
  assert.equal(await fetcher([without]).fetch(REPOSITORY, IMAGE.digest, contextOf()), undefined);
  assert.equal(await fetcher([]).fetch(REPOSITORY, IMAGE.digest, contextOf()), undefined);
  const dead = new TestUpstream('ap-south', { manifests: new UnavailableError('connection refused') });
  await assert.rejects(fetcher([without, dead]).fetch(REPOSITORY, IMAGE.digest, contextOf()), (thrown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.deepEqual(thrown.tried, ['us-east: does not have it', 'ap-south: connection refused']);
    return true;
  });
});

test('manifest fetch: sources that hang are left, and no more are asked when the time is over', async () => {
  const clock = new RushingClock();
  const asked: string[] = [];
  const hanging = ['a', 'b', 'c', 'd'].map(
    (name): Upstream => ({
      name,
      kind: 'region',
      openBlob: async () => undefined,
      fetchManifest() {
        asked.push(name);
        queueMicrotask(() => clock.advance(5001));
        return Promise.withResolvers<undefined>().promise;
      },
    }),
  );
  await assert.rejects(fetcher(hanging, clock).fetch(REPOSITORY, IMAGE.digest, contextOf()), (thrown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.equal(thrown.tried[0], 'a: did not answer within 5000 ms');
    assert.equal(thrown.tried[3], 'd: not asked, no time left');
    return true;
  });
  assert.deepEqual(asked, ['a', 'b']);
});

test('manifest fetch: many who ask at once share one request', async () => {
  const upstream = new TestUpstream('docker.io', {
    kind: 'registry',
    manifests: new Map([[IMAGE.digest, IMAGE]]),
  });
  const fetch = fetcher([upstream]);
  const all = await Promise.all(
    Array.from({ length: 20 }, () => fetch.fetch(REPOSITORY, IMAGE.digest, contextOf())),
  );
  assert.equal(upstream.manifestsAsked.length, 1);
  for (const found of all) assert.deepEqual(found?.source, { kind: 'upstream', name: 'docker.io' });
});
