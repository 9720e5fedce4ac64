/**
 * The accounts in force, read from the replicated index: what was changed in any region counts here as soon as its
 * claim has arrived, for every use of a password or a token, however long that is still valid by itself.
 *
 * Accounts are read when they are used and kept until the index says that they changed. A value that this version
 * cannot read grants nothing. When the store does not answer, nobody is let in by guessing: the request fails.
 */
import { LRUCache } from 'lru-cache';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { Dot } from '#domain/dot.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { ClaimKey, ViewRow, ViewRows } from '#storage/metadata.ts';
import { Account } from './account.ts';
import { type AccountDocument, parseAccount } from './account-document.ts';

export type AccountBookDeps = {
  readonly views: Pick<ViewRows, 'get' | 'list' | 'count'>;
  /** The live values of an account in conflict that are not its winner's. */
  readonly rivals: (name: string) => Promise<readonly Uint8Array[]>;
  /** Reports the keys of views that changed, by this region or another one, after they did. */
  readonly onChanged: (listener: (keys: readonly ClaimKey[]) => void) => Disposable;
  readonly clock: Clock;
  readonly log: Log;
};

/** An account as it is stored, whether it is in force or not. */
export type StoredAccount = {
  readonly name: string;
  readonly dot: Dot;
  readonly changedMs: number;
  readonly changedBy: string;
  readonly conflict: boolean;
  /** Absent when this version cannot read it. */
  readonly account: Account | undefined;
};

/** About 2 KB each; those used least are read again. */
const ACCOUNTS_KEPT_MAX = 5000;
/** Only a safety net: every change is reported. */
const KEPT_MS = 10_000;
const PAGE_ROWS = 200;

type Kept<Value> = {
  readonly value: Promise<Value>;
  readonly readMs: number;
  /** What `value` resolved to, once it did. */
  settled?: Value;
};

export class AccountBook implements Disposable {
  readonly #deps: AccountBookDeps;
  readonly #kept = new LRUCache<string, Kept<StoredAccount | undefined>>({ max: ACCOUNTS_KEPT_MAX });
  readonly #resources = new DisposableStack();
  #any: Kept<boolean> | undefined;

  constructor(deps: AccountBookDeps) {
    this.#deps = deps;
    this.#resources.use(
      deps.onChanged((keys) => {
        for (const { kind, name } of keys) if (kind === CLAIM_KIND.account) this.#forget(name);
      }),
    );
  }

  /** False as soon as one account exists, be it disabled or expired: a registry that was closed stays so. */
  async isEmpty(): Promise<boolean> {
    if (this.#any === undefined || this.#isStale(this.#any)) {
      const value = this.#deps.views.count(CLAIM_KIND.account).then((count) => count > 0);
      const kept: Kept<boolean> = { value, readMs: this.#deps.clock.monotonicMs() };
      this.#any = kept;
      value.then(
        (any) => {
          kept.settled = any;
        },
        () => {
          if (this.#any === kept) this.#any = undefined;
        },
      );
    }
    return !(await this.#any.value);
  }

  /** True only when it is known at once, without reading, that `isEmpty` is. */
  get isKnownEmpty(): boolean {
    return this.#any?.settled === false && !this.#isStale(this.#any);
  }

  /** `undefined` when there is none of this name, or none that can be read. */
  async find(name: string): Promise<Account | undefined> {
    return (await this.stored(name))?.account;
  }

  async stored(name: string): Promise<StoredAccount | undefined> {
    const known = this.#kept.get(name);
    if (known !== undefined && !this.#isStale(known)) return await known.value;
    const kept = { value: this.#read(name), readMs: this.#deps.clock.monotonicMs() };
    this.#kept.set(name, kept);
    kept.value.catch(() => {
      if (this.#kept.peek(name) === kept) this.#kept.delete(name);
    });
    return await kept.value;
  }

  /** All of them, by name. */
  async list(): Promise<readonly StoredAccount[]> {
    const found: StoredAccount[] = [];
    for (;;) {
      const page = await this.#deps.views.list(CLAIM_KIND.account, '', found.at(-1)?.name ?? '', PAGE_ROWS);
      for (const row of page) found.push(await this.#storedOf(row));
      if (page.length < PAGE_ROWS) return found;
    }
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }

  async #read(name: string): Promise<StoredAccount | undefined> {
    const row = await this.#deps.views.get({ kind: CLAIM_KIND.account, repository: '', name });
    return row === undefined || !row.live ? undefined : await this.#storedOf(row);
  }

  async #storedOf(row: ViewRow): Promise<StoredAccount> {
    const { name, dot, changedMs, principal, conflict } = row;
    const rivals = conflict ? await this.#deps.rivals(name) : [];
    const values = [row.value, ...rivals].map(parseAccount);
    const known = values.filter((value): value is AccountDocument => value !== undefined);
    const [winner, ...others] = known;
    const isReadable = winner !== undefined && known.length === values.length;
    if (!isReadable) this.#deps.log.warn('account not readable', { reason: name });
    const account = isReadable ? new Account(name, winner, others) : undefined;
    return { name, dot, changedMs, changedBy: principal, conflict, account };
  }

  #forget(name: string): void {
    this.#kept.delete(name);
    this.#any = undefined;
  }

  #isStale({ readMs }: Kept<unknown>): boolean {
    return this.#deps.clock.monotonicMs() - readMs > KEPT_MS;
  }
}
