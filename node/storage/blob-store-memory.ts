/**
 * Blobs in memory: the same contract as the filesystem's, for tests and simulations. Nothing is bounded but by the
 * process's memory, and nothing survives it.
 */
import { algorithmOf, type Digest, digestOf } from '#domain/digest.ts';
import type { Clock } from '#runtime/clock.ts';
import { type Random, randomId } from '#runtime/random.ts';
import type { AppendOptions, BlobFiles, BlobStat, BlobStore, ByteRange, Upload } from './blob-store.ts';
import { busyUpload, digestMismatch, drain, requireRoom, unknownUpload } from './upload-source.ts';

const PIECE_BYTES = 256 * 1024;

export type MemoryBlobStoreDeps = {
  readonly random: Random;
  /** Says when blobs were committed and uploads touched. Default: all of them long ago. */
  readonly clock?: Pick<Clock, 'nowMs'>;
};

export function openMemoryBlobStore(deps: MemoryBlobStoreDeps): BlobStore & BlobFiles {
  const blobs = new Map<Digest, MemoryBlob>();
  const uploads = new Map<string, MemoryUpload>();
  const nowMs = () => deps.clock?.nowMs() ?? 0;
  return {
    ...blobFiles(blobs, uploads),
    async stat(digest) {
      const bytes = blobs.get(digest)?.bytes;
      return bytes === undefined ? undefined : { digest, sizeBytes: bytes.byteLength };
    },
    async read(digest, range, signal) {
      signal.throwIfAborted();
      const bytes = blobs.get(digest)?.bytes;
      if (bytes === undefined) return undefined;
      return slices(() => bytes, range ?? { start: 0, end: bytes.byteLength - 1 }, signal);
    },
    async delete(digest) {
      return blobs.delete(digest);
    },
    async *list() {
      for (const [digest, { bytes }] of [...blobs]) yield { digest, sizeBytes: bytes.byteLength };
    },
    async startUpload(scope) {
      const id = randomId(deps.random);
      const key = `${scope}\n${id}`;
      const upload = new MemoryUpload(id, { blobs, nowMs, forget: () => uploads.delete(key) });
      uploads.set(key, upload);
      return upload;
    },
    async findUpload(scope, id) {
      return uploads.get(`${scope}\n${id}`);
    },
  };
}

type MemoryBlob = { readonly bytes: Uint8Array; readonly committedMs: number };

/** One part an algorithm: everything is in memory anyway. */
function blobFiles(blobs: Map<Digest, MemoryBlob>, uploads: ReadonlyMap<string, MemoryUpload>): BlobFiles {
  return {
    parts: () => ['sha256', 'sha512'].map((name) => ({ after: `${name}:`, before: `${name}:g` })),
    async digestsIn({ after, before }) {
      return new Set([...blobs.keys()].filter((digest) => digest > after && digest < before));
    },
    async removeOlder(digest, { committedBeforeMs, isWanted, dryRun = false }) {
      if (await isWanted()) return undefined;
      const blob = blobs.get(digest);
      if (blob === undefined || blob.committedMs >= committedBeforeMs) return undefined;
      if (!dryRun) blobs.delete(digest);
      return blob.bytes.byteLength;
    },
    async expireUploads({ untouchedSinceMs, dryRun = false }) {
      const expired = { count: 0, sizeBytes: 0 };
      for (const upload of [...uploads.values()]) {
        if (upload.touchedMs >= untouchedSinceMs || upload.isBusy) continue;
        expired.count += 1;
        expired.sizeBytes += upload.sizeBytes;
        if (!dryRun) await upload.abort();
      }
      return expired;
    },
  };
}

type Owner = {
  readonly blobs: Map<Digest, MemoryBlob>;
  readonly nowMs: () => number;
  readonly forget: () => void;
};

class MemoryUpload implements Upload {
  readonly id: string;
  readonly #owner: Owner;
  readonly #discarded = new AbortController();
  /** Twice as large as needed whenever it grows, so that appending stays linear. */
  #buffer = new Uint8Array(0);
  #sizeBytes = 0;
  #touchedMs: number;
  #state: 'idle' | 'busy' | 'committed' | 'gone' = 'idle';

  constructor(id: string, owner: Owner) {
    this.id = id;
    this.#owner = owner;
    this.#touchedMs = owner.nowMs();
  }

  get touchedMs(): number {
    return this.#touchedMs;
  }

  get isBusy(): boolean {
    return this.#state === 'busy';
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
        this.#touchedMs = this.#owner.nowMs();
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
    this.#owner.blobs.set(expected, { bytes, committedMs: this.#owner.nowMs() });
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
