/** The largest blobs that a run looked at, and in words why each is kept or not: what an operator asks about first. */
import type { Digest } from '#domain/digest.ts';
import type { BlobUsage, GarbageRows } from '#storage/metadata-garbage.ts';
import type { BlobFate } from './garbage-run.ts';

type Candidate = BlobUsage & { readonly isGarbage: boolean; readonly evictedFrom?: string };

/** A screenful. */
const NAMED_MAX = 20;

export class LargestBlobs {
  #candidates: readonly Candidate[] = [];

  offer(candidate: Candidate): void {
    const smallest = this.#candidates[NAMED_MAX - 1];
    if (smallest !== undefined && smallest.sizeBytes >= candidate.sizeBytes) return;
    this.#candidates = [...this.#candidates, candidate]
      .sort((a, b) => b.sizeBytes - a.sizeBytes)
      .slice(0, NAMED_MAX);
  }

  /** Of one that was offered: a cache gives it up although manifests refer to it. */
  evicted(digest: Digest, cache: string): void {
    this.#candidates = this.#candidates.map((blob) =>
      blob.digest === digest ? { ...blob, isGarbage: true, evictedFrom: cache } : blob,
    );
  }

  async explain(
    rows: Pick<GarbageRows, 'repositoriesOf'>,
    times: { readonly nowMs: number },
  ): Promise<readonly BlobFate[]> {
    return await Promise.all(
      this.#candidates.map(async (blob) => ({
        digest: blob.digest,
        sizeBytes: blob.sizeBytes,
        fate: blob.isGarbage ? ('removed' as const) : ('kept' as const),
        reason: await reasonOf(blob, rows, times),
      })),
    );
  }
}

async function reasonOf(
  { isGarbage, evictedFrom, referrer, usedMs }: Candidate,
  rows: Pick<GarbageRows, 'repositoriesOf'>,
  { nowMs }: { readonly nowMs: number },
): Promise<string> {
  if (evictedFrom !== undefined) {
    return `ProxyCache/${evictedFrom} holds more than it is to keep, and nobody used it for ${hoursText(nowMs - usedMs)}`;
  }
  if (isGarbage) return `nothing refers to it, and no push used it for ${hoursText(nowMs - usedMs)}`;
  if (referrer !== undefined) return `${await nameOf(referrer, rows)} refers to it`;
  return `nothing refers to it, but a push used it ${hoursText(nowMs - usedMs)} ago`;
}

async function nameOf(manifest: Digest, rows: Pick<GarbageRows, 'repositoriesOf'>): Promise<string> {
  const [repository] = await rows.repositoriesOf(manifest, 1);
  return repository === undefined ? `manifest ${manifest}` : `${repository}@${manifest}`;
}

function hoursText(ms: number): string {
  return `${(Math.max(0, ms) / 3_600_000).toFixed(1)} hours`;
}
