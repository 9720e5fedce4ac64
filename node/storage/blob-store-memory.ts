/**
 * Blobs in memory: the same contract as the filesystem's, for tests and simulations. Nothing is bounded but by the
 * process's memory, and nothing survives it.
 */
import { algorithmOf, type Digest, digestOf } from '#domain/digest.ts';
import { type Random, randomId } from '#runtime/random.ts';
import type { AppendOptions, BlobStat, BlobStore, ByteRange, Upload } from './blob-store.ts';
import { busyUpload, digestMismatch, drain, requireRoom, unknownUpload } from './upload-source.ts';

const PIECE_BYTES = 256 * 1024;

export function openMemoryBlobStore(deps: { readonly random: Random }): BlobStore {
  const blobs = new Map<Digest, Uint8Array>();
  const uploads = new Map<string, MemoryUpload>();
  return {
    async stat(digest) {
      const bytes = blobs.get(digest);
      return bytes === undefined ? undefined : { digest, sizeBytes: bytes.byteLength };
    },
    async read(digest, range, signal) {
      signal.throwIfAborted();
      const bytes = blobs.get(digest);
      if (bytes === undefined) return undefined;
      return slices(() => bytes, range ?? { start: 0, end: bytes.byteLength - 1 }, signal);
    },
    async delete(digest) {
      return blobs.delete(digest);
    },
    async *list() {
      for (const [digest, bytes] of [...blobs]) yield { digest, sizeBytes: bytes.byteLength };
    },
    async startUpload(scope) {
      const id = randomId(deps.random);
      const key = `${scope}\n${id}`;
      const upload = new MemoryUpload(id, { blobs, forget: () => uploads.delete(key) });
      uploads.set(key, upload);
      return upload;
    },
    async findUpload(scope, id) {
      return uploads.get(`${scope}\n${id}`);
    },
  };
}

type Owner = {
  readonly blobs: Map<Digest, Uint8Array>;
  readonly forget: () => void;
};

class MemoryUpload implements Upload {
  readonly id: string;
  readonly #owner: Owner;
  readonly #discarded = new AbortController();
  /** Twice as large as needed whenever it grows, so that appending stays linear. */
  #buffer = new Uint8Array(0);
  #sizeBytes = 0;
  #state: 'idle' | 'busy' | 'committed' | 'gone' = 'idle';

  constructor(id: string, owner: Owner) {
    this.id = id;
    this.#owner = owner;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async append(source: AsyncIterable<Uint8Array>, options: AppendOptions): Promise<number> {
    this.#take();
    try {
      for await (const piece of drain(source, AbortSignal.any([options.signal, this.#discarded.signal]))) {
        requireRoom(this.#sizeBytes + piece.byteLength, options);
        this.#push(piece);
        options.onProgress?.(this.#sizeBytes);
      }
      return this.#sizeBytes;
    } finally {
      if (this.#state === 'busy') this.#state = 'idle';
    }
  }

  read(range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return slices(
      () => {
        if (this.#state === 'gone') throw unknownUpload(this.id);
        return this.#buffer.subarray(0, this.#sizeBytes);
      },
      range,
      signal,
    );
  }

  async commit(expected: Digest): Promise<BlobStat> {
    this.#take();
    const bytes = this.#buffer.slice(0, this.#sizeBytes);
    const actual = digestOf(bytes, algorithmOf(expected));
    this.#owner.forget();
    this.#state = actual === expected ? 'committed' : 'gone';
    if (actual !== expected) throw digestMismatch(expected, actual, this.#sizeBytes);
    this.#owner.blobs.set(expected, bytes);
    return { digest: expected, sizeBytes: bytes.byteLength };
  }

  async abort(): Promise<void> {
    if (this.#state === 'committed') return;
    this.#state = 'gone';
    this.#discarded.abort(unknownUpload(this.id));
    this.#owner.forget();
  }

  #take(): void {
    if (this.#state === 'busy') throw busyUpload(this.id);
    if (this.#state !== 'idle') throw unknownUpload(this.id);
    this.#state = 'busy';
  }

  #push(piece: Uint8Array): void {
    const needed = this.#sizeBytes + piece.byteLength;
    if (needed > this.#buffer.byteLength) {
      const larger = new Uint8Array(Math.max(needed, 2 * this.#buffer.byteLength));
      larger.set(this.#buffer.subarray(0, this.#sizeBytes));
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.#sizeBytes);
    this.#sizeBytes = needed;
  }
}

/** The range of what `bytes` answers at each step, cut to what is there. */
async function* slices(
  bytes: () => Uint8Array,
  range: ByteRange,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let position = range.start;
  for (;;) {
    signal.throwIfAborted();
    const end = Math.min(range.end + 1, bytes().byteLength, position + PIECE_BYTES);
    if (position >= end) return;
    yield bytes().slice(position, end);
    position = end;
  }
}
