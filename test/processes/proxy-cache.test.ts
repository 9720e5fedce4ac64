/** A proxy cache before a real other registry (Debian's docker-registry), which is stopped and comes back. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DockerRegistry } from '#test/bench/docker-registry.ts';
import { requires } from '#test/requirements.ts';
import { applyPolicy, metricOf } from './management.ts';
import { type MeshUnderTest, startMesh } from './mesh-under-test.ts';
import { expectStatus, makeImage, pullImage, pushBlob, pushImage } from './registry-calls.ts';

describe('proxy cache', requires('docker-registry'), () => {
  let mesh: MeshUnderTest;
  let upstream: DockerRegistry;

  before(async () => {
    [mesh, upstream] = await Promise.all([startMesh(), DockerRegistry.start()]);
    await applyPolicy(
      mesh.region(0),
      [
        'apiVersion: fairway/v1',
        'kind: UpstreamRegistry',
        'metadata: {name: other}',
        `spec: {url: "${upstream.url}"}`,
        '---',
        'apiVersion: fairway/v1',
        'kind: ProxyCache',
        'metadata: {name: cached}',
        'spec: {serve: {prefix: cached}, upstreams: [other], freshness: {timeToLive: 1ms, whenDown: stale}}',
        '',
      ].join('\n'),
    );
  });

  after(async () => {
    await upstream?.[Symbol.asyncDispose]();
    await mesh?.[Symbol.asyncDispose]();
  });

  test('proxy cache: the first pull fills, the second is served with the upstream stopped', async () => {
    const image = makeImage(500, 2_000_000);
    await pushImage(upstream.url, 'team/app', 'v1', image);
    assert.equal(await pullImage(mesh.url(0), 'cached/team/app', 'v1'), image.digest);
    await upstream.stop();
    assert.equal(await pullImage(mesh.url(0), 'cached/team/app', 'v1'), image.digest);
    assert.equal(await pullImage(mesh.url(0), 'cached/team/app', image.digest), image.digest);
    const stale = await fetch(`${mesh.url(0)}/v2/cached/team/app/manifests/v1`);
    assert.match(stale.headers.get('fairway-source') ?? '', /^stale/);
    assert.ok(
      (await metricOf(mesh.region(0), 'fairway_proxy_tag_lookups_total{proxy="cached",outcome="stale"}')) > 0,
    );
    await expectStatus(await fetch(`${mesh.url(0)}/v2/cached/team/app/manifests/never-seen`), 503);
    await upstream.resume();
  });

  test('proxy cache: a tag that moved upstream is followed when its time to live is over', async () => {
    const [old, moved] = [makeImage(1000), makeImage(1000)];
    await pushImage(upstream.url, 'team/moving', 'v1', old);
    assert.equal(await pullImage(mesh.url(0), 'cached/team/moving', 'v1'), old.digest);
    await pushImage(upstream.url, 'team/moving', 'v1', moved);
    assert.equal(await pullImage(mesh.url(0), 'cached/team/moving', 'v1'), moved.digest);
  });

  test('proxy cache: what does not exist upstream is 404, and nothing can be pushed below the prefix', async () => {
    await expectStatus(await fetch(`${mesh.url(0)}/v2/cached/team/none/manifests/v1`), 404);
    const refused = await expectStatus(
      await pushBlob(mesh.url(0), 'cached/team/app', makeImage(10).blobs[0] as never),
      403,
    );
    assert.match(await refused.text(), /proxy cache \\"cached\\"/);
  });

  test('proxy cache: the policy is in force in the other regions, too', async () => {
    const image = makeImage(40_000);
    await pushImage(upstream.url, 'team/far', 'v1', image);
    assert.equal(await pullImage(mesh.url(2), 'cached/team/far', 'v1'), image.digest);
  });
});
