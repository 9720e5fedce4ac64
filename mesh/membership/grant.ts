/**
 * What a region may originate, as the roster grants it: names that it may write, whether it may change policies and
 * accounts, and the scopes of the tokens that it may sign for other regions. Those who receive claims and tokens hold
 * them against this, so that a stolen site can do no more with its key and disk than the site could.
 *
 * A grant is a function of a key and of nothing else: not of the time of a claim, which its maker chooses, nor of the
 * moment of its arrival, which differs. Regions with the same roster therefore judge every claim alike.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { compileSelection, patternFault } from '#policies/select.ts';

/**
 * `core`: holds the whole index, counts for acknowledgements and for proofs of absence, and passes on what others
 * wrote. `edge`: a site that may be stolen; of others' claims nothing is taken from it.
 */
export const REGION_ROLES = ['core', 'edge'] as const;
export type RegionRole = (typeof REGION_ROLES)[number];

/** As it stands in a configuration. What is left out is not granted. */
export type GrantText = {
  /** Globs, with `!` for exclusions. */
  readonly repositories?: readonly string[] | undefined;
  readonly policies?: boolean | undefined;
  readonly accounts?: boolean | undefined;
  /** `repository:<glob>:<actions>`, or `registry:catalog:*`. */
  readonly tokens?: readonly string[] | undefined;
};

/** What of a key or a token is looked at. */
export type GrantedKey = { readonly kind: number; readonly repository: string; readonly name: string };
export type GrantedAccess = {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
};

export type Grant = {
  /** Whether a claim of this key may be made. */
  mayWrite(key: GrantedKey): boolean;
  /** Whether any token of its key may count in another region. */
  readonly signsTokens: boolean;
  /** Whether a token with this access may. */
  maySign(access: GrantedAccess): boolean;
  /** Whether nothing is limited. */
  readonly isWhole: boolean;
};

export const EVERYTHING: Grant = {
  mayWrite: () => true,
  signsTokens: true,
  maySign: () => true,
  isWhole: true,
};

const TOKEN_SCOPE = /^(repository|registry):([^:]+):([a-z*]+(?:,[a-z*]+)*)$/;

/** What a region of this role is granted. Without a grant of its own a core region may do everything, an edge nothing. */
export function compileGrant(role: RegionRole, text: GrantText | undefined): Grant {
  if (role === 'core' && text === undefined) return EVERYTHING;
  const { repositories = [], policies = false, accounts = false, tokens = [] } = text ?? {};
  const writes = compileSelection({ repositories }).repository;
  const scopes = tokens.map(compileScope);
  return {
    mayWrite: ({ kind, repository, name }) => {
      if (kind === CLAIM_KIND.tag || kind === CLAIM_KIND.manifest) return writes(repository);
      if (kind === CLAIM_KIND.repository) return writes(repository === '' ? name : repository);
      if (kind === CLAIM_KIND.policy) return policies;
      if (kind === CLAIM_KIND.account) return accounts;
      // A key of which no token counts is of no use to others; anything else is nobody's but a core region's.
      return kind === CLAIM_KIND.key && scopes.length > 0;
    },
    signsTokens: scopes.length > 0,
    maySign: (access) => scopes.some((scope) => scope(access)),
    isWhole: false,
  };
}

/** Why the text is no token scope of a grant; `undefined` when it is one. */
export function tokenScopeFault(text: string): string | undefined {
  const [, type, name = ''] = TOKEN_SCOPE.exec(text) ?? [];
  if (type === undefined) return 'expected repository:<glob>:pull,push,delete or registry:catalog:*';
  if (type === 'registry') return name === 'catalog' ? undefined : 'expected registry:catalog:*';
  return patternFault(name, 'repository');
}

/** What an operator reads in a refusal. */
export function grantText(text: GrantText | undefined): string {
  const { repositories = [], policies = false, accounts = false } = text ?? {};
  const parts = [
    ...(repositories.length > 0 ? [`repositories ${repositories.join(', ')}`] : []),
    ...(policies ? ['policies'] : []),
    ...(accounts ? ['accounts'] : []),
  ];
  return parts.length === 0 ? 'nothing' : parts.join('; ');
}

function compileScope(text: string): (access: GrantedAccess) => boolean {
  const [, type, glob = '', actions = ''] = TOKEN_SCOPE.exec(text) ?? [];
  const allowed = new Set(actions.split(','));
  const matches = type === 'repository' ? compileSelection({ repositories: [glob] }).repository : undefined;
  return (access) =>
    access.type === type &&
    (matches === undefined ? access.name === glob : matches(access.name)) &&
    access.actions.every((action) => allowed.has('*') || allowed.has(action));
}
