/**
 * What proxy caches give up, when a policy says how much of one a region keeps (`spec.keep`): the blobs that were not
 * used for longest go, until the rest fits.
 *
 * Uses are noted coarsely, so that nothing is gained from an exact order, and millions of blobs need not be sorted in
 * memory: a first walk counts the bytes of each age, in steps of a thousandth of it; a second one, when there is more than
 * the limit, removes the oldest ages whole, and of the last one as much as is needed. What was used within the grace stays,
 * so a cache may be larger than its limit by what was pulled lately.
 *
 * A manifest stays where its blobs go; whoever pulls it again fills them again. What a repository outside of the cache
 * needs as well is neither counted nor removed (`storage/cached-blobs.ts`).
 */
import type { Digest } from '#domain/digest.ts';
import type { CachedBlob, GarbageRows } from '#storage/metadata-garbage.ts';
import { Tally } from './garbage-run.ts';
import type { Pace } from './pace.ts';
import { type RemoveBlobsDeps, removeBlobs } from './remove-blobs.ts';

/** A cache with a limit. */
export type KeptCache = { readonly name: string; readonly prefix: string; readonly keepBytes: number };

export type CacheEvictionDeps = RemoveBlobsDeps & {
  readonly rows: Pick<GarbageRows, 'cachedBlobs' | 'dropBlob'>;
  readonly pace: Pace;
  /** Blobs have gone: whoever remembers that something is whole here is to ask again. */
  readonly onEvicted: () => void;
};

export type CacheEvictionConfig = {
  readonly dryRun: boolean;
  readonly nowMs: number;
  readonly usedBeforeMs: number;
};

/** Each may need several searches in indexes, up to a hundred times: 1 to 5 ms in all. */
const PAGE_ROWS = 32;
/** Ages that differ by a thousandth, a minute and a half in a day, are one; so there are 28,000 at most. */
const AGES_A_FACTOR_E = 1000;

export class CacheEviction {
  readonly #deps: CacheEvictionDeps;
  readonly #config: CacheEvictionConfig;
  readonly removed = new Tally();

  constructor(deps: CacheEvictionDeps, config: CacheEvictionConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  /** @param told is called with every blob that goes, or would. @throws UnavailableError; the signal's reason. */
  async evict(
    cache: KeptCache,
    told: (blob: Digest, cache: KeptCache) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const bytesByAge = await this.#measure(cache, signal);
    let excessBytes = sum(bytesByAge.values()) - cache.keepBytes;
    if (excessBytes <= 0) return;
    const quota = new Map<number, number>();
    for (const [age, bytes] of [...bytesByAge].sort(([a], [b]) => b - a)) {
      if (excessBytes <= 0) break;
      quota.set(age, excessBytes);
      excessBytes -= bytes;
    }
    for await (const page of this.#pages(cache, signal)) {
      const chosen = page.filter((blob) => this.#isChosen(blob, quota));
      await this.#remove(cache, chosen, signal);
      for (const { digest } of chosen) told(digest, cache);
    }
  }

  async #measure(cache: KeptCache, signal: AbortSignal): Promise<ReadonlyMap<number, number>> {
    const bytesByAge = new Map<number, number>();
    for await (const page of this.#pages(cache, signal)) {
      for (const blob of page) {
        const age = this.#ageOf(blob);
        bytesByAge.set(age, (bytesByAge.get(age) ?? 0) + blob.sizeBytes);
      }
    }
    return bytesByAge;
  }

  /** Takes from what its age has to give. */
  #isChosen(blob: CachedBlob, quota: Map<number, number>): boolean {
    const age = this.#ageOf(blob);
    const wanted = quota.get(age) ?? 0;
    if (wanted <= 0 || blob.usedMs >= this.#config.usedBeforeMs) return false;
    quota.set(age, wanted - blob.sizeBytes);
    return true;
  }

  async #remove(cache: KeptCache, blobs: readonly CachedBlob[], signal: AbortSignal): Promise<void> {
    const { dryRun, usedBeforeMs } = this.#config;
    if (dryRun) {
      for (const { sizeBytes } of blobs) this.removed.add(sizeBytes);
      return;
    }
    if (blobs.length === 0) return;
    const digests = blobs.map(({ digest }) => digest);
    const { count, sizeBytes } = await removeBlobs(this.#deps, digests, {
      ...{ reason: 'evicted', prefix: cache.prefix, usedBeforeMs, signal },
    });
    this.removed.add(sizeBytes, count);
    this.#deps.onEvicted();
  }

  /** Blobs that only the cache needs. */
  async *#pages({ prefix }: KeptCache, signal: AbortSignal): AsyncGenerator<readonly CachedBlob[], void> {
    let after = '';
    for (;;) {
      signal.throwIfAborted();
      const page = await this.#deps.rows.cachedBlobs({ prefix, after, limit: PAGE_ROWS });
      yield page.filter((blob) => blob.isOnlyOfCache);
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_ROWS) return;
      after = last.digest;
      await this.#deps.pace.rest();
    }
  }

  #ageOf({ usedMs }: CachedBlob): number {
    const ageMs = Math.max(1, this.#config.nowMs - usedMs);
    return Math.floor(Math.log(ageMs) * AGES_A_FACTOR_E);
  }
}

function sum(amounts: Iterable<number>): number {
  let total = 0;
  for (const amount of amounts) total += amount;
  return total;
}
