/**
 * The shapes of the management API, once: queries are validated by them, and the OpenAPI document is made from them.
 * Those of answers are tied to the types of `views.ts` by the compiler.
 */
import { z } from 'zod';
import type { AppliedPolicy, ImageStatus, MeshStatus, PolicyEntry } from './views.ts';

const milliseconds = z.number().describe('Milliseconds since 1970; 0 for never.');
const bytes = z.number().describe('Bytes.');
const count = z.number().int();

export const TASK_STATES = ['queued', 'running', 'done', 'parked'] as const;

export const imageQuery = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(512)
    .describe('`repository`, `repository:tag` or `repository@digest`; the tag `latest` when there is none.'),
});

export const taskQuery = z.strictObject({
  state: z
    .union([z.enum(TASK_STATES), z.array(z.enum(TASK_STATES)).min(1)])
    .optional()
    .describe('May be repeated; all but the finished ones when absent.'),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
});

export const applyQuery = z.strictObject({
  file: z.string().min(1).max(1024).default('-').describe('How errors call the text; `-` when absent.'),
});

export const policyParameters = z.strictObject({ name: z.string().min(1).max(253) });

const peerStatus = z.object({
  region: z.string(),
  up: z.boolean(),
  sinceMs: milliseconds,
  roundTripMs: z.number(),
  reason: z.string(),
  behindClaims: count,
  unconfirmedClaims: count,
  lagMs: z.number(),
});

export const meshStatus: z.ZodType<MeshStatus> = z.object({
  mesh: z.string(),
  region: z.string(),
  epoch: z.string(),
  sequence: count,
  formerEpochs: z.array(z.strictObject({ epoch: z.string(), behindClaims: count })),
  registry: z.string(),
  management: z.string(),
  startedMs: milliseconds,
  tags: count,
  manifests: count,
  blobs: z.object({ count, sizeBytes: bytes }),
  tasks: z.object({ queued: count, running: count, done: count, parked: count }),
  peers: z.array(peerStatus),
  soleCopies: z.array(z.object({ repository: z.string(), digest: z.string(), tags: z.array(z.string()) })),
  soleCopiesCapped: z.boolean(),
});

export const imageStatus: z.ZodType<ImageStatus> = z.object({
  repository: z.string(),
  reference: z.string(),
  digest: z.string(),
  mediaType: z.string(),
  tags: z.array(z.string()),
  conflict: z.boolean(),
  regions: z.array(
    z.object({
      region: z.string(),
      state: z.enum(['complete', 'filling', 'known', 'absent', 'silent']),
      sizeBytes: bytes,
      sizeBytesHere: bytes,
      bytesBySource: z.record(z.string(), bytes),
      storedMs: milliseconds,
    }),
  ),
});

const policyEntry: z.ZodType<PolicyEntry> = z.object({
  kind: z.string(),
  name: z.string(),
  document: z.string().describe('YAML.'),
  appliedBy: z.string(),
  appliedIn: z.string(),
  appliedMs: milliseconds,
});

const appliedPolicy: z.ZodType<AppliedPolicy> = z.object({
  kind: z.string(),
  name: z.string(),
  change: z.enum(['created', 'changed', 'unchanged']),
});

const task = z.object({
  id: count,
  policy: z.string(),
  repository: z.string(),
  digest: z.string(),
  tag: z.string(),
  state: z.enum(TASK_STATES),
  attempts: count,
  dueMs: milliseconds,
  changedMs: milliseconds,
  bytes,
  reason: z.string(),
});

export const policyList = z.object({ policies: z.array(policyEntry) });
export const appliedList = z.object({ applied: z.array(appliedPolicy) });
export const taskList = z.object({ tasks: z.array(task) });

const problem = z.object({ file: z.string(), line: count, column: count, message: z.string() });

export const failure = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    problems: z.array(problem).optional().describe('Of a refused policy, with code `POLICY_REFUSED`.'),
    tried: z.array(z.string()).optional().describe('What was asked, with code `UNAVAILABLE`.'),
  }),
});

/** What a `PolicyBook` throws for a text that it does not apply. */
export const refusedPolicy = z.object({ message: z.string(), problems: z.array(problem).min(1) });
