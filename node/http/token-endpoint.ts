/**
 * The token service: `GET /token` with a name and a secret as Basic, or without any; `POST /token` with a form, as
 * OAuth 2 has it, by password or by refresh token. Both answer a token for as many of the scopes as the account may
 * have, perhaps none. Source: the token and the OAuth 2 specifications of CNCF distribution.
 */
import type { Gate, Issued } from '#access/gate.ts';
import type { SignedIn } from '#access/sign-in.ts';
import { RegistryError } from '#domain/errors.ts';
import { type Answer, json, methodNotAllowed } from './answer.ts';
import { addressOf, basicCredentials, SERVICE, WRONG_CREDENTIALS } from './authorization.ts';
import type { Call } from './call.ts';

export type TokenGate = Pick<Gate, 'open' | 'signIn' | 'redeem' | 'issue'>;

/** A refresh token, and scopes of the longest names. */
const FORM_BYTES_MAX = 32 * 1024;
const FORM = /^application\/x-www-form-urlencoded\b/i;

export async function answerToken(gate: TokenGate, call: Call): Promise<Answer> {
  if (call.method === 'GET') return await answerGet(gate, call);
  if (call.method === 'POST') return await answerPost(gate, call);
  throw methodNotAllowed(call.method, ['GET', 'POST']);
}

async function answerGet(gate: TokenGate, call: Call): Promise<Answer> {
  const { authorization } = call.headers;
  const to =
    authorization === undefined ? undefined : await signIn(gate, call, basicCredentials(authorization));
  const scopes = splitScopes(call.query.getAll('scope'));
  const offline = call.query.get('offline_token') === 'true';
  return tokenAnswer(await gate.issue(to, { scopes, offline }));
}

async function answerPost(gate: TokenGate, call: Call): Promise<Answer> {
  if (!FORM.test(call.headers['content-type'] ?? '')) {
    throw badRequest('the body must be application/x-www-form-urlencoded');
  }
  const form = new URLSearchParams(Buffer.from(await call.body.bytes(FORM_BYTES_MAX)).toString('utf8'));
  const to = await grantee(gate, call, form);
  const scopes = splitScopes(form.getAll('scope'));
  // Whoever comes with a refresh token keeps it.
  const offline = form.get('access_type') === 'offline' && form.get('grant_type') === 'password';
  return tokenAnswer(await gate.issue(to, { scopes, offline }));
}

async function grantee(gate: TokenGate, call: Call, form: URLSearchParams): Promise<SignedIn | undefined> {
  const grantType = form.get('grant_type');
  if (grantType === 'password') {
    const [name, secret] = [form.get('username') ?? '', form.get('password') ?? ''];
    return await signIn(gate, call, { name, secret });
  }
  if (grantType !== 'refresh_token') throw badRequest('grant_type must be password or refresh_token');
  const to = await gate.redeem(form.get('refresh_token') ?? '');
  if (to !== undefined || (await gate.open()) !== undefined) return to;
  throw unauthorized('the refresh token is not valid; sign in again');
}

/** A registry without accounts knows no names, and asks for none. */
async function signIn(
  gate: TokenGate,
  call: Call,
  credentials: { readonly name: string; readonly secret: string } | undefined,
): Promise<SignedIn | undefined> {
  if ((await gate.open()) !== undefined) return undefined;
  const to =
    credentials === undefined
      ? undefined
      : await gate.signIn({ ...credentials, address: addressOf(call) }, call.context.signal);
  if (to === undefined) throw unauthorized(WRONG_CREDENTIALS);
  return to;
}

function tokenAnswer(issued: Issued): Answer {
  const { token, refreshToken, expiresInSeconds, issuedMs } = issued;
  const reply = {
    // Clients read the one or the other.
    token,
    access_token: token,
    token_type: 'Bearer',
    expires_in: expiresInSeconds,
    issued_at: new Date(issuedMs).toISOString(),
    ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }),
  };
  return json(200, reply, { 'Cache-Control': 'no-store' });
}

/** Several parameters, or one with blanks between the scopes; some clients mix the two. */
function splitScopes(values: readonly string[]): readonly string[] {
  return values.flatMap((value) => value.split(' ')).filter((scope) => scope !== '');
}

function unauthorized(message: string): RegistryError {
  return new RegistryError('UNAUTHORIZED', message, {
    headers: { 'WWW-Authenticate': `Basic realm="${SERVICE}"` },
  });
}

function badRequest(message: string): RegistryError {
  return new RegistryError('UNSUPPORTED', message, { status: 400 });
}
