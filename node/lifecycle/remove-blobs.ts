/**
 * The removal of blobs, the same for every reason: what nothing needs, and what a cache gives up.
 *
 * The row goes first, in a transaction that looks once more whether the blob is still unused; from its commit on this
 * region answers nobody that it holds the blob, so the loss is known before a byte has gone. Then the file goes, unless
 * it is another one by now, or is wanted again. A push of the same digest at any moment is safe:
 *
 *   its file comes before the row goes     the file is younger than `usedBeforeMs` and stays
 *   its row comes before the row goes      the row was used just now, and nothing goes
 *   its row comes before the file goes     the file is wanted, and stays
 *   its row comes while the file goes      the push looks for its file after it recorded it, waits, and fails
 *   its file comes after the file went     both are there
 *
 * and a manifest that refers to the blob is committed only while its row is there. A process that dies in between leaves
 * a file without a row, which the next run finds (`blob-garbage.ts`).
 */
import type { Digest } from '#domain/digest.ts';
import type { Log } from '#runtime/log.ts';
import type { BlobFiles } from '#storage/blob-store.ts';
import type { BlobUseRows, GarbageRows } from '#storage/metadata-garbage.ts';
import { type Amount, Tally } from './garbage-run.ts';

export type RemoveBlobsDeps = {
  readonly rows: Pick<GarbageRows, 'dropBlob'>;
  readonly uses: Pick<BlobUseRows, 'usedMs'>;
  readonly files: Pick<BlobFiles, 'removeOlder'>;
  readonly log: Log;
};

export type BlobRemoval = BlobRemovalLimits &
  (
    | { readonly reason: 'unreferenced' }
    /** Although manifests of the cache with this prefix refer to it, because it can be had again from elsewhere. */
    | { readonly reason: 'evicted'; readonly prefix: string }
  );

type BlobRemovalLimits = {
  /** Blobs that a push relied on since, and files that were committed since, stay. */
  readonly usedBeforeMs: number;
  readonly signal: AbortSignal;
};

/** Removals at once: they share the commits of their transactions. */
const AT_ONCE = 16;

/** What was removed; blobs that were used or referred to meanwhile are passed over. @throws UnavailableError. */
export async function removeBlobs(
  deps: RemoveBlobsDeps,
  digests: readonly Digest[],
  removal: BlobRemoval,
): Promise<Amount> {
  const removed = new Tally();
  for (let at = 0; at < digests.length; at += AT_ONCE) {
    removal.signal.throwIfAborted();
    const group = digests.slice(at, at + AT_ONCE);
    await Promise.all(group.map((digest) => removeBlob(deps, digest, { removal, removed })));
  }
  return removed.read();
}

async function removeBlob(
  deps: RemoveBlobsDeps,
  digest: Digest,
  { removal, removed }: { readonly removal: BlobRemoval; readonly removed: Tally },
): Promise<void> {
  const { reason, usedBeforeMs } = removal;
  const limits = { usedBeforeMs, ...(reason === 'evicted' ? { onlyOf: { prefix: removal.prefix } } : {}) };
  if (!(await deps.rows.dropBlob(digest, limits))) return;
  const bytes = (await removeFile(deps, digest, { committedBeforeMs: usedBeforeMs })) ?? 0;
  removed.add(bytes);
  deps.log.info('blob removed', { digest, bytes, reason });
}

/** Removes a file that no row speaks of; its size, or `undefined` when it stays. */
export async function removeFile(
  { files, uses }: Pick<RemoveBlobsDeps, 'files' | 'uses'>,
  digest: Digest,
  limits: { readonly committedBeforeMs: number; readonly dryRun?: boolean },
): Promise<number | undefined> {
  const isWanted = async () => (await uses.usedMs(digest)) !== undefined;
  return await files.removeOlder(digest, { ...limits, isWanted });
}
