/** What a run of garbage collection says of itself, while it goes on and when it has ended. */
import type { Digest } from '#domain/digest.ts';

export type GarbageRun = {
  /** Counts the runs of this process. */
  readonly id: number;
  readonly dryRun: boolean;
  readonly state: 'waiting' | 'running' | 'done' | 'failed';
  /** 0 before it has begun, or ended. */
  readonly startedMs: number;
  readonly endedMs: number;
  /** Why it failed; empty otherwise. */
  readonly reason: string;
  readonly report: GarbageReport;
};

export type Amount = { readonly count: number; readonly sizeBytes: number };

/** Of a dry run: what would have been removed. */
export type GarbageReport = {
  /** Manifests that left a repository; bytes of those that left their last one. */
  readonly manifests: Amount;
  /** Blobs that nothing referred to. */
  readonly blobs: Amount;
  /** Blobs that caches gave up, because they are to keep less. */
  readonly evicted: Amount;
  /** Uploads that nobody went on with. */
  readonly uploads: Amount;
  /** Files that no blob is recorded for: what a crash left between the two. */
  readonly orphans: Amount;
  /** Blobs that are recorded and have no file. */
  readonly lost: Amount;
  /** Every blob that was looked at. */
  readonly examined: Amount;
  /** The largest blobs that were looked at, the largest first. */
  readonly largest: readonly BlobFate[];
};

export type BlobFate = {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly fate: 'kept' | 'removed';
  readonly reason: string;
};

/** An amount that grows while a run goes on. */
export class Tally implements Amount {
  #count = 0;
  #sizeBytes = 0;

  get count(): number {
    return this.#count;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  add(sizeBytes: number, count = 1): void {
    this.#count += count;
    this.#sizeBytes += sizeBytes;
  }

  read(): Amount {
    return { count: this.#count, sizeBytes: this.#sizeBytes };
  }
}
