/**
 * One mutant on trial, in a process of its own (`trial.ts MUTANT-AS-JSON`, or `healthy` for the core as it is): the
 * unit tests of the claims, then seeds of the simulation. It prints who caught it, as JSON, and exits 0; a core that
 * nobody objects to is printed as `{}`. A mutant that hangs or fills the memory is ended by who started the trial.
 */

import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { run } from 'node:test';
import { MARKED_SEEDS_MIN, unmarkedIn } from '#chaos/batch.ts';
import { applied, type Mutant } from './mutant.ts';

export type Verdict = { readonly caughtBy?: string };

const ROOT = join(import.meta.dirname, '../..');
/** Enough for each rare path to be walked; the named mutations need at most 300 with one invariant in mind. */
const SEEDS = 60;

const [what = ''] = process.argv.slice(2);
const loaded = what === 'healthy' ? { isMutated: true } : mutateOnLoad(JSON.parse(what) as Mutant);
const caughtBy = (await byTests()) ?? (await bySeeds());
assert.ok(loaded.isMutated, 'the mutant was never loaded');
process.stdout.write(`${JSON.stringify({ caughtBy } satisfies Verdict | object)}\n`, () => process.exit(0));

function mutateOnLoad(mutant: Mutant): { isMutated: boolean } {
  const state = { isMutated: false };
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      if (!url.endsWith(`/mesh/claims/${mutant.file}`)) return loaded;
      const { source = '' } = loaded;
      const text = typeof source === 'string' ? source : new TextDecoder().decode(source ?? undefined);
      state.isMutated = true;
      return { ...loaded, source: applied(text, mutant) };
    },
  });
  return state;
}

async function byTests(): Promise<string | undefined> {
  const files = globSync('test/mesh/claims/*.test.ts', { cwd: ROOT }).map((file) => join(ROOT, file));
  for await (const event of run({ files: files.sort(), isolation: 'none' })) {
    if (event.type === 'test:fail') return `test "${event.data.name}"`;
  }
  return undefined;
}

async function bySeeds(): Promise<string | undefined> {
  const { runRange } = await import('#chaos/seed-range.ts');
  const { failure, marks } = runRange('default', { first: 1, last: Math.max(SEEDS, MARKED_SEEDS_MIN) });
  if (failure !== undefined) return `${failure.invariant} in seed ${failure.seed}`;
  const unmarked = unmarkedIn(marks, 'default');
  return unmarked.length === 0 ? undefined : `no seed with ${unmarked.join(', ')}`;
}
