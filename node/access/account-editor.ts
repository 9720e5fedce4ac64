/**
 * Changes to accounts: made here, in force in every region as soon as their claims arrive.
 *
 * A secret is generated (or given) here, answered once, and kept only as its hash. A rotation leaves the older secret
 * valid for a while, so that a fleet can be moved to the new one without a gap. What an account may do, until when it
 * exists and whether it is disabled are changed without touching its secrets.
 */
import PQueue from 'p-queue';
import type { Dot } from '#domain/dot.ts';
import { type RequestContext, requestFields } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { type Random, randomId } from '#runtime/random.ts';
import type { AccountBook, StoredAccount } from './account-book.ts';
import {
  type AccountDocument,
  type AccountKind,
  type AccountSecret,
  ANONYMOUS,
  accountText,
  type Right,
} from './account-document.ts';
import { KDF_COST, type Kdf, type KdfCost, newKdf, type SecretHasher } from './secret-hash.ts';

/** Where a change goes: the index. @throws UnavailableError, also when `replaces` is not what is there any more. */
export interface AccountWriter {
  write(
    change: { readonly name: string; readonly document: string; readonly replaces: Dot | undefined },
    context: RequestContext,
  ): Promise<void>;
}

export type AccountEditorDeps = {
  readonly book: AccountBook;
  readonly writer: AccountWriter;
  readonly hasher: Pick<SecretHasher, 'hash'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export type AccountDraft = {
  readonly name: string;
  readonly kind: AccountKind;
  readonly rights: readonly Right[];
  readonly expiresMs?: number | undefined;
  /** Absent: one is generated. */
  readonly secret?: string | undefined;
};

export type AccountChange = {
  readonly rights?: readonly Right[] | undefined;
  /** `null`: it never expires. */
  readonly expiresMs?: number | null | undefined;
  readonly disabled?: boolean | undefined;
};

export type Rotation = {
  readonly secret?: string | undefined;
  /** How long the secret before it stays valid; 0 ends it at once. */
  readonly graceMs: number;
};

export type AccountEntry = {
  readonly name: string;
  readonly kind: AccountKind | 'unknown';
  readonly state: 'in-force' | 'disabled' | 'expired' | 'unreadable';
  /** 0 for never. */
  readonly expiresMs: number;
  readonly rights: readonly Right[];
  /** Those that are valid now, the newest first. `untilMs`: 0 for no end of its own. */
  readonly secrets: readonly { readonly createdMs: number; readonly untilMs: number }[];
  readonly changedMs: number;
  readonly changedBy: string;
  /** True when regions changed it without seeing each other: it grants what all of them do, until changed again. */
  readonly conflict: boolean;
};

/** `secret`: what was generated; shown this once. */
export type AccountWithSecret = { readonly account: AccountEntry; readonly secret?: string };

/** Tells people and scanners of leaked secrets what it is. */
const SECRET_PREFIX = 'fwy_';
/** 192 bits. */
const SECRET_BYTES = 24;
const SECRET_ID_BYTES = 8;

export class AccountEditor {
  readonly #deps: AccountEditorDeps;
  readonly #cost: KdfCost;
  /** One at a time, so that each sees what the one before it left. Bounded by the requests in flight. */
  readonly #edits = new PQueue({ concurrency: 1 });

  constructor(deps: AccountEditorDeps, config: { readonly cost?: KdfCost } = {}) {
    this.#deps = deps;
    this.#cost = config.cost ?? KDF_COST;
  }

  async list(): Promise<readonly AccountEntry[]> {
    return (await this.#deps.book.list()).map((stored) => this.#entry(stored));
  }

  /**
   * `undefined` when the name is taken, also by an account that is disabled or expired.
   * @throws z.ZodError when it is too large; UnavailableError; RegistryError TOOMANYREQUESTS.
   */
  async create(draft: AccountDraft, context: RequestContext): Promise<AccountWithSecret | undefined> {
    return await this.#edits.add(async () => {
      if ((await this.#deps.book.stored(draft.name)) !== undefined) return undefined;
      const made =
        draft.name === ANONYMOUS ? undefined : await this.#makeSecret(draft.secret, undefined, context);
      const document: AccountDocument = {
        version: 1,
        kind: draft.kind,
        disabled: false,
        expiresMs: draft.expiresMs,
        rights: [...draft.rights],
        kdf: made?.kdf,
        secrets: made === undefined ? [] : [made.secret],
      };
      const account = await this.#write({ name: draft.name, document, replaces: undefined }, context);
      return { account, ...shown(made) };
    });
  }

  /** `undefined` when there is no such account, or it has no secrets because it is `anonymous`. @throws as `create`. */
  async rotate(
    name: string,
    rotation: Rotation,
    context: RequestContext,
  ): Promise<AccountWithSecret | undefined> {
    return await this.#edits.add(async () => {
      const stored = await this.#deps.book.stored(name);
      const account = stored?.account;
      if (stored === undefined || account === undefined || name === ANONYMOUS) return undefined;
      const nowMs = this.#deps.clock.nowMs();
      const older = rotation.graceMs === 0 ? undefined : account.secrets(nowMs)[0];
      const sharedKdf = older === undefined ? undefined : account.document.kdf;
      const made = await this.#makeSecret(rotation.secret, sharedKdf, context);
      const untilMs = Math.min(older?.untilMs ?? Number.MAX_SAFE_INTEGER, nowMs + rotation.graceMs);
      const document: AccountDocument = {
        ...account.document,
        kdf: made.kdf,
        secrets: [made.secret, ...(older === undefined ? [] : [{ ...older, untilMs }])],
      };
      return {
        account: await this.#write({ name, document, replaces: stored.dot }, context),
        ...shown(made),
      };
    });
  }

  /** `undefined` when there is no such account. @throws as `create`. */
  async change(
    name: string,
    change: AccountChange,
    context: RequestContext,
  ): Promise<AccountEntry | undefined> {
    return await this.#edits.add(async () => {
      const stored = await this.#deps.book.stored(name);
      const account = stored?.account;
      if (stored === undefined || account === undefined) return undefined;
      const before = account.document;
      const document: AccountDocument = {
        ...before,
        rights: change.rights === undefined ? before.rights : [...change.rights],
        expiresMs: change.expiresMs === undefined ? before.expiresMs : (change.expiresMs ?? undefined),
        disabled: change.disabled ?? before.disabled,
      };
      return await this.#write({ name, document, replaces: stored.dot }, context);
    });
  }

  async #makeSecret(given: string | undefined, sharedKdf: Kdf | undefined, context: RequestContext) {
    const { hasher, random, clock } = this.#deps;
    const text = given ?? `${SECRET_PREFIX}${Buffer.from(random.bytes(SECRET_BYTES)).toString('base64url')}`;
    const kdf = sharedKdf ?? newKdf(random, this.#cost);
    const hash = (await hasher.hash(text, kdf, context.signal)).toString('base64url');
    const secret: AccountSecret = { id: randomId(random, SECRET_ID_BYTES), hash, createdMs: clock.nowMs() };
    return { secret, kdf, generated: given === undefined ? text : undefined };
  }

  async #write(
    change: { readonly name: string; readonly document: AccountDocument; readonly replaces: Dot | undefined },
    context: RequestContext,
  ): Promise<AccountEntry> {
    const { book, writer, log } = this.#deps;
    const { name, replaces } = change;
    await writer.write({ name, document: accountText(change.document), replaces }, context);
    log.info('account changed', { ...requestFields(context), reason: name });
    const stored = await book.stored(name);
    if (stored === undefined) throw new Error(`the account ${name} was written and is not there`);
    return this.#entry(stored);
  }

  #entry(stored: StoredAccount): AccountEntry {
    const { name, changedMs, changedBy, conflict, account } = stored;
    const about = { name, changedMs, changedBy, conflict };
    if (account === undefined) {
      return { ...about, kind: 'unknown', state: 'unreadable', expiresMs: 0, rights: [], secrets: [] };
    }
    const nowMs = this.#deps.clock.nowMs();
    const { kind, rights, expiresMs, disabled } = account.document;
    const secrets = account.secrets(nowMs).map(({ createdMs, untilMs = 0 }) => ({ createdMs, untilMs }));
    const state = account.isInForce(nowMs) ? 'in-force' : disabled ? 'disabled' : 'expired';
    return { ...about, kind, state, expiresMs: expiresMs ?? 0, rights, secrets };
  }
}

function shown(made: { readonly generated: string | undefined } | undefined): { readonly secret?: string } {
  return made?.generated === undefined ? {} : { secret: made.generated };
}
