/**
 * SIGKILL at moments that a seed decides, while images are pushed: after the restart every push that was acknowledged is
 * whole, and of one that was not, nothing is served but what was completed before its answer could be sent.
 * `FAIRWAY_KILLS=500` kills more often, `FAIRWAY_KILL_SEED` repeats a run's decisions (not its timing).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '#chaos/prng.ts';
import { digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';
import {
  expectStatus,
  makeImage,
  pullImage,
  pushBlob,
  putManifest,
  type TestImage,
} from './registry-calls.ts';

const KILLS = Number(process.env['FAIRWAY_KILLS'] ?? 25);
const SEED = process.env['FAIRWAY_KILL_SEED'] ?? 'durability 1';
const PUSHERS = 4;
/** Some pushes are done by then, and all of them are under way. */
const LIFE_MS_MAX = 400;
const REPOSITORY = 'durable/app';

type Push = {
  readonly tag: string;
  readonly image: TestImage;
  /** Blobs that were answered 201. */
  readonly blobs: Set<string>;
  state: 'blobs' | 'manifest sent' | 'acknowledged';
};

test(`durability: ${KILLS} kills lose no acknowledged push, and leave no part of another`, async () => {
  const chance = new Prng(SEED);
  await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
  const region = mesh.region(0).name;
  const acknowledged: Push[] = [];
  let interrupted = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const pushes: Push[] = [];
    const stop = new AbortController();
    const pushers = Array.from({ length: PUSHERS }, (_, pusher) =>
      pushUntil(stop.signal, {
        mesh,
        pushes,
        chance: chance.split(`${kill}.${pusher}`),
        name: `${kill}-${pusher}`,
      }),
    );
    await sleep(chance.below(LIFE_MS_MAX));
    await mesh.mesh.kill(region, 'SIGKILL');
    stop.abort();
    await Promise.all(pushers);
    await mesh.mesh.startRegion(region);
    for (const push of pushes) await check(mesh.url(0), push);
    acknowledged.push(...pushes.filter(({ state }) => state === 'acknowledged'));
    interrupted += pushes.filter(({ state }) => state !== 'acknowledged').length;
  }
  for (const push of acknowledged) await check(mesh.url(0), push);
  assert.ok(acknowledged.length > KILLS, `only ${acknowledged.length} pushes were acknowledged`);
  assert.ok(interrupted >= KILLS, `only ${interrupted} pushes were interrupted`);
  assert.deepEqual(mesh.ended, []);
});

type Pusher = {
  readonly mesh: MeshUnderTest;
  readonly pushes: Push[];
  readonly chance: Prng;
  readonly name: string;
};

/** One image after the other, until the region is gone. */
async function pushUntil(stopped: AbortSignal, { mesh, pushes, chance, name }: Pusher): Promise<void> {
  for (let count = 0; !stopped.aborted; count += 1) {
    const image = makeImage(chance.below(2000), chance.below(300_000));
    const push: Push = { tag: `v${name}-${count}`, image, blobs: new Set(), state: 'blobs' };
    pushes.push(push);
    try {
      for (const blob of image.blobs) {
        const send = chance.chance(0.5) ? pushBlob : pushInChunks;
        await expectStatus(await send(mesh.url(0), REPOSITORY, blob), 201);
        push.blobs.add(blob.digest);
      }
      push.state = 'manifest sent';
      const name = `${REPOSITORY}:${push.tag}`;
      await expectStatus(await putManifest(mesh.url(0), name, image.manifest, MEDIA_TYPE.ociManifest), 201);
      push.state = 'acknowledged';
    } catch (thrown) {
      // The connection broke, or another pusher's did. What the registry itself answered is never an error here.
      if (thrown instanceof TypeError) return;
      throw thrown;
    }
  }
}

async function pushInChunks(
  url: string,
  repository: string,
  blob: TestImage['blobs'][number],
): Promise<Response> {
  const posted = await expectStatus(
    await fetch(`${url}/v2/${repository}/blobs/uploads/`, { method: 'POST' }),
    202,
  );
  let location = new URL(posted.headers.get('location') ?? '', url);
  const half = Math.ceil(blob.bytes.length / 2);
  for (const [start, end] of [
    [0, half],
    [half, blob.bytes.length],
  ] as const) {
    if (start === end) continue;
    const patched = await fetch(location, {
      method: 'PATCH',
      body: new Uint8Array(blob.bytes.subarray(start, end)),
      headers: { 'content-range': `${start}-${end - 1}` },
    });
    location = new URL((await expectStatus(patched, 202)).headers.get('location') ?? '', url);
  }
  location.searchParams.set('digest', blob.digest);
  return await fetch(location, { method: 'PUT' });
}

/** Reads everything of it. */
async function check(url: string, { tag, image, blobs, state }: Push): Promise<void> {
  for (const { digest } of image.blobs) {
    const answer = await fetch(`${url}/v2/${REPOSITORY}/blobs/${digest}`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    if (answer.status === 404 && !blobs.has(digest)) continue;
    assert.equal(answer.status, 200, `${digest} of ${tag} was acknowledged`);
    assert.equal(digestOf(bytes), digest);
  }
  for (const reference of [tag, image.digest]) {
    const answer = await fetch(`${url}/v2/${REPOSITORY}/manifests/${reference}`, { method: 'HEAD' });
    if (answer.status === 404 && state !== 'acknowledged') continue;
    assert.notEqual(state, 'blobs', `${reference} is served, and was never sent`);
    assert.equal(await pullImage(url, REPOSITORY, reference), image.digest);
  }
}
