/**
 * Blobs that are here: the row says so, and the store agrees.
 *
 * Where they disagree, the row is wrong and is forgotten, so that the blob is filled again. A file that is there but
 * cannot be opened is another matter: the cause may pass (too many open files), so nothing is forgotten, and only
 * this one answer is given from elsewhere. Damage in the middle of a file that is already on its way to a client
 * cannot be mended: its stream ends with an error.
 */
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { Log } from '#runtime/log.ts';
import type { BlobStat, BlobStore, ByteRange } from '#storage/blob-store.ts';
import type { BlobRows } from '#storage/metadata.ts';

export type LocalBlobsDeps = {
  readonly blobs: BlobStore;
  readonly rows: Pick<BlobRows, 'find' | 'isReadable' | 'forget'>;
  readonly log: Log;
  /** A blob that was said to be here is not. */
  readonly onLost: () => void;
};

export class LocalBlobs {
  readonly #deps: LocalBlobsDeps;

  constructor(deps: LocalBlobsDeps) {
    this.#deps = deps;
  }

  /** `undefined` when it is not here, or this repository may not serve it. */
  async stat(repository: RepositoryName, digest: Digest): Promise<BlobStat | undefined> {
    const { rows, blobs } = this.#deps;
    if (!(await rows.isReadable(repository, digest))) return undefined;
    const row = await rows.find(digest);
    if (row === undefined) return undefined;
    const stat = await blobs.stat(digest);
    if (stat !== undefined && stat.sizeBytes === row.sizeBytes) return stat;
    await this.#forget(
      digest,
      stat === undefined ? 'its file is gone' : `its file has ${stat.sizeBytes} bytes`,
    );
    return undefined;
  }

  /** `undefined` when it cannot be read here. Resolves with the first piece read, so that this is found out. */
  async open(
    { digest, sizeBytes }: BlobStat,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    try {
      const stream = await this.#deps.blobs.read(digest, range, signal);
      if (stream === undefined) {
        await this.#forget(digest, 'its file is gone');
        return undefined;
      }
      const iterator = stream[Symbol.asyncIterator]();
      const first = await iterator.next();
      if (first.done === true && sizeBytes > 0) return undefined;
      return continued(first, iterator);
    } catch (err) {
      signal.throwIfAborted();
      this.#deps.log.error('blob could not be read', { digest, err });
      return undefined;
    }
  }

  /** Bytes of another size are no copy of it: the file makes room for one that is. */
  async #forget(digest: Digest, reason: string): Promise<void> {
    this.#deps.log.error('blob was lost', { digest, reason });
    await this.#deps.rows.forget(digest);
    await this.#deps.blobs.delete(digest);
    this.#deps.onLost();
  }
}

/** The stream whose first step was taken. Not a generator, which would never close what it did not begin to read. */
function continued(
  first: IteratorResult<Uint8Array, unknown>,
  iterator: AsyncIterator<Uint8Array>,
): AsyncIterableIterator<Uint8Array> {
  let held: IteratorResult<Uint8Array, unknown> | undefined = first;
  return {
    async next() {
      if (held === undefined) return await iterator.next();
      const step = held;
      held = undefined;
      return step;
    },
    async return() {
      await iterator.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
