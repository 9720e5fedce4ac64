/**
 * Scopes: what a client asks a token for, as `repository:<name>:pull,push`, and how they are cut down to what its
 * account may do. Too little is no error here; the registry refuses later, and says what was missing.
 * Source: token scopes of CNCF distribution. Limits: repositories and the catalog; other types are granted nothing.
 */
import { RegistryError } from '#domain/errors.ts';
import { parseRepositoryName, type RepositoryName } from '#domain/name.ts';
import { ACTIONS, type Action, type Permit } from '#domain/permit.ts';
import type { ResourceAccess } from './token.ts';

/** What somebody may do at most; a token is cut out of it. */
export type Grant = {
  readonly permit: Permit;
  /** The names of the repositories that may be pulled may be listed. */
  readonly catalog: boolean;
};

export const NOTHING: Grant = { permit: { allows: () => false }, catalog: false };

/** A push that mounts from many repositories names each; more would not fit a request's headers as a token. */
const SCOPES_MAX = 24;
const SCOPE_LENGTH_MAX = 400;
const SCOPE = /^([a-z]+)(?:\([a-z0-9]+\))?:(.+):([a-z*]+(?:,[a-z*]+)*)$/;

export function repositoryScope(repository: RepositoryName, actions: readonly Action[]): string {
  return `repository:${repository}:${actions.join(',')}`;
}

export const CATALOG_SCOPE = 'registry:catalog:*';

/**
 * Of the scopes what the grant has, each resource once. What is no scope is passed over, as clients send what
 * challenges of others told them. @throws RegistryError UNSUPPORTED (400) when there are too many.
 */
export function cutToGrant(scopes: readonly string[], grant: Grant): readonly ResourceAccess[] {
  if (scopes.length > SCOPES_MAX) {
    const message = `${scopes.length} scopes are too many for a token; at most ${SCOPES_MAX}`;
    throw new RegistryError('UNSUPPORTED', message, { status: 400 });
  }
  const granted = new Map<string, ResourceAccess>();
  for (const scope of scopes) {
    const [, type = '', name = '', actions = ''] =
      (scope.length <= SCOPE_LENGTH_MAX && SCOPE.exec(scope)) || [];
    const allowed = allowedActions(type, name, actions.split(','), grant);
    const known = granted.get(`${type}:${name}`)?.actions ?? [];
    if (allowed.length === 0) continue;
    granted.set(`${type}:${name}`, { type, name, actions: [...new Set([...known, ...allowed])] });
  }
  return [...granted.values()];
}

/** What a token's access lets its bearer do, of what its account may do now. */
export function grantOfToken(access: readonly ResourceAccess[], account: Grant): Grant {
  const named = (type: string, name: string, action: string) =>
    access.some((entry) => entry.type === type && entry.name === name && entry.actions.includes(action));
  return {
    permit: {
      allows: (repository, action) =>
        named('repository', repository, action) && account.permit.allows(repository, action),
    },
    catalog: account.catalog && named('registry', 'catalog', '*'),
  };
}

function allowedActions(
  type: string,
  name: string,
  asked: readonly string[],
  grant: Grant,
): readonly string[] {
  if (type === 'registry') return name === 'catalog' && asked.includes('*') && grant.catalog ? ['*'] : [];
  const repository = type === 'repository' ? nameOf(name) : undefined;
  if (repository === undefined) return [];
  const wanted = asked.includes('*') ? ACTIONS : ACTIONS.filter((action) => asked.includes(action));
  return wanted.filter((action) => grant.permit.allows(repository, action));
}

function nameOf(text: string): RepositoryName | undefined {
  try {
    return parseRepositoryName(text);
  } catch {
    return undefined;
  }
}
