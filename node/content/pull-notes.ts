/**
 * Pulls from caches, noted as uses of their blobs, so that a cache gives up first what nobody pulls.
 *
 * No pull waits for its note, and no pull but the first in `everyMs` makes one: what was noted lately is remembered.
 * Notes are written one after the other in the background. A note that fails, as on a full disk, is not repeated before
 * its time, and one too many is left out: then the blob counts as older than it is, and may have to be fetched again.
 * To a blob that no manifest refers to it is a use like any other, and prolongs its grace.
 */
import { LRUCache } from 'lru-cache';
import type { Digest } from '#domain/digest.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { TaskGroup } from '#runtime/task-group.ts';
import type { BlobUse } from './blob-use.ts';

export type PullNotesDeps = {
  readonly use: Pick<BlobUse, 'keep'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly log: Log;
};

export type PullNotesConfig = {
  /** How often the pull of a blob is noted, in ms: what the collector takes for the age of a note. */
  readonly everyMs: number;
};

/** Of a digest each, some 2 MB. A busy cache that pulls more in an hour reads the row of a blob once more. */
const REMEMBERED_MAX = 10_000;
/** Notes that wait for the disk. */
const WAITING_MAX = 1000;

export class PullNotes implements AsyncDisposable {
  readonly #use: Pick<BlobUse, 'keep'>;
  readonly #noted: LRUCache<Digest, true>;
  readonly #waiting = new Set<Digest>();
  readonly #group: TaskGroup;
  #isWriting = false;

  constructor(deps: PullNotesDeps, config: PullNotesConfig) {
    this.#use = deps.use;
    this.#group = new TaskGroup((err) => deps.log.error('pull not noted', { err }));
    this.#noted = new LRUCache({
      max: REMEMBERED_MAX,
      // 0 would be for ever.
      ttl: Math.max(1, config.everyMs),
      ttlResolution: 0,
      perf: { now: () => deps.clock.monotonicMs() },
    });
  }

  /** Returns at once. */
  note(digest: Digest): void {
    if (this.#noted.has(digest) || this.#waiting.size >= WAITING_MAX) return;
    this.#noted.set(digest, true);
    this.#waiting.add(digest);
    if (this.#isWriting) return;
    this.#isWriting = true;
    this.#group.start((signal) => this.#write(signal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#group[Symbol.asyncDispose]();
  }

  async #write(signal: AbortSignal): Promise<void> {
    try {
      for (const digest of this.#waiting) {
        if (signal.aborted) return;
        await this.#use.keep(digest);
        this.#waiting.delete(digest);
      }
    } finally {
      // What waits after a fault of ours is left out.
      this.#waiting.clear();
      this.#isWriting = false;
    }
  }
}
