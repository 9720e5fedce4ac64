/**
 * An upload as a file that grows. Its name holds its scope and id, its length is its size: nothing else has to
 * survive a restart. While the process lives, a running hash saves reading the file again at the commit; after a
 * restart, after a failed write, and for another algorithm than the upload began with, the file is read once more.
 */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { algorithmOf, type Digest, type DigestAlgorithm, Digester } from '#domain/digest.ts';
import type { BlobFolder } from './blob-folder.ts';
import type { AppendOptions, BlobStat, ByteRange, Upload } from './blob-store.ts';
import { diskError, systemCode } from './disk-error.ts';
import { FileStream } from './file-stream.ts';
import {
  busyUpload,
  digestMismatch,
  drain,
  freeMemory,
  requireRoom,
  unknownUpload,
} from './upload-source.ts';
import { type DirectWrites, UploadWriting } from './upload-writing.ts';

export type FilesystemUploadStart = {
  readonly id: string;
  readonly path: string;
  readonly sizeBytes: number;
  /** What is hashed while bytes arrive. Default sha256. */
  readonly algorithm?: DigestAlgorithm;
};

type Owner = {
  readonly blobs: BlobFolder;
  readonly directWrites: DirectWrites;
  readonly forget: () => void;
};

/** `released`: dropped by the store, which will answer the next `findUpload` with another object. */
type State = 'idle' | 'appending' | 'committing' | 'committed' | 'gone' | 'released';

export class FilesystemUpload implements Upload {
  readonly id: string;
  readonly #owner: Owner;
  readonly #discarded = new AbortController();
  readonly #algorithm: DigestAlgorithm;
  #path: string;
  /** Where the commit that was begun moves it. */
  #target: string | undefined;
  #sizeBytes: number;
  /** Of exactly the bytes in the file; `undefined` when they must be read to be known. */
  #hash: Hash | undefined;
  #state: State = 'idle';

  constructor(start: FilesystemUploadStart, owner: Owner) {
    this.id = start.id;
    this.#path = start.path;
    this.#sizeBytes = start.sizeBytes;
    this.#algorithm = start.algorithm ?? 'sha256';
    this.#hash = start.sizeBytes === 0 ? createHash(this.#algorithm) : undefined;
    this.#owner = owner;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async append(source: AsyncIterable<Uint8Array>, options: AppendOptions): Promise<number> {
    this.#take('appending');
    try {
      await using handle = await this.#open('r+');
      await this.#appendTo(handle, source, options);
      return this.#sizeBytes;
    } catch (thrown) {
      throw diskError('cannot write to the blob store', thrown);
    } finally {
      if (this.#state === 'appending') this.#state = 'idle';
    }
  }

  read(range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return new FileStream({
      open: () => this.#open('r'),
      start: range.start,
      end: () => {
        if (this.#state === 'gone') throw unknownUpload(this.id);
        return Math.min(range.end + 1, this.#sizeBytes);
      },
      signal,
    });
  }

  async commit(expected: Digest): Promise<BlobStat> {
    this.#take('committing');
    try {
      const actual = await this.#digest(expected);
      if (actual !== expected) {
        await this.#discard();
        throw digestMismatch(expected, actual, this.#sizeBytes);
      }
      await this.#syncFile();
      this.#target = this.#owner.blobs.pathOf(expected);
      this.#path = await this.#owner.blobs.adopt(this.#path, expected);
      await this.#owner.blobs.sync(expected);
      this.#state = 'committed';
      this.#owner.forget();
      return { digest: expected, sizeBytes: this.#sizeBytes };
    } catch (thrown) {
      throw diskError('cannot commit to the blob store', thrown);
    } finally {
      // What the disk refused may be tried again: every step above is safe to repeat.
      if (this.#state === 'committing') this.#state = 'idle';
    }
  }

  /** A commit that is under way is not stopped. */
  async abort(): Promise<void> {
    if (this.#state === 'committing' || this.#state === 'committed') return;
    await this.#discard();
  }

  /** True when it was idle: nothing else can be done with it then. The file stays. */
  release(): boolean {
    if (this.#state !== 'idle') return false;
    this.#state = 'released';
    return true;
  }

  #take(state: 'appending' | 'committing'): void {
    if (this.#state === 'appending' || this.#state === 'committing') throw busyUpload(this.id);
    if (this.#state !== 'idle') throw unknownUpload(this.id);
    this.#state = state;
  }

  async #open(flags: 'r' | 'r+'): Promise<FileHandle> {
    // A commit that is under way may have moved the file already.
    for (const path of [this.#path, this.#target]) {
      if (path === undefined) continue;
      try {
        return await open(path, flags);
      } catch (thrown) {
        if (systemCode(thrown) !== 'ENOENT') throw thrown;
      }
    }
    this.#owner.forget();
    throw unknownUpload(this.id);
  }

  async #appendTo(
    handle: FileHandle,
    source: AsyncIterable<Uint8Array>,
    options: AppendOptions,
  ): Promise<void> {
    const hash = this.#hash;
    // Until all is written, the running hash may be ahead of the file.
    this.#hash = undefined;
    await using writing = new UploadWriting(handle, this.#owner.directWrites, {
      path: this.#path,
      position: this.#sizeBytes,
      isFollowed: options.onProgress !== undefined,
      onWritten: (sizeBytes) => {
        this.#sizeBytes = sizeBytes;
        options.onProgress?.(sizeBytes);
      },
      onBytes: (bytes) => hash?.update(bytes),
    });
    let taken = this.#sizeBytes;
    try {
      for await (const piece of drain(source, AbortSignal.any([options.signal, this.#discarded.signal]))) {
        requireRoom(taken + piece.byteLength, options);
        taken += piece.byteLength;
        const isFree = await writing.push(piece);
        if (isFree && options.ownsPieces === true) freeMemory(piece);
      }
    } finally {
      await writing.flush();
      this.#hash = hash;
    }
  }

  async #digest(expected: Digest): Promise<Digest> {
    const algorithm = algorithmOf(expected);
    if (algorithm === this.#algorithm && this.#hash !== undefined) {
      return `${algorithm}:${this.#hash.copy().digest('hex')}` as Digest;
    }
    const digester = new Digester(algorithm);
    const all = { start: 0, end: this.#sizeBytes - 1 };
    for await (const piece of this.read(all, this.#discarded.signal)) digester.update(piece);
    return digester.digest();
  }

  /** Bytes past the size are what a failed write left. */
  async #syncFile(): Promise<void> {
    await using handle = await this.#open('r+');
    if ((await handle.stat()).size !== this.#sizeBytes) await handle.truncate(this.#sizeBytes);
    await handle.datasync();
  }

  async #discard(): Promise<void> {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    this.#discarded.abort(unknownUpload(this.id));
    this.#owner.forget();
    try {
      await unlink(this.#path);
    } catch (thrown) {
      if (systemCode(thrown) !== 'ENOENT') throw diskError('cannot write to the blob store', thrown);
    }
  }
}
