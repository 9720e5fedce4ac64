/**
 * SIGKILL at every step of a push: a registry with the production stores is killed at the n-th call of a kind that one
 * of its threads makes of the system, hundreds of times, on folders that live on. Whole regions are killed in
 * `durability.test.ts`, at any moment.
 *
 * A seed decides the calls: `FAIRWAY_KILL_SEED` repeats a run's, `FAIRWAY_STEP_KILLS=2000` makes more of them. A failure
 * names the folder's seed and the life in which it came.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Prng } from '#chaos/prng.ts';
import { digestOf } from '#domain/digest.ts';
import { requires } from '#test/requirements.ts';
import { temporaryFolder } from '#test/storage/temporary.ts';
import { checkPush, plannedPush, push, pushIfThere, type RecordedPush } from './recorded-pushes.ts';
import { type RegistryFault, RegistryProcess } from './registry-process.ts';

const SEED = process.env['FAIRWAY_KILL_SEED'] ?? 'steps 1';
const KILLS = Number(process.env['FAIRWAY_STEP_KILLS'] ?? 208);
/** At once: a start waits for the disk half of its time. */
const FOLDERS = 4;
const FAULT_LIVES_MAX = 60;

/** Calls that one image takes of the busiest thread, about: the database's, the files', or the one that answers. */
const STEPS: Readonly<Record<string, number>> = {
  openat: 15,
  pwrite64: 56,
  fdatasync: 3,
  fsync: 6,
  mkdir: 3,
  rename: 3,
  statx: 9,
  close: 15,
  fcntl: 22,
  read: 65,
  write: 54,
};
const PUSHERS = 2;
const PUSHES_MAX = 3;

type Fault = RegistryFault | 'file-removed';

const code = await temporaryFolder();
before(async () => {
  await using folder = await temporaryFolder();
  await using registry = await RegistryProcess.start({
    ...{ folder: folder.path, fault: 'none', codeFolder: code.path },
  });
  await registry.stop();
});
after(() => code[Symbol.asyncDispose]());

test(
  `durability: kills at ${KILLS} steps of pushes (seed "${SEED}") lose nothing that was acknowledged`,
  requires('strace'),
  async () => {
    const folders = Array.from({ length: FOLDERS }, (_, place) => `${SEED}/${place}`);
    const lives = await Promise.all(folders.map((seed) => liveThrough(seed, { lives: KILLS / FOLDERS })));
    const reached = new Map<string, number>();
    for (const { call } of lives.flat().filter(({ interrupted }) => interrupted > 0)) {
      reached.set(call, (reached.get(call) ?? 0) + 1);
    }
    const told = JSON.stringify([...reached]);
    // What never happened was not tested.
    for (const call of Object.keys(STEPS)) assert.ok((reached.get(call) ?? 0) > 0, told);
    assert.ok([...reached.values()].reduce((sum, count) => sum + count) > (KILLS * 2) / 3, told);
  },
);

for (const fault of [
  'blob-acknowledged-early',
  'manifest-acknowledged-early',
  'file-removed',
] as const satisfies readonly Fault[]) {
  test(`durability: the checks see a planted fault (${fault})`, requires('strace'), async () => {
    await assert.rejects(
      liveThrough(`${SEED}/${fault}`, { lives: FAULT_LIVES_MAX, fault }),
      (thrown: Error) => thrown.cause instanceof assert.AssertionError || assert.fail(thrown),
    );
  });
}

/** `interrupted`: pushes that were under way when the call came. */
type Life = { readonly call: string; readonly interrupted: number };

/** One folder, whose registry is killed again and again. @throws Error that names the life in which a check failed. */
async function liveThrough(
  seed: string,
  { lives: count, fault = 'none' }: { readonly lives: number; readonly fault?: Fault },
): Promise<readonly Life[]> {
  await using folder = await temporaryFolder();
  const config = { folder: folder.path, codeFolder: code.path };
  const all: RecordedPush[] = [];
  const lives: Life[] = [];
  let last: readonly RecordedPush[] = [];
  for (let life = 0; life <= count; life += 1) {
    try {
      const chance = new Prng(`${seed}/${life}`);
      await using registry = await RegistryProcess.start({
        ...config,
        fault: fault === 'file-removed' ? 'none' : fault,
      });
      for (const recorded of last) await checkPush(registry.url, recorded);
      for (const recorded of last) await push(registry.url, recorded, chance.split(recorded.tag));
      for (const recorded of life === count ? all : last) await checkPush(registry.url, recorded);
      if (life === count) break;
      const plan = planOf(chance);
      last = await pushUntilKilled(registry, { plan, chance, name: `v${life}` });
      all.push(...last);
      await registry.kill();
      const interrupted = last.filter(({ state }) => state !== 'acknowledged').length;
      lives.push({ call: plan.call, interrupted });
      if (fault === 'file-removed') removeBlob(folder.path, last);
      checkFiles(folder.path);
    } catch (cause) {
      throw new Error(`seed "${seed}", life ${life}`, { cause });
    }
  }
  return lives;
}

type Plan = { readonly call: string; readonly nth: number };

/** Any call of the first push, or of the one after it. */
function planOf(chance: Prng): Plan {
  const [call, count] = chance.pick(Object.entries(STEPS));
  return { call, nth: chance.between(1, 2 * count) };
}

/** What was pushed, by some pushers at once, until the call came; or until there was enough of it. */
async function pushUntilKilled(
  registry: RegistryProcess,
  { plan, chance, name }: { readonly plan: Plan; readonly chance: Prng; readonly name: string },
): Promise<readonly RecordedPush[]> {
  await registry.killAt(plan.call, plan.nth);
  const pushers = Array.from({ length: PUSHERS }, async (_, pusher) => {
    const own = chance.split(`${pusher}`);
    const pushes: RecordedPush[] = [];
    for (let count = 0; count < PUSHES_MAX; count += 1) {
      const recorded = plannedPush(`${name}-${pusher}-${count}`, own);
      pushes.push(recorded);
      if (!(await pushIfThere(registry.url, recorded, own))) break;
    }
    return pushes;
  });
  return (await Promise.all(pushers)).flat();
}

/** A file under the name of a digest has its content, whether anybody was told of it or not. */
function checkFiles(folder: string): void {
  for (const entry of readdirSync(join(folder, 'blobs'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const digest = digestOf(readFileSync(join(entry.parentPath, entry.name)));
    assert.equal(digest, `sha256:${entry.name}`);
  }
}

function removeBlob(folder: string, pushes: readonly RecordedPush[]): void {
  const [digest] = pushes.flatMap(({ blobs }) => [...blobs]);
  if (digest === undefined) return;
  const [algorithm = '', hex = ''] = digest.split(':');
  rmSync(join(folder, 'blobs', algorithm, hex.slice(0, 2), hex));
}
