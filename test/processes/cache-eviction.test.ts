/** A proxy cache that is to keep less than was pulled, before a real other registry. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DockerRegistry } from '#test/bench/docker-registry.ts';
import { requires } from '#test/requirements.ts';
import { collectGarbage, configureGarbage, fairwayGc } from './gc-runs.ts';
import { applyPolicy, metricOf, until } from './management.ts';
import { REGIONS, startMesh } from './mesh-under-test.ts';
import { expectStatus, makeImage, pullImage, pushImage, type TestImage } from './registry-calls.ts';

describe('cache eviction', requires('docker-registry'), () => {
  test('cache eviction: what was pulled longest ago goes, is told of before, and is fetched again', async () => {
    await using upstream = await DockerRegistry.start();
    await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
    await configureGarbage(mesh, { intervalMs: 3_600_000, graceMs: 0 });
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
        'spec: {serve: {prefix: cached}, upstreams: [other], keep: {perRegion: 40kB}}',
        '',
      ].join('\n'),
    );
    const [first, second, pushed] = [makeImage(30_000), makeImage(30_000), makeImage(30_000)];
    await pushImage(mesh.url(0), 'team/app', 'v1', pushed);
    await pushImage(upstream.url, 'team/app', 'first', first);
    await pushImage(upstream.url, 'team/app', 'second', second);
    for (const tag of ['first', 'second', 'first']) await pullImage(mesh.url(0), 'cached/team/app', tag);

    const layer = layerOf(second);
    // Pulls are noted in the background.
    await until('the second pull of the first image was noted', async () => {
      const { largest } = (await collectGarbage(mesh, '--dry-run')).run.report;
      return largest.some(({ digest, fate }) => digest === layer && fate === 'removed');
    });
    assert.match(await fairwayGc(mesh, '--dry-run'), /ProxyCache\/cached holds more than it is to keep/);
    const { evicted, blobs } = (await collectGarbage(mesh)).run.report;
    assert.ok(evicted.sizeBytes >= 30_000 && evicted.sizeBytes < 60_000, `${evicted.sizeBytes} bytes`);
    assert.equal(blobs.count, 0);
    assert.equal(
      await metricOf(mesh.region(0), 'fairway_gc_removed_bytes_total{what="evicted"}'),
      evicted.sizeBytes,
    );

    const statusOfLayer = async (repository: string, image: TestImage) =>
      (await fetch(`${mesh.url(0)}/v2/${repository}/blobs/${layerOf(image)}`, { method: 'HEAD' })).status;
    assert.deepEqual(
      [
        await statusOfLayer('cached/team/app', first),
        await statusOfLayer('cached/team/app', second),
        await statusOfLayer('team/app', pushed),
      ],
      [200, 404, 200],
    );
    await upstream.stop();
    assert.equal(await pullImage(mesh.url(0), 'cached/team/app', first.digest), first.digest);
    await expectStatus(await fetch(`${mesh.url(0)}/v2/cached/team/app/blobs/${layer}`), 503);
    await upstream.resume();
    assert.equal(await pullImage(mesh.url(0), 'cached/team/app', 'second'), second.digest);
    assert.equal(await statusOfLayer('cached/team/app', second), 200);
  });
});

function layerOf({ blobs }: TestImage) {
  return blobs[1]?.digest ?? assert.fail('it has a layer');
}
