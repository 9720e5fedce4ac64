/**
 * The shapes of the management API, once: queries are validated by them, and the OpenAPI document is made from them.
 * Those of answers are tied to the types of `views.ts` by the compiler.
 */
import { z } from 'zod';
import { patternFault } from '#policies/select.ts';
import type {
  AppliedPolicy,
  Change,
  ImageStatus,
  MeshStatus,
  PolicyEntry,
  ResolvedConflict,
  TagConflict,
} from './views.ts';

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

export const logQuery = z.strictObject({
  repository: z
    .string()
    .superRefine((text, context) => {
      const fault = patternFault(text, 'repository');
      if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
    })
    .optional()
    .describe('A glob, as in policies.'),
  who: z.string().min(1).max(256).optional().describe('An account, or `administrator`.'),
  refused: z
    .enum(['true', 'false'])
    .transform((text) => text === 'true')
    .default(false)
    .describe('Only what a region wrote outside of its grant.'),
  sinceMs: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.string().min(1).max(12_000).optional().describe('`next` of the page before.'),
});

export const policyParameters = z.strictObject({ name: z.string().min(1).max(253) });

const taggedName = z.string().min(3).max(512);

export const conflictQuery = z.strictObject({
  name: taggedName.optional().describe('Only the conflict of this `repository:tag`.'),
  after: taggedName.optional().describe('Those after this `repository:tag`: `next` of the answer before.'),
  limit: z.coerce.number().int().min(1).max(200).default(100),
});

export const conflictChoice = z.strictObject({
  name: taggedName.describe('`repository:tag`.'),
  to: z.string().min(1).max(512).describe('The digest of one of its sides, or the region that pushed it.'),
});

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

const tagConflict: z.ZodType<TagConflict> = z.object({
  repository: z.string(),
  tag: z.string(),
  sinceMs: milliseconds,
  sides: z.array(
    z.object({
      digest: z.string(),
      region: z.string(),
      principal: z.string(),
      changedMs: milliseconds,
      wins: z.boolean(),
    }),
  ),
});

export const conflictList = z.object({
  conflicts: z.array(tagConflict),
  next: z.string().optional().describe('There may be more after this one.'),
});

export const resolvedConflict: z.ZodType<ResolvedConflict> = z.object({
  repository: z.string(),
  tag: z.string(),
  digest: z.string(),
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

const change: z.ZodType<Change> = z.object({
  atMs: milliseconds,
  region: z.string(),
  who: z.string(),
  kind: z.string().describe('`tag`, `manifest`, `policy`, `account`, `key` …'),
  change: z.enum(['set', 'deleted']),
  repository: z.string(),
  name: z.string(),
  digest: z.string(),
  version: z.string(),
  refused: z.boolean().describe('The roster does not grant it to its region: it is shown nowhere.'),
});

export const changePage = z.object({ changes: z.array(change), next: z.string().optional() });
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
