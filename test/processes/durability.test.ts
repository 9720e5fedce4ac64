/**
 * SIGKILL of a whole region at moments that a seed decides, while images are pushed: after the restart every push that
 * was acknowledged is whole, and of one that was not, nothing is served but what was completed before its answer could
 * be sent. Every step of a push is killed in `durability-steps.test.ts`.
 * `FAIRWAY_KILLS=500` kills more often, `FAIRWAY_KILL_SEED` repeats a run's decisions (not its timing).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '#chaos/prng.ts';
import { REGIONS, startMesh } from './mesh-under-test.ts';
import { checkPush, plannedPush, pushIfThere, type RecordedPush } from './recorded-pushes.ts';

const KILLS = Number(process.env['FAIRWAY_KILLS'] ?? 5);
const SEED = process.env['FAIRWAY_KILL_SEED'] ?? 'durability 1';
const PUSHERS = 4;
/** Some pushes are done by then, and all of them are under way. */
const LIFE_MS_MAX = 400;

test(`durability: ${KILLS} kills lose no acknowledged push, and leave no part of another`, async () => {
  const chance = new Prng(SEED);
  await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
  const region = mesh.region(0).name;
  const acknowledged: RecordedPush[] = [];
  let interrupted = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const pushes: RecordedPush[] = [];
    const stop = new AbortController();
    const pushers = Array.from({ length: PUSHERS }, (_, pusher) =>
      pushUntil(stop.signal, {
        url: mesh.url(0),
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
    for (const push of pushes) await checkPush(mesh.url(0), push);
    acknowledged.push(...pushes.filter(({ state }) => state === 'acknowledged'));
    interrupted += pushes.filter(({ state }) => state !== 'acknowledged').length;
  }
  for (const push of acknowledged) await checkPush(mesh.url(0), push);
  assert.ok(acknowledged.length > KILLS, `only ${acknowledged.length} pushes were acknowledged`);
  assert.ok(interrupted >= KILLS, `only ${interrupted} pushes were interrupted`);
  assert.deepEqual(mesh.ended, []);
});

type Pusher = {
  readonly url: string;
  readonly pushes: RecordedPush[];
  readonly chance: Prng;
  readonly name: string;
};

/** One image after the other, until the region is gone. */
async function pushUntil(stopped: AbortSignal, { url, pushes, chance, name }: Pusher): Promise<void> {
  for (let count = 0; !stopped.aborted; count += 1) {
    const recorded = plannedPush(`v${name}-${count}`, chance);
    pushes.push(recorded);
    if (!(await pushIfThere(url, recorded, chance))) return;
  }
}
