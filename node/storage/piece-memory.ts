/**
 * Memory for pieces of files, used again and again: a stream takes a piece's worth, and gives it back when the piece
 * was sent. What is given beyond the limit goes to the garbage collector, as does what is never given back.
 */

export const PIECE_BYTES = 256 * 1024;

/** 16 MiB stay with the process: two pieces each for 32 streams. More would only be memory that nobody uses. */
const KEPT_MAX = 64;

export class PieceMemory {
  readonly #free: ArrayBufferLike[] = [];

  /** Holds whatever was in it before. */
  take(): Uint8Array {
    const free = this.#free.pop();
    return free === undefined ? Buffer.allocUnsafeSlow(PIECE_BYTES) : new Uint8Array(free);
  }

  /** Nobody may read or write it any longer. */
  give(buffer: ArrayBufferLike): void {
    if (this.#free.length < KEPT_MAX) this.#free.push(buffer);
  }
}
