/**
 * Blobs that are here: the row says so, and the store agrees.
 *
 * Where they disagree, the row is wrong and is forgotten, so that the blob is filled again; unless it was stored or
 * collected between the two looks, and both are right. A file that is there but
 * cannot be opened is another matter: the cause may pass (too many open files), so nothing is forgotten, and only
 * this one answer is given from elsewhere. Damage in the middle of a file that is already on its way to a client
 * cannot be mended: its stream ends with an error.
 */
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { Log } from '#runtime/log.ts';
import type { BlobStat, BlobStore, ByteRange, ReadStream } from '#storage/blob-store.ts';
import type { BlobRows } from '#storage/metadata.ts';
import type { BlobUse } from './blob-use.ts';

export type LocalBlobsDeps = {
  readonly blobs: BlobStore;
  readonly rows: Pick<BlobRows, 'find' | 'isReadable'>;
  readonly use: BlobUse;
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
    const { rows, blobs, use } = this.#deps;
    if (!(await rows.isReadable(repository, digest))) return undefined;
    const revision = await use.revision(digest);
    const row = await rows.find(digest);
    if (row === undefined || revision === undefined) return undefined;
    const stat = await blobs.stat(digest);
    if (stat !== undefined && stat.sizeBytes === row.sizeBytes) return stat;
    const reason = stat === undefined ? 'its file is gone' : `its file has ${stat.sizeBytes} bytes`;
    await this.#forget(digest, revision, reason);
    return undefined;
  }

  /** `undefined` when it cannot be read here. Resolves with the first piece read, so that this is found out. */
  async open(
    { digest, sizeBytes }: BlobStat,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<ReadStream | undefined> {
    try {
      const revision = await this.#deps.use.revision(digest);
      const stream = await this.#deps.blobs.read(digest, range, signal);
      if (stream === undefined) {
        if (revision !== undefined) await this.#forget(digest, revision, 'its file is gone');
        return undefined;
      }
      const iterator = stream[Symbol.asyncIterator]();
      const first = await iterator.next();
      if (first.done === true && sizeBytes > 0) return undefined;
      return continued(first, iterator, stream);
    } catch (err) {
      signal.throwIfAborted();
      this.#deps.log.error('blob could not be read', { digest, err });
      return undefined;
    }
  }

  /** A file of another size is no copy of it, and is left for the next one to replace: that may be there by now. */
  async #forget(digest: Digest, revision: number, reason: string): Promise<void> {
    if (!(await this.#deps.use.forget(digest, revision))) return;
    this.#deps.log.error('blob was lost', { digest, reason });
    this.#deps.onLost();
  }
}

/** The stream whose first step was taken. Not a generator, which would never close what it did not begin to read. */
function continued(
  first: IteratorResult<Uint8Array, unknown>,
  iterator: AsyncIterator<Uint8Array>,
  stream: ReadStream,
): AsyncIterableIterator<Uint8Array> & ReadStream {
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
    release: (piece) => stream.release?.(piece),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
