/**
 * The door of the registry: establishes who asks, and refuses what they may not do, before anything else happens.
 *
 * A refusal carries the challenge that clients act on, with the scope that this very request needs: some clients take
 * it from `/v2/`, others never go there. `/v2/` therefore asks everybody to sign in as soon as there is an account,
 * even those who may pull without: docker and podman go on anonymously for ever where it answers 200. A token that
 * is valid but does not reach gets `insufficient_scope`: with 401 where a new token would help, with 403 where the
 * account itself may not. Source: token authentication of CNCF distribution; RFC 6750, section 3; RFC 7617.
 */
import type { Admission, Gate } from '#access/gate.ts';
import { CATALOG_SCOPE, type Grant, repositoryScope } from '#access/scope.ts';
import type { ApiPath } from '#domain/api-path.ts';
import { RegistryError } from '#domain/errors.ts';
import { parseRepositoryName, type RepositoryName } from '#domain/name.ts';
import type { Action } from '#domain/permit.ts';
import type { Call } from './call.ts';

export type AuthorizationGate = Pick<Gate, 'open' | 'openAtOnce' | 'anonymous' | 'password' | 'token'>;

/** The same in every region, or clients that fail over to another one would throw their tokens away. */
export const SERVICE = 'fairway';
export const TOKEN_PATH = '/token';

/** What a request needs: for people and challenges as scopes, and as a question to a grant. */
type Need = { readonly scopes: readonly string[]; isIn(grant: Grant): boolean };

type Fault = 'invalid_token' | 'insufficient_scope';

const HOST = /^(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i;
const BASIC = /^Basic +([A-Za-z0-9+/=_-]+)$/i;
const BEARER = /^Bearer +([A-Za-z0-9._~+/=-]+)$/i;

/**
 * Gives the call its principal and its permit.
 * @throws RegistryError UNAUTHORIZED (401) or DENIED (403) with a challenge, TOOMANYREQUESTS.
 */
export async function authorize(gate: AuthorizationGate, call: Call, path: ApiPath): Promise<void> {
  const need = needOf(call, path);
  const admission = (await gate.open()) ?? (await admit(gate, call, need));
  // Nobody's account is needed for reading what `anonymous` may, but `/v2/` is where signing in begins.
  const mustSignIn = path.route === 'base' && admission.via === 'anonymous';
  if (mustSignIn || !need.isIn(admission.grant)) throw refusal(call, need, admission);
  // A token for the catalog names no repositories; which ones are listed is what its account may pull.
  const { permit } = path.route === 'catalog' ? admission.widest : admission.grant;
  call.identify({ principal: admission.principal, permit });
}

/** The same without waiting, where nobody needs an account and that is known; false says nothing. */
export function authorizeAtOnce(gate: AuthorizationGate, call: Call): boolean {
  const admission = gate.openAtOnce();
  if (admission === undefined) return false;
  call.identify({ principal: admission.principal, permit: admission.grant.permit });
  return true;
}

/** The name and secret of a Basic header; `undefined` when it is none. */
export function basicCredentials(
  authorization: string,
): { readonly name: string; readonly secret: string } | undefined {
  const encoded = BASIC.exec(authorization)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon === -1 ? undefined : { name: text.slice(0, colon), secret: text.slice(colon + 1) };
}

/** Where failed sign-ins are counted. */
export function addressOf(call: Call): string {
  return call.request.socket.remoteAddress ?? '';
}

async function admit(gate: AuthorizationGate, call: Call, need: Need): Promise<Admission> {
  const { authorization } = call.headers;
  if (authorization === undefined) return await gate.anonymous();
  const token = BEARER.exec(authorization)?.[1];
  if (token !== undefined) {
    const admission = await gate.token(token);
    if (admission !== undefined) return admission;
    throw unauthorized(call, need, { message: 'the token is not valid', fault: 'invalid_token' });
  }
  const credentials = basicCredentials(authorization);
  const address = addressOf(call);
  const admission =
    credentials === undefined
      ? undefined
      : await gate.password({ ...credentials, address }, call.context.signal);
  if (admission !== undefined) return admission;
  throw unauthorized(call, need, { message: WRONG_CREDENTIALS });
}

export const WRONG_CREDENTIALS = 'the name or the secret is wrong, or the account is not in force';

function refusal(call: Call, need: Need, admission: Admission): RegistryError {
  const { via, principal, widest } = admission;
  const missing = need.scopes.join(' ');
  if (via === 'anonymous') return unauthorized(call, need, { message: 'sign in first' });
  const isAnonymous = principal === 'anonymous';
  const fault = via === 'token' ? ({ fault: 'insufficient_scope' } as const) : {};
  if (isAnonymous || need.isIn(widest)) {
    return unauthorized(call, need, { message: `the token does not reach: ${missing}`, ...fault });
  }
  return new RegistryError('DENIED', `${principal} is not granted ${missing}`, {
    headers: { 'WWW-Authenticate': challenge(call, need, fault.fault) },
    detail: { scopes: need.scopes },
  });
}

function unauthorized(
  call: Call,
  need: Need,
  { message, fault }: { readonly message: string; readonly fault?: Fault },
): RegistryError {
  return new RegistryError('UNAUTHORIZED', message, {
    headers: { 'WWW-Authenticate': challenge(call, need, fault) },
    detail: { scopes: need.scopes },
  });
}

function challenge(call: Call, need: Need, fault: Fault | undefined): string {
  const scope = need.scopes.length === 0 ? '' : `,scope="${need.scopes.join(' ')}"`;
  const error = fault === undefined ? '' : `,error="${fault}"`;
  return `Bearer realm="${originOf(call)}${TOKEN_PATH}",service="${SERVICE}"${scope}${error}`;
}

/** As the client reached us: each region issues tokens by itself, so none depends on another being up. */
function originOf(call: Call): string {
  const { socket } = call.request;
  const isTls = 'encrypted' in socket || call.header('x-forwarded-proto') === 'https';
  const { host } = call.headers;
  const address = `${bracketed(socket.localAddress ?? '127.0.0.1')}:${socket.localPort ?? 0}`;
  return `${isTls ? 'https' : 'http'}://${host !== undefined && HOST.test(host) ? host : address}`;
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

function needOf(call: Call, path: ApiPath): Need {
  switch (path.route) {
    case 'base':
      return { scopes: [], isIn: () => true };
    case 'catalog':
      return { scopes: [CATALOG_SCOPE], isIn: (grant) => grant.catalog };
    case 'upload-start':
      return needToUpload(call, path.repository);
    case 'upload':
      return need(path.repository, 'push');
    default:
      return need(path.repository, actionOf(call.method));
  }
}

function actionOf(method: string): Action {
  if (method === 'PUT' || method === 'POST' || method === 'PATCH') return 'push';
  return method === 'DELETE' ? 'delete' : 'pull';
}

function need(repository: RepositoryName, action: Action): Need {
  // Who pushes looks first at what is there.
  const asked: readonly Action[] = action === 'push' ? ['pull', 'push'] : [action];
  return {
    scopes: [repositoryScope(repository, asked)],
    isIn: (grant) => grant.permit.allows(repository, action),
  };
}

/**
 * The challenge asks for the source of a mount, too, but a push without it is not refused: what may not be mounted
 * is uploaded.
 */
function needToUpload(call: Call, repository: RepositoryName): Need {
  const push = need(repository, 'push');
  const from = call.query.has('mount') ? (call.query.get('from') ?? '') : '';
  if (from === '' || from === repository) return push;
  return { ...push, scopes: [...push.scopes, repositoryScope(parseRepositoryName(from), ['pull'])] };
}
