/**
 * Garbage collection beside everything else, step by step, over seeds: nothing that is needed has ever gone. With a
 * fault that is planted the same checks must fail, or they check nothing. `FAIRWAY_GC_SEEDS=50000` runs more seeds.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RegionSimulation } from './region-simulation.ts';
import type { Fault } from './simulated-region.ts';
import { SteppingStore } from './stepping-store.ts';

const SEEDS = Number(process.env['FAIRWAY_GC_SEEDS'] ?? 1000);
/** Each fault shows in one seed of forty, or more often. */
const SEEDS_PER_FAULT_MAX = 500;

for (const fault of ['no-grace', 'file-before-row', 'uses-not-noted'] as const satisfies readonly Fault[]) {
  test(`garbage collection: the checks see a planted fault (${fault})`, async () => {
    using store = await SteppingStore.open();
    for (let seed = 0; seed < SEEDS_PER_FAULT_MAX; seed += 1) {
      try {
        await new RegionSimulation(store, `fault ${seed}`, fault).run();
      } catch (thrown) {
        assert.ok(thrown instanceof assert.AssertionError, String(thrown));
        return;
      }
    }
    assert.fail(`${SEEDS_PER_FAULT_MAX} seeds have not shown it`);
  });
}

/** Links of a blob that was forgotten stayed; a pull took the absence that another repository's sources had told. */
for (const seed of ['garbage 1343', 'garbage 2650']) {
  test(`garbage collection: what ${seed} showed is mended`, async () => {
    using store = await SteppingStore.open();
    const simulation = new RegionSimulation(store, seed);
    await simulation.run();
    await simulation.clear();
  });
}

test('garbage collection: nothing that is needed goes, and everything else does', async () => {
  using store = await SteppingStore.open();
  const counts = { pushes: 0, crashes: 0, removedBlobs: 0, removedManifests: 0 };
  const pulls = { images: 0, blobs: 0, fills: 0, excused: 0 };
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const simulation = new RegionSimulation(store, `garbage ${seed}`);
    try {
      await simulation.run();
      await simulation.clear();
    } catch (thrown) {
      throw new Error(`seed "garbage ${seed}"`, { cause: thrown });
    }
    for (const name of Object.keys(counts) as (keyof typeof counts)[])
      counts[name] += simulation.counts[name];
    for (const name of Object.keys(pulls) as (keyof typeof pulls)[])
      pulls[name] += simulation.pulls.counts[name];
  }
  // What never happened was not tested.
  assert.ok(counts.pushes > 3 * SEEDS && counts.crashes > SEEDS / 2, JSON.stringify(counts));
  assert.ok(counts.removedBlobs > SEEDS && counts.removedManifests > SEEDS / 2, JSON.stringify(counts));
  const { images, fills, excused } = pulls;
  assert.ok(images > SEEDS && fills > SEEDS / 2 && excused < images, JSON.stringify(pulls));
});
