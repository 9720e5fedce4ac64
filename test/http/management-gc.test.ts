/** Garbage collection in the management API; who may ask is tested with the server's other routes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fastify } from 'fastify';
import { ZodError } from 'zod';
import { digestOf } from '#domain/digest.ts';
import { addGarbageRoutes, gcRuns, gcStarted } from '#http/management-gc.ts';
import type { GarbageRun } from '#node/lifecycle/garbage-run.ts';

const NOTHING = { count: 0, sizeBytes: 0 };
const RUN: GarbageRun = {
  ...{ id: 1, dryRun: false, state: 'waiting', startedMs: 0, endedMs: 0, reason: '' },
  report: {
    ...{
      manifests: NOTHING,
      blobs: NOTHING,
      evicted: NOTHING,
      uploads: NOTHING,
      orphans: NOTHING,
      lost: NOTHING,
    },
    examined: NOTHING,
    largest: [{ digest: digestOf('x'), sizeBytes: 9, fate: 'kept', reason: 'a push used it' }],
  },
};

function appWith(asked: boolean[]) {
  const app = fastify();
  app.setErrorHandler((thrown, _request, reply) => reply.code(thrown instanceof ZodError ? 400 : 500).send());
  addGarbageRoutes(app, {
    request(dryRun) {
      asked.push(dryRun);
      return { ...RUN, dryRun };
    },
    runs: () => [RUN],
  });
  return app;
}

test('management gc: a run that is neither real nor dry is refused, and none is begun', async () => {
  const asked: boolean[] = [];
  const app = appWith(asked);
  for (const query of ['dryRun=perhaps', 'dryRun=', 'dry-run=true']) {
    assert.equal((await app.inject({ method: 'POST', url: `/api/v1/gc?${query}` })).statusCode, 400, query);
  }
  assert.deepEqual(asked, []);
});

test('management gc: a run is begun, dry when it says so, and looked after', async () => {
  const asked: boolean[] = [];
  const app = appWith(asked);
  for (const [query, dryRun] of [
    ['', false],
    ['?dryRun=true', true],
    ['?dryRun=false', false],
  ] as const) {
    const begun = await app.inject({ method: 'POST', url: `/api/v1/gc${query}` });
    assert.equal(begun.statusCode, 202);
    assert.deepEqual(gcStarted.parse(begun.json()).run, { ...RUN, dryRun });
  }
  assert.deepEqual(asked, [false, true, false]);
  const runs = await app.inject({ method: 'GET', url: '/api/v1/gc' });
  assert.deepEqual(gcRuns.parse(runs.json()).runs, [RUN]);
});
