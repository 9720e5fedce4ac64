/**
 * What a push relies on, kept from the collector until the manifest that needs it is committed.
 *
 * A client that was told that a blob is here (it uploaded it, mounted it, or asked by HEAD) does not send it, and may
 * take hours until its manifest comes. So each of these answers begins the blob's grace anew, before it is given, at
 * most once in `everyMs` for a blob: the collector counts from the last one, and adds `everyMs`.
 */
import type { Digest } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { Clock } from '#runtime/clock.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import type { BlobRow, BlobRows } from '#storage/metadata.ts';
import type { BlobUseRows } from '#storage/metadata-garbage.ts';

export type BlobUseDeps = {
  readonly rows: BlobUseRows;
  readonly clock: Pick<Clock, 'nowMs'>;
};

export type BlobUseConfig = {
  /** How old a noted use may be before it is noted again. Default 3,600,000: one write an hour for the busiest blob. */
  readonly everyMs?: number;
};

export class BlobUse {
  readonly #rows: BlobUseRows;
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #everyMs: number;

  constructor(deps: BlobUseDeps, config: BlobUseConfig = {}) {
    this.#rows = deps.rows;
    this.#clock = deps.clock;
    this.#everyMs = config.everyMs ?? 3_600_000;
  }

  /**
   * False when the blob is not here, or no longer. True also where the use cannot be noted, as on a full disk: a
   * manifest is not committed without its blobs in any case, and whoever only reads must not be refused.
   */
  async keep(digest: Digest): Promise<boolean> {
    try {
      return await this.#rows.touch(digest, { nowMs: this.#clock.nowMs(), everyMs: this.#everyMs });
    } catch (thrown) {
      if (thrown instanceof UnavailableError) return true;
      throw thrown;
    }
  }

  /** What `forget` is to be given; read before looking whether the blob's bytes are there. */
  async revision(digest: Digest): Promise<number | undefined> {
    return await this.#rows.usedMs(digest);
  }

  /** Forgets that the blob is here, unless somebody stored or used it since `revision` was read. */
  async forget(digest: Digest, revision: number): Promise<boolean> {
    return await this.#rows.forgetUnused(digest, revision);
  }
}

export type StoredBlobs = {
  readonly blobs: Pick<BlobStore, 'stat'>;
  readonly rows: Pick<BlobRows, 'record'>;
};

/**
 * Records a blob that was committed to the store. From then on nobody removes its bytes; whoever was about to, because
 * an older copy of them was garbage, has done so by the time of the second look.
 * @throws UnavailableError when they are gone: bringing them once more helps.
 */
export async function recordStored(
  { blobs, rows }: StoredBlobs,
  row: BlobRow,
  repository: RepositoryName,
): Promise<void> {
  await rows.record(row, repository);
  if ((await blobs.stat(row.digest)) !== undefined) return;
  throw new UnavailableError(`${row.digest} was removed while it was stored; try again`);
}
