/**
 * Garbage collection in the management API. A run may take longer than anybody waits for an answer, so a request only
 * begins one; its progress and its outcome are asked for.
 */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { GarbageRun } from '#node/lifecycle/garbage-run.ts';

/** Who runs it. */
export interface GarbageView {
  /** Begins a run, or names the one of its kind that waits or goes on. */
  request(dryRun: boolean): GarbageRun;
  /** The newest of each kind, the newest first. */
  runs(): readonly GarbageRun[];
}

export const gcQuery = z.strictObject({
  dryRun: z
    .enum(['true', 'false'])
    .default('false')
    .describe('`true`: find out what would be removed, and remove nothing.'),
});

const amount = z.object({ count: z.number().int(), sizeBytes: z.number() });

const garbageRun: z.ZodType<GarbageRun> = z.object({
  id: z.number().int(),
  dryRun: z.boolean(),
  state: z.enum(['waiting', 'running', 'done', 'failed']),
  startedMs: z.number().describe('Milliseconds since 1970; 0 before it began.'),
  endedMs: z.number().describe('0 before it ended.'),
  reason: z.string().describe('Why it failed.'),
  report: z.object({
    manifests: amount,
    blobs: amount,
    evicted: amount.describe('Blobs that proxy caches gave up, because they are to keep less.'),
    uploads: amount,
    orphans: amount.describe('Files that no blob was recorded for.'),
    lost: amount.describe('Blobs whose file was gone.'),
    examined: amount,
    largest: z.array(
      z.object({
        digest: z.string() as unknown as z.ZodType<GarbageRun['report']['largest'][number]['digest']>,
        sizeBytes: z.number(),
        fate: z.enum(['kept', 'removed']),
        reason: z.string(),
      }),
    ),
  }),
});

export const gcStarted = z.object({ run: garbageRun });
export const gcRuns = z.object({ runs: z.array(garbageRun) });

export function addGarbageRoutes(api: FastifyInstance, garbage: GarbageView): void {
  api.get('/api/v1/gc', async () => ({ runs: garbage.runs() }));
  api.post('/api/v1/gc', async (request, reply) => {
    const { dryRun } = gcQuery.parse(request.query);
    return await reply.code(202).send({ run: garbage.request(dryRun === 'true') });
  });
}
