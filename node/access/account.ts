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
import type { AccountDocument, AccountSecret, Right } from './account-document.ts';

/** Repositories whose answer is kept, because matching a glob is the dearest part of a decision. */
const DECISIONS_MAX = 256;

export class Account implements Permit {
  readonly name: string;
  /** The winner; the others only take away from it. */
  readonly document: AccountDocument;
  readonly #values: readonly AccountDocument[];
  readonly #rights: readonly ((name: string) => ReadonlySet<Action>)[];
  readonly #decisions = new LRUCache<string, ReadonlySet<Action>>({ max: DECISIONS_MAX });

  /** `rivals`: the values of claims that did not see the winner, nor it them. */
  constructor(name: string, document: AccountDocument, rivals: readonly AccountDocument[] = []) {
    this.name = name;
    this.document = document;
    this.#values = [document, ...rivals];
    this.#rights = this.#values.map(({ rights }) => compileRights(rights));
  }

  /** Neither disabled nor expired. */
  isInForce(nowMs: number): boolean {
    return this.#values.every(
      ({ disabled, expiresMs }) => !disabled && (expiresMs === undefined || nowMs < expiresMs),
    );
  }

  /** What it may be signed in with; none when it is not in force. */
  secrets(nowMs: number): readonly AccountSecret[] {
    if (!this.isInForce(nowMs)) return [];
    const isValid = ({ untilMs }: AccountSecret) => untilMs === undefined || nowMs < untilMs;
    return this.document.secrets.filter(({ id }) =>
      this.#values.every(({ secrets }) => secrets.some((secret) => secret.id === id && isValid(secret))),
    );
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

function compileRights(rights: readonly Right[]): (name: string) => ReadonlySet<Action> {
  const compiled = rights.map(({ repositories, actions }) => ({
    matches: compileSelection({ repositories }).repository,
    actions,
  }));
  return (name) => new Set(compiled.flatMap(({ matches, actions }) => (matches(name) ? actions : [])));
}
