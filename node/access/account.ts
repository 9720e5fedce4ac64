/**
 * An account in force: what its claims grant, all together.
 *
 * Two regions that change an account without seeing each other leave two values. The index has a winner; access is
 * more careful, because a disable must not lose against a rename of rights: the account is granted only what every
 * one of its values grants, until somebody's next change settles it.
 */
import { LRUCache } from 'lru-cache';
import type { RepositoryName } from '#domain/name.ts';
import { ACTIONS, type Action, type Permit } from '#domain/permit.ts';
import { compileSelection } from '#policies/select.ts';
import { type AccountDocument, type AccountSecret, canonicalJson, type Right } from './account-document.ts';

/** Repositories whose answer is kept, because matching a glob is the dearest part of a decision. */
const DECISIONS_MAX = 256;

export class Account implements Permit {
  readonly name: string;
  /** What all values agree on: the winner, less what others lack. A change starts from it, so it adds nothing either. */
  readonly document: AccountDocument;
  readonly #values: readonly AccountDocument[];
  readonly #rights: readonly ((name: string) => ReadonlySet<Action>)[];
  readonly #decisions = new LRUCache<string, ReadonlySet<Action>>({ max: DECISIONS_MAX });

  /** `rivals`: the values of claims that did not see the winner, nor it them. */
  constructor(name: string, winner: AccountDocument, rivals: readonly AccountDocument[] = []) {
    this.name = name;
    this.document = rivals.reduce(agreement, winner);
    this.#values = [winner, ...rivals];
    this.#rights = this.#values.map(({ rights }) => compileRights(rights));
  }

  /** Neither disabled nor expired. */
  isInForce(nowMs: number): boolean {
    const { disabled, expiresMs } = this.document;
    return !disabled && (expiresMs === undefined || nowMs < expiresMs);
  }

  /** What it may be signed in with; none when it is not in force. */
  secrets(nowMs: number): readonly AccountSecret[] {
    if (!this.isInForce(nowMs)) return [];
    return this.document.secrets.filter(({ untilMs }) => untilMs === undefined || nowMs < untilMs);
  }

  /** True while the secret of this id may be used, and all that was obtained with it. */
  hasSecret(id: string, nowMs: number): boolean {
    return this.secrets(nowMs).some((secret) => secret.id === id);
  }

  /** Whatever its state: ask `isInForce` first. */
  allows(repository: RepositoryName, action: Action): boolean {
    let allowed = this.#decisions.get(repository);
    if (allowed === undefined) {
      const all = this.#rights.map((rights) => rights(repository));
      allowed = new Set(ACTIONS.filter((candidate) => all.every((actions) => actions.has(candidate))));
      this.#decisions.set(repository, allowed);
    }
    return allowed.has(action);
  }

  /** True when there is a repository, of whatever name, with which it may do something. */
  get hasRights(): boolean {
    return this.#values.every(({ rights }) => rights.length > 0);
  }
}

/** Globs of two values are not intersected here, only entries that both have are kept; `allows` asks each value. */
function agreement(one: AccountDocument, other: AccountDocument): AccountDocument {
  const rights = new Set(other.rights.map(canonicalJson));
  const untilOf = new Map(other.secrets.map(({ id, untilMs }) => [id, untilMs]));
  return {
    ...one,
    disabled: one.disabled || other.disabled,
    expiresMs: earlier(one.expiresMs, other.expiresMs),
    rights: one.rights.filter((right) => rights.has(canonicalJson(right))),
    secrets: one.secrets
      .filter(({ id }) => untilOf.has(id))
      .map((secret) => ({ ...secret, untilMs: earlier(secret.untilMs, untilOf.get(secret.id)) })),
  };
}

/** `undefined` is never. */
function earlier(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.min(one, other);
}

function compileRights(rights: readonly Right[]): (name: string) => ReadonlySet<Action> {
  const compiled = rights.map(({ repositories, actions }) => ({
    matches: compileSelection({ repositories }).repository,
    actions,
  }));
  return (name) => new Set(compiled.flatMap(({ matches, actions }) => (matches(name) ? actions : [])));
}
