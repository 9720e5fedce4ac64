/**
 * Accounts in the management API: made, changed and listed, never with a secret but the one that was just generated.
 * A secret that is given stands in the body only, which no log line has.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ANONYMOUS, accountNameFault, rightsSchema } from '#access/account-document.ts';
import type { AccountEditor, AccountEntry, AccountWithSecret } from '#access/account-editor.ts';
import { SECRET_LENGTH_MAX } from '#access/sign-in.ts';
import type { RequestContext } from '#domain/request-context.ts';

export type AccountAdmin = Pick<AccountEditor, 'list' | 'create' | 'rotate' | 'change'>;

/** Shorter ones are found by trying, however slow each try is. Generated ones have 36 characters. */
const SECRET_LENGTH_MIN = 12;
/** A rotation that takes longer is none. */
const GRACE_MS_MAX = 90 * 86_400_000;

const name = z.string().superRefine((text, context) => {
  const fault = accountNameFault(text);
  if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
});
const secret = z.string().min(SECRET_LENGTH_MIN).max(SECRET_LENGTH_MAX).describe('Generated when absent.');
const expiresMs = z.number().int().min(1).describe('Milliseconds since 1970.');

export const accountParameters = z.strictObject({ name: z.string().min(1).max(128) });

export const accountDraft = z
  .strictObject({
    name,
    kind: z.enum(['person', 'robot']).default('person'),
    rights: rightsSchema.default([]),
    expiresMs: expiresMs.optional().describe('Absent: never.'),
    secret: secret.optional(),
  })
  .refine((draft) => draft.name !== ANONYMOUS || draft.secret === undefined, {
    path: ['secret'],
    message: `"${ANONYMOUS}" has no secret`,
  });

export const accountChange = z.strictObject({
  rights: rightsSchema.optional().describe('Replaces all of them.'),
  expiresMs: expiresMs.nullable().optional().describe('null: never.'),
  disabled: z.boolean().optional(),
});

export const accountRotation = z.strictObject({
  secret: secret.optional(),
  graceMs: z
    .number()
    .int()
    .min(0)
    .max(GRACE_MS_MAX)
    .default(0)
    .describe('How long the secret before it stays valid, in ms; 0 ends it at once.'),
});

const accountEntry: z.ZodType<AccountEntry> = z.object({
  name: z.string(),
  kind: z.enum(['person', 'robot', 'unknown']),
  state: z.enum(['in-force', 'disabled', 'expired', 'unreadable']),
  expiresMs: z.number().describe('0 for never.'),
  rights: rightsSchema,
  secrets: z.array(z.object({ createdMs: z.number(), untilMs: z.number() })),
  changedMs: z.number(),
  changedBy: z.string(),
  conflict: z.boolean(),
});

export const accountAnswer = z.object({ account: accountEntry });
export const accountWithSecret: z.ZodType<AccountWithSecret> = z.object({
  account: accountEntry,
  secret: z.string().optional().describe('What was generated; it is shown this once.') as z.ZodType<string>,
});
export const accountList = z.object({ accounts: z.array(accountEntry) });

export function addAccountRoutes(
  api: FastifyInstance,
  accounts: AccountAdmin,
  contextFor: (request: FastifyRequest, reply: FastifyReply) => RequestContext,
): void {
  api.get('/api/v1/accounts', async () => ({ accounts: await accounts.list() }));
  api.post('/api/v1/accounts', async (request, reply) => {
    const draft = jsonBody(accountDraft).parse(request.body);
    const made = await accounts.create(draft, contextFor(request, reply));
    if (made !== undefined) return await reply.code(201).header('Cache-Control', 'no-store').send(made);
    const message = `there is an account ${draft.name} already`;
    return await reply.code(409).send({ error: { code: 'EXISTS', message } });
  });
  api.patch('/api/v1/accounts/:name', async (request, reply) => {
    const parameters = accountParameters.parse(request.params);
    const change = jsonBody(accountChange).parse(request.body);
    const account = await accounts.change(parameters.name, change, contextFor(request, reply));
    return account === undefined ? await unknown(reply, parameters.name) : { account };
  });
  api.post('/api/v1/accounts/:name/rotate', async (request, reply) => {
    const parameters = accountParameters.parse(request.params);
    const rotation = jsonBody(accountRotation).parse(request.body);
    const made = await accounts.rotate(parameters.name, rotation, contextFor(request, reply));
    if (made === undefined) return await unknown(reply, parameters.name);
    return await reply.header('Cache-Control', 'no-store').send(made);
  });
}

function unknown(reply: FastifyReply, account: string): FastifyReply {
  const message = `no account with a secret that can be read is named ${account}`;
  return reply.code(404).send({ error: { code: 'NOT_FOUND', message } });
}

/** The body comes as text. What is wrong with it is said without quoting it. */
function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text);
      } catch {
        context.addIssue({ code: 'custom', path: ['body'], message: 'expected JSON' });
        return z.NEVER;
      }
    })
    .pipe(schema);
}
