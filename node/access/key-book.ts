/**
 * The public keys by which tokens of all regions are verified, read from the replicated index.
 *
 * A key counts when its claim was made by the region that its id names, and that region is in the roster: so no
 * region can put a key in the place of another's, and one that has left the mesh signs nothing any more.
 */
import type { KeyObject } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { messageOf } from '#domain/errors.ts';
import type { RegionNumber } from '#domain/region.ts';
import { type BackoffConfig, backoffMs } from '#runtime/backoff.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Random } from '#runtime/random.ts';
import { TaskGroup } from '#runtime/task-group.ts';
import type { ClaimKey, ViewRow, ViewRows } from '#storage/metadata.ts';
import { parsePublicKey, publicKeyText, regionOfKey, type SigningKey } from './signing-key.ts';

export type KeyBookDeps = {
  readonly views: Pick<ViewRows, 'get' | 'list'>;
  /** Announces a key, or ends it with an empty document. @throws UnavailableError. */
  readonly write: (id: string, document: string, signal: AbortSignal) => Promise<void>;
  /** Reports the keys of views that changed, by this region or another one, after they did. */
  readonly onChanged: (listener: (keys: readonly ClaimKey[]) => void) => Disposable;
  readonly isMember: (region: RegionNumber) => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/** One a region and a loss of its disk. */
const KEYS_KEPT_MAX = 1000;
const OWN_KEYS_MAX = 1000;
const PUBLISH_RETRY: BackoffConfig = { baseMs: 200, maxMs: 10_000 };

export class KeyBook implements AsyncDisposable {
  readonly #deps: KeyBookDeps;
  readonly #kept = new LRUCache<string, Promise<KeyObject | undefined>>({ max: KEYS_KEPT_MAX });
  readonly #resources = new DisposableStack();
  readonly #tasks: TaskGroup;

  constructor(deps: KeyBookDeps) {
    this.#deps = deps;
    this.#tasks = new TaskGroup((err) => deps.log.error('signing key not announced', { err }));
    this.#resources.use(
      deps.onChanged((keys) => {
        for (const { kind, name } of keys) if (kind === CLAIM_KIND.key) this.#kept.delete(name);
      }),
    );
  }

  /** `undefined` when there is no key of this id that counts. The same object until its claim changes. */
  async find(id: string): Promise<KeyObject | undefined> {
    const known = this.#kept.get(id);
    if (known !== undefined) return await known;
    const region = regionOfKey(id);
    if (region === undefined || !this.#deps.isMember(region)) return undefined;
    const found = this.#read(id, region);
    this.#kept.set(id, found);
    const forget = () => {
      if (this.#kept.peek(id) === found) this.#kept.delete(id);
    };
    found.catch(forget);
    const key = await found;
    // What is not there is asked for again: it may be on its way.
    if (key === undefined) forget();
    return key;
  }

  /**
   * Announces our own key where it is not, and ends those of this region that came before it: their private halves
   * are gone, or in other hands. Goes on trying in the background, as a full disk must not keep a node from serving.
   */
  announce(key: SigningKey): void {
    const { clock, random, log } = this.#deps;
    this.#tasks.start(async (signal) => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          await this.#announce(key, signal);
          return;
        } catch (thrown) {
          signal.throwIfAborted();
          log.warn('signing key not announced yet', { reason: messageOf(thrown) });
          await clock.sleep(backoffMs(attempt, PUBLISH_RETRY, random), signal);
        }
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#resources.dispose();
    await this.#tasks[Symbol.asyncDispose]();
  }

  async #announce(key: SigningKey, signal: AbortSignal): Promise<void> {
    const region = regionOfKey(key.id);
    const own = await this.#deps.views.list(CLAIM_KIND.key, '', `${region}.`, OWN_KEYS_MAX);
    const document = publicKeyText(key);
    const isAnnounced = own.some((row) => row.name === key.id && textOf(row) === document);
    if (!isAnnounced) await this.#deps.write(key.id, document, signal);
    const former = own.filter((row) => regionOfKey(row.name) === region && row.name !== key.id);
    for (const { name } of former) await this.#deps.write(name, '', signal);
  }

  async #read(id: string, region: RegionNumber): Promise<KeyObject | undefined> {
    const row = await this.#deps.views.get({ kind: CLAIM_KIND.key, repository: '', name: id });
    if (row === undefined || !row.live) return undefined;
    if (row.dot.region === region) return parsePublicKey(row.value);
    this.#deps.log.warn('key of another region refused', { reason: id });
    return undefined;
  }
}

function textOf(row: ViewRow): string {
  return Buffer.from(row.value).toString('utf8');
}
