/**
 * Appends to a file past the page cache. What a push brings is written once and synced before its answer, so a copy in
 * the cache buys nothing but the memory of blobs that are being pulled, and costs what the disk costs: 100 MB took
 * 280 ms of system time through the cache, and 10 ms past it. The next reader of the blob reads the disk.
 *
 * Two buffers take turns: one is filled while the other one is written. A disk takes whole blocks only, so what is
 * before the first block and the rest in the last buffer go through the cache. Where a file system refuses (EINVAL),
 * everything does. Source: open(2), O_DIRECT.
 */
import { BLOCK_BUFFER_BYTES, type BlockBuffers } from './block-buffers.ts';
import { systemCode } from './disk-error.ts';

/** Direct writes begin at a multiple of this: no disk has larger sectors. */
const BLOCK_BYTES = 4096;

/** The part of a `FileHandle` that is used. */
export type PositionedFile = {
  write(
    bytes: Uint8Array,
    options: { readonly offset: number; readonly length: number; readonly position: number },
  ): Promise<{ readonly bytesWritten: number }>;
};

export type DirectAppenderOptions = {
  /** Where the first byte goes. */
  readonly position: number;
  /** Called after every write with the size so far. */
  readonly onWritten: (sizeBytes: number) => void;
  /** Called with the bytes in order, while they are written or before. They change once it has returned. */
  readonly onBytes: (bytes: Uint8Array) => void;
  /** Called when the file system turned out not to take direct writes. */
  readonly onRefused: () => void;
};

export type DirectFiles = { readonly direct: PositionedFile; readonly cached: PositionedFile };

export class DirectAppender {
  readonly #files: DirectFiles;
  readonly #buffers: readonly [Uint8Array, Uint8Array];
  readonly #options: DirectAppenderOptions;
  #position: number;
  #current: 0 | 1 = 0;
  /** The bytes of the current buffer that are to be written: it stands for whole blocks of the file. */
  #start: number;
  #end: number;
  #writing: Promise<void> = Promise.resolve();
  #failure: { readonly thrown: unknown } | undefined;
  #isRefused = false;

  constructor(
    files: DirectFiles,
    buffers: NonNullable<ReturnType<BlockBuffers['takeTwo']>>,
    options: DirectAppenderOptions,
  ) {
    this.#files = files;
    this.#buffers = buffers;
    this.#options = options;
    this.#position = options.position;
    this.#start = options.position % BLOCK_BYTES;
    this.#end = this.#start;
  }

  /** Takes the bytes, which may change afterwards; resolves when there is room for more. */
  async push(bytes: Uint8Array): Promise<void> {
    for (let taken = 0; taken < bytes.byteLength; ) {
      const length = Math.min(bytes.byteLength - taken, BLOCK_BUFFER_BYTES - this.#end);
      this.#buffers[this.#current].set(bytes.subarray(taken, taken + length), this.#end);
      this.#end += length;
      taken += length;
      if (this.#end === BLOCK_BUFFER_BYTES) await this.#swap();
    }
    this.#throwIfFailed();
  }

  /** Resolves when everything was written and the buffers are free; nothing is to be pushed after it. */
  async flush(): Promise<void> {
    await this.#writing;
    this.#throwIfFailed();
    const rest = this.#buffers[this.#current].subarray(this.#start, this.#end);
    this.#options.onBytes(rest);
    await this.#writeCached(rest);
    this.#throwIfFailed();
  }

  async #swap(): Promise<void> {
    await this.#writing;
    this.#throwIfFailed();
    const buffer = this.#buffers[this.#current];
    const start = this.#start;
    this.#writing = this.#write(buffer, start);
    this.#options.onBytes(buffer.subarray(start));
    this.#current = this.#current === 0 ? 1 : 0;
    this.#start = 0;
    this.#end = 0;
  }

  /** What the system did not take at once goes through the cache: it is not aligned any more, or the disk is full. */
  async #write(buffer: Uint8Array, start: number): Promise<void> {
    if (this.#isRefused) return await this.#writeCached(buffer.subarray(start));
    const firstBlock = start === 0 ? 0 : BLOCK_BYTES;
    await this.#writeCached(buffer.subarray(start, firstBlock));
    if (this.#failure !== undefined) return;
    const written = await this.#writeDirect(buffer.subarray(firstBlock));
    await this.#writeCached(buffer.subarray(firstBlock + written));
  }

  /** How many bytes were taken. */
  async #writeDirect(bytes: Uint8Array): Promise<number> {
    try {
      const whole = { offset: 0, length: bytes.byteLength, position: this.#position };
      const { bytesWritten } = await this.#files.direct.write(bytes, whole);
      this.#advance(bytesWritten);
      return bytesWritten;
    } catch (thrown) {
      if (systemCode(thrown) === 'EINVAL') {
        this.#isRefused = true;
        this.#options.onRefused();
      }
      // What else is wrong with the disk is met again by the write through the cache.
      return 0;
    }
  }

  /** Never rejects: a failure is kept for whoever pushes or flushes next. */
  async #writeCached(bytes: Uint8Array): Promise<void> {
    try {
      for (let offset = 0; offset < bytes.byteLength; ) {
        const rest = { offset, length: bytes.byteLength - offset, position: this.#position };
        const { bytesWritten } = await this.#files.cached.write(bytes, rest);
        this.#advance(bytesWritten);
        offset += bytesWritten;
      }
    } catch (thrown) {
      this.#failure = { thrown };
    }
  }

  #advance(bytesWritten: number): void {
    this.#position += bytesWritten;
    this.#options.onWritten(this.#position);
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.thrown;
  }
}
