/**
 * One run of garbage collection: uploads, then manifests, then blobs, then caches. Each step is a transaction or a removal of its
 * own that can be left and repeated at any point, and nothing is remembered between runs: one that was interrupted is
 * gone on with by the next one, which finds less to do. Pushes and pulls go on meanwhile.
 */
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { BlobFiles, BlobStore } from '#storage/blob-store.ts';
import type { BlobUseRows, GarbageRows } from '#storage/metadata-garbage.ts';
import { BlobGarbage } from './blob-garbage.ts';
import { CacheEviction, type KeptCache } from './cache-eviction.ts';
import type { BlobFate, GarbageReport } from './garbage-run.ts';
import { Tally } from './garbage-run.ts';
import { ManifestGarbage } from './manifest-garbage.ts';
import { openPace } from './pace.ts';

export type CollectionDeps = {
  readonly rows: GarbageRows;
  readonly uses: BlobUseRows;
  readonly blobs: Pick<BlobStore, 'stat'>;
  readonly files: BlobFiles;
  readonly clock: Pick<Clock, 'nowMs' | 'sleep'>;
  readonly log: Log;
  readonly caches: {
    /** Those that are to keep no more than so much. */
    kept(): readonly KeptCache[];
    /** Blobs have gone: whoever remembers that something is whole here is to ask again. */
    onEvicted(): void;
  };
};

export type CollectionConfig = {
  /** How long what nothing refers to is kept after its last use. */
  readonly graceMs: number;
  /** How late the last use may have been noted. */
  readonly useEveryMs: number;
  readonly dryRun: boolean;
};

/** The loser of a conflict can be pulled by its digest for so long; by then somebody has looked at the conflict. */
const CONFLICT_MS = 30 * 86_400_000;

/**
 * How often the use of a blob is noted, for a grace: once an hour at most, which bounds what a busy blob writes, and
 * four times in a grace at least, because the collector waits for so much longer.
 */
export function useEveryMs(graceMs: number): number {
  return Math.min(3_600_000, graceMs / 4);
}

export class Collection {
  readonly #files: BlobFiles;
  readonly #uploads = new Tally();
  readonly #untouchedSinceMs: number;
  readonly #dryRun: boolean;
  readonly #signal: AbortSignal;
  readonly #manifests: ManifestGarbage;
  readonly #blobs: BlobGarbage;
  readonly #caches: CollectionDeps['caches'];
  readonly #eviction: CacheEviction;
  #largest: readonly BlobFate[] = [];

  constructor(deps: CollectionDeps, config: CollectionConfig, signal: AbortSignal) {
    const { dryRun, graceMs, useEveryMs } = config;
    const nowMs = deps.clock.nowMs();
    const parts = { ...deps, pace: openPace(deps.clock, signal) };
    this.#files = deps.files;
    this.#untouchedSinceMs = nowMs - graceMs;
    this.#dryRun = dryRun;
    this.#signal = signal;
    this.#manifests = new ManifestGarbage(parts, {
      dryRun,
      deletedBeforeMs: nowMs - graceMs,
      conflictsSinceMs: nowMs - CONFLICT_MS,
    });
    const usedBeforeMs = nowMs - graceMs - useEveryMs;
    this.#blobs = new BlobGarbage(parts, {
      ...{ dryRun, nowMs, usedBeforeMs },
      isGone: (manifest) => this.#manifests.isGone(manifest),
    });
    this.#caches = deps.caches;
    this.#eviction = new CacheEviction(
      { ...parts, onEvicted: () => deps.caches.onEvicted() },
      { dryRun, nowMs, usedBeforeMs },
    );
  }

  /** Uploads first, which need nothing of a database that a full disk may have stopped. @throws UnavailableError. */
  async run(): Promise<void> {
    const { count, sizeBytes } = await this.#files.expireUploads({
      ...{ untouchedSinceMs: this.#untouchedSinceMs, signal: this.#signal, dryRun: this.#dryRun },
    });
    this.#uploads.add(sizeBytes, count);
    await this.#manifests.collect();
    await this.#blobs.collect(this.#signal);
    for (const cache of this.#caches.kept()) {
      await this.#eviction.evict(cache, (blob, { name }) => this.#blobs.evicted(blob, name), this.#signal);
    }
    this.#largest = await this.#blobs.largest();
  }

  /** What has come of it so far. */
  report(): GarbageReport {
    return {
      manifests: this.#manifests.removed.read(),
      blobs: this.#blobs.removed.read(),
      evicted: this.#eviction.removed.read(),
      uploads: this.#uploads.read(),
      orphans: this.#blobs.orphans.read(),
      lost: this.#blobs.lost.read(),
      examined: this.#blobs.examined.read(),
      largest: this.#largest,
    };
  }
}
