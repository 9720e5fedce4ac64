/**
 * Which way the bytes of one append take to the disk. The first ones go through the page cache, and so does everything
 * that is followed while it grows, because its readers find it there. The rest of a long push goes past the cache
 * (`direct-appender.ts`), as far as there are buffers and the file system takes it.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { BlockBuffers } from './block-buffers.ts';
import { DirectAppender } from './direct-appender.ts';
import { FileAppender } from './file-appender.ts';

/**
 * Most blobs are smaller, and are soon read again (by other regions, by whoever built them), from the cache. Less
 * spares more system time, and holds two buffers for more uploads.
 */
const CACHED_BYTES = 4 * 1024 * 1024;

type OpenedDirectly = AsyncDisposable & {
  readonly file: FileHandle;
  readonly buffers: readonly [Uint8Array, Uint8Array];
};

/** What the uploads of one store share. */
export class DirectWrites {
  readonly #buffers = new BlockBuffers();
  #isRefused = constants.O_DIRECT === undefined;

  /** `undefined` when there are no buffers, or the file system does not take direct writes. */
  async open(path: string): Promise<OpenedDirectly | undefined> {
    if (this.#isRefused) return undefined;
    let buffers: OpenedDirectly['buffers'] | undefined;
    try {
      const taken = this.#buffers.takeTwo();
      buffers = taken;
      if (taken === undefined) return undefined;
      const file = await open(path, constants.O_WRONLY | constants.O_DIRECT);
      const release = async () => {
        this.#buffers.giveBack(taken);
        await file.close();
      };
      return { file, buffers: taken, [Symbol.asyncDispose]: release };
    } catch {
      // Whatever is wrong with the file itself is met again, and told, by the write through the cache.
      this.#buffers.giveBack(buffers ?? []);
      return undefined;
    }
  }

  /** To be called when a write showed that the file system does not take them. */
  refuse(): void {
    this.#isRefused = true;
  }
}

export type UploadWritingOptions = {
  readonly path: string;
  /** Where the first byte goes. */
  readonly position: number;
  /** Somebody reads what is written while more of it comes. */
  readonly isFollowed: boolean;
  /** Called after every write with the size so far. */
  readonly onWritten: (sizeBytes: number) => void;
  /** Called with all bytes in order, which may change once it has returned. */
  readonly onBytes: (bytes: Uint8Array) => void;
};

export class UploadWriting implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #directWrites: DirectWrites;
  readonly #options: UploadWritingOptions;
  readonly #cached: FileAppender;
  #sizeBytes: number;
  #directFrom: number;
  #opened: OpenedDirectly | undefined;
  #direct: DirectAppender | undefined;

  constructor(file: FileHandle, directWrites: DirectWrites, options: UploadWritingOptions) {
    this.#file = file;
    this.#directWrites = directWrites;
    this.#options = options;
    this.#sizeBytes = options.position;
    this.#directFrom = options.isFollowed ? Number.POSITIVE_INFINITY : options.position + CACHED_BYTES;
    this.#cached = new FileAppender(file, { position: options.position, onWritten: options.onWritten });
  }

  /** Takes the piece; resolves when there is room for the next. True when the piece's memory is not needed any more. */
  async push(piece: Uint8Array): Promise<boolean> {
    if (this.#sizeBytes >= this.#directFrom) await this.#goDirect();
    this.#sizeBytes += piece.byteLength;
    if (this.#direct === undefined) {
      await this.#cached.push(piece, () => this.#options.onBytes(piece));
      return false;
    }
    await this.#direct.push(piece);
    return true;
  }

  /** Resolves when everything was written; nothing is to be pushed after it. */
  async flush(): Promise<void> {
    await this.#cached.flush();
    await this.#direct?.flush();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened?.[Symbol.asyncDispose]();
  }

  async #goDirect(): Promise<void> {
    this.#directFrom = Number.POSITIVE_INFINITY;
    this.#opened = await this.#directWrites.open(this.#options.path);
    if (this.#opened === undefined) return;
    await this.#cached.flush();
    const { file, buffers } = this.#opened;
    const { onWritten, onBytes } = this.#options;
    this.#direct = new DirectAppender({ direct: file, cached: this.#file }, buffers, {
      ...{ position: this.#sizeBytes, onWritten, onBytes },
      onRefused: () => this.#directWrites.refuse(),
    });
  }
}
