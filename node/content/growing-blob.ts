/**
 * A blob that is still arriving, and those who read it meanwhile.
 *
 * Readers follow the growing upload through the store, each at its own pace, so a fill holds no bytes in memory and no
 * reader can slow it down. They are given everything but the last piece, which is held back until the digest of the
 * whole is known; then they go on from the stored blob. When the digest is wrong, or the fill fails, every reader's
 * stream ends with an error, and none of them ever got a complete body (DESIGN.md, P2).
 */
import type { Digest } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import type { BlobStore, ByteRange, Upload } from '#storage/blob-store.ts';
import { orAborted } from './or-aborted.ts';
import type { ContentSource } from './upstream.ts';

/**
 * The last piece. Larger ones delay the end of every download by the time of hashing them and the commit; a smaller
 * one would fit into the buffers that a client may take for a finished body.
 */
export const HELD_BACK_BYTES = 64 * 1024;

export type GrowingBlobParts = {
  readonly blobs: Pick<BlobStore, 'read'>;
  readonly upload: Pick<Upload, 'read'>;
};

export type GrowingBlobAbout = {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly source: ContentSource;
};

type Piece = { readonly start: number; readonly end: number; readonly signal: AbortSignal };

export class GrowingBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Where its first byte came from. */
  readonly source: ContentSource;
  readonly #parts: GrowingBlobParts;
  readonly #waiting = new Set<() => void>();
  #arrivedBytes = 0;
  #phase: 'growing' | 'stored' | 'broken' = 'growing';
  #error: unknown;

  constructor(parts: GrowingBlobParts, about: GrowingBlobAbout) {
    this.#parts = parts;
    this.digest = about.digest;
    this.sizeBytes = about.sizeBytes;
    this.source = about.source;
  }

  /** So many bytes can be read from the upload. */
  progressed(arrivedBytes: number): void {
    this.#arrivedBytes = arrivedBytes;
    this.#wake();
  }

  /** The digest was right, and the blob is in the store. */
  stored(): void {
    this.#phase = 'stored';
    this.#wake();
  }

  /** It will never be complete; every reader is told `error`. */
  broken(error: unknown): void {
    this.#phase = 'broken';
    this.#error = error;
    this.#wake();
  }

  /**
   * Waits where the bytes have not arrived. Throws what broke the fill, or the signal's reason; a reader that leaves
   * while it waits must abort its signal.
   */
  async *read(
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const end = range?.end ?? this.sizeBytes - 1;
    let start = range?.start ?? 0;
    // Of an empty blob there is no piece to hold back, so its end is.
    while (this.sizeBytes === 0 && this.#isGrowing()) await this.#change(signal);
    while (start <= end) {
      const wasGrowing = this.#isGrowing();
      const before = start;
      for await (const piece of this.#available({ start, end, signal })) {
        start += piece.byteLength;
        yield piece;
      }
      if (start === before && this.#isGrowing() === wasGrowing) throw this.#lost();
    }
  }

  /** What can be read now, after waiting for at least something. Nothing when the blob was stored meanwhile. */
  async *#available(piece: Piece): AsyncGenerator<Uint8Array, void, undefined> {
    while (this.#isGrowing() && piece.start >= this.#readableBytes()) await this.#change(piece.signal);
    if (!this.#isGrowing()) return yield* this.#fromStore(piece);
    const end = Math.min(piece.end, this.#readableBytes() - 1);
    try {
      for await (const bytes of this.#parts.upload.read({ start: piece.start, end }, piece.signal)) {
        if (this.#phase === 'broken') throw this.#error;
        yield bytes;
      }
    } catch (thrown) {
      piece.signal.throwIfAborted();
      if (this.#phase === 'broken') throw this.#error;
      if (this.#arrivedBytes < this.sizeBytes) throw thrown;
      // The upload ceases to be one while it is committed: the outcome says where to read on.
      while (this.#isGrowing()) await this.#change(piece.signal);
    }
  }

  async *#fromStore({ start, end, signal }: Piece): AsyncGenerator<Uint8Array, void, undefined> {
    const stream = await this.#parts.blobs.read(this.digest, { start, end }, signal);
    if (stream === undefined) throw this.#lost();
    yield* stream;
  }

  /** @throws what broke the fill. */
  #isGrowing(): boolean {
    if (this.#phase === 'broken') throw this.#error;
    return this.#phase === 'growing';
  }

  #readableBytes(): number {
    return Math.min(this.#arrivedBytes, this.sizeBytes - HELD_BACK_BYTES);
  }

  #lost(): UnavailableError {
    return new UnavailableError(`${this.digest} was removed while it was read`);
  }

  async #change(signal: AbortSignal): Promise<void> {
    const changed = Promise.withResolvers<void>();
    this.#waiting.add(changed.resolve);
    try {
      await orAborted(changed.promise, signal);
    } finally {
      this.#waiting.delete(changed.resolve);
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
