/**
 * The seam for bytes: committed blobs, verified and immutable, and uploads, which grow and may be read while they do.
 *
 * A commit verifies the digest over every byte, then fsync, rename, fsync of the folder: when it returns, the blob
 * survives a crash. Uploads survive a restart with what was appended; the conformance suite is
 * `test/suites/blob-store-suite.ts`.
 */
import type { Digest, DigestAlgorithm } from '#domain/digest.ts';
import type { DigestRange } from './metadata-garbage.ts';

/** Bytes `start` … `end`, both inclusive, as in HTTP. */
export type ByteRange = { readonly start: number; readonly end: number };

export type BlobStat = { readonly digest: Digest; readonly sizeBytes: number };

export interface ReadStream extends AsyncIterable<Uint8Array> {
  /**
   * Says that nobody will look at this piece any more, so that its memory may take another one. Saying it is optional;
   * saying it twice, or of a piece of another stream, changes nothing.
   */
  release?(piece: Uint8Array): void;
}

export interface BlobStore {
  /** `undefined` when the blob is not here. */
  stat(digest: Digest): Promise<BlobStat | undefined>;
  /**
   * A stream of the range, or of the whole blob, in pieces of up to 256 KiB. `undefined` when it is not here.
   * The stream ends with the signal's reason on abort and owns its file until it is consumed or returned.
   */
  read(digest: Digest, range: ByteRange | undefined, signal: AbortSignal): Promise<ReadStream | undefined>;
  /** True when it was here. */
  delete(digest: Digest): Promise<boolean>;
  /** Every committed blob, in no order. */
  list(): AsyncIterable<BlobStat>;
  /**
   * Begins an upload under a new, unguessable id. `scope` (a repository) must be named again to find it. `algorithm`
   * (default sha256) is a hint of the digest to come, and saves reading the bytes again; a commit takes either.
   */
  startUpload(scope: string, algorithm?: DigestAlgorithm): Promise<Upload>;
  /** The upload with this id in this scope, also after a restart; `undefined` when there is none. */
  findUpload(scope: string, id: string): Promise<Upload | undefined>;
}

/**
 * The same store for whoever tidies it up: files, whoever may want them. A file that was committed lately is never
 * removed, however long its upload took, because its commit may not have been recorded yet.
 */
export interface BlobFiles {
  /** Ranges that together have room for every blob, each small enough to be listed at once. */
  parts(): readonly DigestRange[];
  digestsIn(part: DigestRange): Promise<Set<Digest>>;
  /**
   * Removes the blob if it was committed before; its size, or `undefined` when nothing was removed. Commits and stats
   * of this digest wait meanwhile.
   */
  removeOlder(digest: Digest, removal: FileRemoval): Promise<number | undefined>;
  /** Discards the uploads that nobody appended to since, and that nobody is busy with. */
  expireUploads(expiry: UploadExpiry): Promise<{ readonly count: number; readonly sizeBytes: number }>;
}

/** Where files lie, for a program of the same machine that may read them. */
export interface BlobPlaces {
  /** The path of the blob's file in the folder `blobs`, whether it is there or not. */
  placeOf(digest: Digest): string;
}

/** `dryRun`: say what would be removed, and remove nothing. */
export type FileRemoval = {
  readonly committedBeforeMs: number;
  /** Asked when nobody can come in between any more; what is wanted stays. */
  readonly isWanted: () => Promise<boolean>;
  readonly dryRun?: boolean;
};
export type UploadExpiry = {
  readonly untouchedSinceMs: number;
  readonly signal: AbortSignal;
  readonly dryRun?: boolean;
};

/** One caller at a time appends; a second one is refused with RegistryError BLOB_UPLOAD_INVALID (409). */
export interface Upload {
  readonly id: string;
  /** Bytes appended so far. */
  readonly sizeBytes: number;
  /**
   * Appends until the source ends; resolves to the new size. Bytes that arrived before a failing source are kept.
   * @throws RegistryError SIZE_INVALID (413) past `maxBytes` in all; UnavailableError when the disk refuses.
   */
  append(source: AsyncIterable<Uint8Array>, options: AppendOptions): Promise<number>;
  /** Bytes `start` … `end` (inclusive) of what was appended; also while it grows. */
  read(range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Verifies and makes it a blob; the upload is gone afterwards. Committing a digest that is already here succeeds.
   * @throws RegistryError DIGEST_INVALID on a mismatch; the upload is then discarded.
   */
  commit(expected: Digest): Promise<BlobStat>;
  /** Discards it; again is fine. */
  abort(): Promise<void>;
}

export type AppendOptions = {
  readonly signal: AbortSignal;
  /** Limit of the upload's whole size. Default: none. */
  readonly maxBytes?: number;
  /** Nobody else looks at the source's pieces, so that their memory may be given back. Default: false. */
  readonly ownsPieces?: boolean;
  /** Called after each piece became readable, with the size so far: what readers of a growing upload wait for. */
  readonly onProgress?: (sizeBytes: number) => void;
};
