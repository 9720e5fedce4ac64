/**
 * Tokens: JSON Web Tokens signed by the region that issued them, valid in every region of the mesh.
 *
 * An *access* token says for five minutes what its bearer asked for and was granted; a *refresh* token stands for one
 * secret of an account, and is as good as it for getting access tokens, until that secret ends. Neither is the last
 * word: whoever verifies one asks the account, too.
 * Source: RFC 7519 and RFC 7515 with ES256; the claims of the token authentication specification of CNCF distribution.
 */
import { type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import type { SigningKey } from './signing-key.ts';

const accessSchema = z.object({
  type: z.string().max(64),
  name: z.string().max(300),
  actions: z.array(z.string().max(32)).max(8),
});

/** What a token lets its bearer do with one resource. */
export type ResourceAccess = z.infer<typeof accessSchema>;

const claimsSchema = z.object({
  iss: z.string().max(128),
  /** The account's name. */
  sub: z.string().max(128),
  /** The mesh. */
  aud: z.string().max(128),
  /** Seconds since 1970, as the next two. */
  iat: z.number().int(),
  nbf: z.number().int(),
  exp: z.number().int(),
  jti: z.string().max(64),
  use: z.enum(['access', 'refresh']),
  /** The id of the secret that it was obtained with; absent for `anonymous`. */
  secret: z.string().max(64).optional(),
  access: z.array(accessSchema).max(64),
});

export type TokenClaims = z.infer<typeof claimsSchema>;

const headerSchema = z.object({ alg: z.literal('ES256'), typ: z.literal('JWT'), kid: z.string().max(32) });

/** Fits a request's headers, of which Node takes 16 KiB, with room for the others. */
export const TOKEN_LENGTH_MAX = 12_288;
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$/;

export function signToken(claims: TokenClaims, key: SigningKey): string {
  const signed = `${encode({ alg: 'ES256', typ: 'JWT', kid: key.id })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(signed), {
    key: key.privateKey,
    dsaEncoding: 'ieee-p1363',
  });
  return `${signed}.${signature.toString('base64url')}`;
}

/** A token whose form is right; nothing is verified yet. */
export type ParsedToken = { readonly keyId: string; readonly claims: TokenClaims; readonly text: string };

/** `undefined` for everything that is no token of ours by its form. */
export function parseToken(text: string): ParsedToken | undefined {
  if (text.length > TOKEN_LENGTH_MAX || !COMPACT.test(text)) return undefined;
  const [head = '', body = ''] = text.split('.');
  const header = headerSchema.safeParse(decode(head)).data;
  const claims = claimsSchema.safeParse(decode(body)).data;
  return header === undefined || claims === undefined ? undefined : { keyId: header.kid, claims, text };
}

export function isSignedBy({ text }: ParsedToken, key: KeyObject): boolean {
  const dot = text.lastIndexOf('.');
  const signature = Buffer.from(text.slice(dot + 1), 'base64url');
  return verify('sha256', Buffer.from(text.slice(0, dot)), { key, dsaEncoding: 'ieee-p1363' }, signature);
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function decode(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}
