/**
 * Appends to a file at the speed of its source. A piece that arrives while the file is idle is written at once, so
 * that whoever follows the file sees it; what arrives during a write waits and goes out as one `writev`. A slow
 * source is thus never held back, and a fast one gets large writes. Hashing runs while the disk works.
 */

/** What may wait for the disk; the source is not asked for more beyond it. */
const WAITING_BYTES_MAX = 1024 * 1024;

/** The part of a `FileHandle` that is used. */
export type VectorFile = {
  writev(pieces: Uint8Array[], position: number): Promise<{ readonly bytesWritten: number }>;
};

export type FileAppenderOptions = {
  /** Where the first byte goes. */
  readonly position: number;
  /** Called after every write with the size so far. */
  readonly onWritten: (sizeBytes: number) => void;
};

export class FileAppender {
  readonly #file: VectorFile;
  readonly #options: FileAppenderOptions;
  #position: number;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | undefined;
  #failure: { readonly thrown: unknown } | undefined;

  constructor(file: VectorFile, options: FileAppenderOptions) {
    this.#file = file;
    this.#options = options;
    this.#position = options.position;
  }

  /** Takes the piece; resolves when there is room for the next. `meanwhile` runs while it is written. */
  async push(piece: Uint8Array, meanwhile: () => void): Promise<void> {
    this.#waiting.push(piece);
    this.#waitingBytes += piece.byteLength;
    this.#writing ??= this.#pump();
    meanwhile();
    while (this.#waitingBytes >= WAITING_BYTES_MAX && this.#writing !== undefined) await this.#writing;
    this.#throwIfFailed();
  }

  /** Resolves when everything was written. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    this.#throwIfFailed();
  }

  /** Never rejects: a failure is kept for whoever pushes or flushes next. */
  async #pump(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const pieces = this.#waiting;
        this.#waiting = [];
        this.#waitingBytes = 0;
        await this.#write(pieces);
      }
    } catch (thrown) {
      this.#failure = { thrown };
      this.#waiting = [];
      this.#waitingBytes = 0;
    } finally {
      this.#writing = undefined;
    }
  }

  /** The system may take less than it was given, as it does just before a disk is full. */
  async #write(pieces: readonly Uint8Array[]): Promise<void> {
    let rest = pieces;
    while (rest.length > 0) {
      const { bytesWritten } = await this.#file.writev([...rest], this.#position);
      this.#position += bytesWritten;
      rest = after(rest, bytesWritten);
      this.#options.onWritten(this.#position);
    }
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.thrown;
  }
}

/** The pieces without their first `bytes` bytes. */
function after(pieces: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  let skipped = 0;
  for (const [position, piece] of pieces.entries()) {
    if (skipped + piece.byteLength > bytes) {
      return [piece.subarray(bytes - skipped), ...pieces.slice(position + 1)];
    }
    skipped += piece.byteLength;
  }
  return [];
}
