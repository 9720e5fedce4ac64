/**
 * An account as its claim carries it: who, what may be done where, and how a secret is recognised; never a secret.
 *
 * The value is canonical JSON (keys sorted, no blanks), so that equal accounts are equal bytes and no conflict. All
 * secrets of an account that are valid at one time share a salt: one computation recognises each of them, and how
 * long a refusal takes does not tell whether a rotation is under way.
 *
 * Limits: a claim has at most 8 KiB, which is about a hundred patterns of usual length.
 */
import { z } from 'zod';
import { ACTIONS } from '#domain/permit.ts';
import { patternFault } from '#policies/select.ts';
import { KDF_LIMITS } from './secret-hash.ts';

/** What those who do not sign in may do is what the account of this name is granted; it has no secret. */
export const ANONYMOUS = 'anonymous';

/** What writes in the index are signed with besides accounts; none of them can be an account's name. */
const RESERVED: ReadonlySet<string> = new Set(['administrator', 'fairway']);
const NAME = /^[a-z0-9](?:[a-z0-9._@+-]{0,126}[a-z0-9])?$/;
/** Leaves room in a claim of 8 KiB for its key, its context and the name of who made it. */
const DOCUMENT_BYTES_MAX = 7000;
const RIGHTS_MAX = 64;
const PATTERNS_MAX = 64;

/** Why the text names no account; `undefined` when it does. */
export function accountNameFault(text: string): string | undefined {
  if (RESERVED.has(text)) return `"${text}" is reserved`;
  if (NAME.test(text)) return undefined;
  return 'expected up to 128 of a-z, 0-9 and ". _ - + @", beginning and ending with a letter or digit';
}

const pattern = z.string().superRefine((text, context) => {
  const fault = patternFault(text, 'repository');
  if (fault !== undefined) context.addIssue({ code: 'custom', message: `"${text.slice(0, 100)}": ${fault}` });
});

export const rightSchema = z.strictObject({
  repositories: z
    .array(pattern)
    .min(1)
    .max(PATTERNS_MAX)
    .refine((list) => list.some((text) => !text.startsWith('!')), 'nothing but exclusions selects nothing')
    .describe('Globs as in policies; those with a leading "!" exclude.'),
  actions: z.array(z.enum(ACTIONS)).min(1).max(ACTIONS.length),
});

export const rightsSchema = z.array(rightSchema).max(RIGHTS_MAX);

/** Repositories by glob, and what may be done with them. */
export type Right = z.infer<typeof rightSchema>;

const secretSchema = z.object({
  /** Names this secret among all that the account ever had; tokens carry it. */
  id: z.string().regex(/^[0-9a-f]{8,32}$/),
  hash: z.base64url().min(43).max(86),
  createdMs: z.number().int().min(0),
  /** From then on it is refused: the older one of a rotation. */
  untilMs: z.number().int().min(0).optional(),
});

const kdfSchema = z.object({
  algorithm: z.literal('argon2id'),
  memoryKib: z.number().int().min(8).max(KDF_LIMITS.memoryKibMax),
  passes: z.number().int().min(1).max(KDF_LIMITS.passesMax),
  parallelism: z.number().int().min(1).max(KDF_LIMITS.parallelismMax),
  salt: z.base64url().min(22).max(86),
});

const documentSchema = z.object({
  version: z.literal(1),
  kind: z.enum(['person', 'robot']),
  disabled: z.boolean(),
  /** From then on the account is refused; absent: never. */
  expiresMs: z.number().int().min(0).optional(),
  rights: rightsSchema,
  /** Absent for `anonymous`. */
  kdf: kdfSchema.optional(),
  /** The newest first; two during a rotation. */
  secrets: z.array(secretSchema).max(2),
});

export type AccountDocument = z.infer<typeof documentSchema>;
export type AccountKind = AccountDocument['kind'];
export type AccountSecret = z.infer<typeof secretSchema>;

/** `undefined` for what this version cannot read: it then grants nothing. */
export function parseAccount(bytes: Uint8Array): AccountDocument | undefined {
  try {
    return documentSchema.safeParse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))).data;
  } catch {
    return undefined;
  }
}

/** The claim's value. @throws z.ZodError where it is out of its limits, its size among them. */
export function accountText(document: AccountDocument): string {
  const text = canonicalJson(documentSchema.parse(document));
  return z
    .string()
    .refine((json) => Buffer.byteLength(json) <= DOCUMENT_BYTES_MAX, {
      path: ['rights'],
      message: `the account is larger than ${DOCUMENT_BYTES_MAX} bytes; merge its patterns`,
    })
    .parse(text);
}

/** Keys sorted, no blanks, nothing for `undefined`. For plain data. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`);
  return `{${entries.join(',')}}`;
}
