/**
 * Garbage collection of a running region: asked for by the command, by itself, and beside pushes and kills.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { collectGarbage, configureGarbage, fairwayGc } from './gc-runs.ts';
import { statusOf, until } from './management.ts';
import { REGIONS, startMesh } from './mesh-under-test.ts';
import { expectStatus, makeImage, pullImage, pushBlob, pushImage, type TestImage } from './registry-calls.ts';

const HOUR_MS = 3_600_000;
const KILLS = 5;

test('gc: what a push may still rely on stays, and so does what is tagged', async () => {
  await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
  const image = makeImage(1000, 2000);
  await pushImage(mesh.url(0), 'kept/app', 'v1', image);
  const [, blob] = makeImage(3000).blobs;
  assert.ok(blob !== undefined);
  await expectStatus(await pushBlob(mesh.url(0), 'kept/app', blob), 201);
  const { run } = await collectGarbage(mesh);
  assert.deepEqual(
    [run.report.blobs.count, run.report.manifests.count, run.report.examined.count],
    [0, 0, 4],
  );
  assert.equal(await pullImage(mesh.url(0), 'kept/app', 'v1'), image.digest);
  const probe = await fetch(`${mesh.url(0)}/v2/kept/app/blobs/${blob.digest}`, { method: 'HEAD' });
  assert.equal(probe.status, 200);
});

test('gc: what was deleted goes, and what others share stays; a dry run tells of it and removes nothing', async () => {
  await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
  await configureGarbage(mesh, { intervalMs: HOUR_MS, graceMs: 0 });
  const kept = makeImage(1000, 20_000);
  const gone = sharing(makeImage(30_000), kept);
  await pushImage(mesh.url(0), 'shared/app', 'kept', kept);
  await pushImage(mesh.url(0), 'shared/app', 'gone', gone);
  const before = await statusOf(mesh.region(0));
  await expectStatus(
    await fetch(`${mesh.url(0)}/v2/shared/app/manifests/${gone.digest}`, { method: 'DELETE' }),
    202,
  );
  const dry = await collectGarbage(mesh, '--dry-run');
  assert.deepEqual(
    [dry.run.dryRun, dry.run.report.manifests.count, dry.run.report.blobs],
    [true, 1, { count: 2, sizeBytes: ownBytes(gone) }],
  );
  const [largest] = dry.run.report.largest;
  assert.deepEqual([largest?.fate, largest?.sizeBytes], ['removed', 30_000]);
  assert.ok(
    dry.run.report.largest.some(({ fate, reason }) => fate === 'kept' && reason.includes(kept.digest)),
  );
  assert.deepEqual((await statusOf(mesh.region(0))).blobs, before.blobs);

  const { run } = await collectGarbage(mesh);
  assert.deepEqual(run.report.blobs, dry.run.report.blobs);
  const after = await statusOf(mesh.region(0));
  assert.equal(after.blobs.count, before.blobs.count - 2);
  assert.equal(await pullImage(mesh.url(0), 'shared/app', 'kept'), kept.digest);
  await pushImage(mesh.url(0), 'shared/app', 'again', gone);
  assert.equal(await pullImage(mesh.url(0), 'shared/app', 'again'), gone.digest);
  const table = await fairwayGc(mesh, '--dry-run');
  assert.match(table, /eu-west +dry run/);
  assert.match(table, /refers to it/);
});

test('gc: by itself, beside pushes and through kills, it takes garbage and nothing else', async () => {
  await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
  await configureGarbage(mesh, { intervalMs: 1000, graceMs: 2000 });
  const acknowledged: TestImage[] = [];
  for (let kill = 0; kill < KILLS; kill += 1) {
    for (let n = 0; n < 5; n += 1) {
      const image = makeImage(2000, 50_000);
      await pushImage(mesh.url(0), 'churn/app', `v${kill}-${n}`, image);
      const deleted = sharing(makeImage(40_000), image);
      await pushImage(mesh.url(0), 'churn/app', 'deleted', deleted);
      const path = `${mesh.url(0)}/v2/churn/app/manifests/${deleted.digest}`;
      await expectStatus(await fetch(path, { method: 'DELETE' }), 202);
      acknowledged.push(image);
    }
    await mesh.mesh.kill(mesh.region(0).name, 'SIGKILL');
    await mesh.mesh.startRegion(mesh.region(0).name);
  }
  await until('all garbage is gone', async () => {
    const { blobs } = await statusOf(mesh.region(0));
    return blobs.count === 3 * acknowledged.length;
  });
  for (const image of acknowledged) {
    assert.equal(await pullImage(mesh.url(0), 'churn/app', image.digest), image.digest);
  }
  assert.deepEqual(mesh.ended, []);
});

test('gc: a region that does not answer is named, with exit code 1', async () => {
  await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
  await mesh.mesh.kill(mesh.region(0).name, 'SIGKILL');
  await assert.rejects(fairwayGc(mesh), (thrown: { code?: number; stdout?: string }) => {
    assert.equal(thrown.code, 1);
    assert.match(String(thrown.stdout), /eu-west does not answer/);
    return true;
  });
});

/** An image with the layers of both. */
function sharing(own: TestImage, other: TestImage): TestImage {
  const [mine, theirs] = [own, other].map(({ manifest }) => JSON.parse(manifest.toString()));
  const manifest = Buffer.from(JSON.stringify({ ...mine, layers: [...mine.layers, ...theirs.layers] }));
  return { manifest, digest: digestOf(manifest), blobs: [...own.blobs, ...other.blobs.slice(1)] };
}

/** Of its blobs that no other image here has: those of `own` in `sharing`. */
function ownBytes(image: TestImage): number {
  return image.blobs.slice(0, 2).reduce((sum, { bytes }) => sum + bytes.length, 0);
}
