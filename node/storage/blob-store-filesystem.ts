/**
 * Blobs as files, for the embedded profile: `<root>/blobs/sha256/<2 hex>/<hex>` and, while they arrive,
 * `<root>/uploads/<hash of the scope>-<id>`. Both lie on one file system, so that a commit is a rename.
 *
 * The uploads of a store belong to one process: that a second append is refused is known in memory only.
 */
import { type FileHandle, mkdir, open, opendir, stat, unlink, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type Digest, type DigestAlgorithm, digestOf, hexOf } from '#domain/digest.ts';
import type { Clock } from '#runtime/clock.ts';
import { type Random, randomId } from '#runtime/random.ts';
import { BlobFolder, sizeOf, syncFolder } from './blob-folder.ts';
import type {
  BlobFiles,
  BlobPlaces,
  BlobStat,
  BlobStore,
  ByteRange,
  FileRemoval,
  ReadStream,
  Upload,
  UploadExpiry,
} from './blob-store.ts';
import { diskError, systemCode } from './disk-error.ts';
import { streamOf } from './file-stream.ts';
import type { DigestRange } from './metadata-garbage.ts';
import { PieceMemory } from './piece-memory.ts';
import { FilesystemUpload, type FilesystemUploadStart } from './upload-filesystem.ts';
import { DirectWrites } from './upload-writing.ts';

export type FilesystemBlobStoreConfig = {
  /** Made where it is missing. */
  readonly root: string;
};

export type FilesystemBlobStoreDeps = {
  readonly random: Random;
  /** With a clock, opening removes uploads that nobody touched for seven days; without one they stay. */
  readonly clock?: Pick<Clock, 'nowMs'>;
};

/** As long as the reference registry keeps them. */
const ABANDONED_UPLOAD_MS = 7 * 24 * 60 * 60 * 1000;
/** Uploads whose running hash is kept. Beyond it the idlest is read again at its commit. */
const OPEN_UPLOADS_MAX = 4096;
const UPLOAD_ID = /^[0-9a-f]{32}$/;

/** @throws UnavailableError when the folder cannot be written. */
export async function openFilesystemBlobStore(
  config: FilesystemBlobStoreConfig,
  deps: FilesystemBlobStoreDeps,
): Promise<BlobStore & BlobFiles & BlobPlaces> {
  const root = join(config.root, 'blobs');
  const blobs = new BlobFolder(root);
  const uploads = join(config.root, 'uploads');
  try {
    await blobs.prepare();
    await mkdir(uploads, { recursive: true });
    await syncFolder(config.root);
    await proveWritable(uploads);
    if (deps.clock !== undefined) {
      await removeAbandoned(uploads, deps.clock.nowMs() - ABANDONED_UPLOAD_MS);
    }
  } catch (thrown) {
    throw diskError(`cannot write to the blob folder ${config.root}`, thrown);
  }
  return new FilesystemBlobStore({ root, blobs, uploads }, deps.random);
}

class FilesystemBlobStore implements BlobStore, BlobFiles, BlobPlaces {
  readonly #blobs: BlobFolder;
  readonly #root: string;
  readonly #uploads: string;
  readonly #random: Random;
  readonly #directWrites = new DirectWrites();
  /** By file name, the idlest first. */
  readonly #open = new Map<string, FilesystemUpload>();
  readonly #memory = new PieceMemory();

  constructor(
    folders: { readonly root: string; readonly blobs: BlobFolder; readonly uploads: string },
    random: Random,
  ) {
    this.#root = folders.root;
    this.#blobs = folders.blobs;
    this.#uploads = folders.uploads;
    this.#random = random;
  }

  async stat(digest: Digest): Promise<BlobStat | undefined> {
    await this.#blobs.settled(digest);
    const sizeBytes = await reading(async () => sizeOf(this.#blobs.pathOf(digest)));
    return sizeBytes === undefined ? undefined : { digest, sizeBytes };
  }

  async read(
    digest: Digest,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<ReadStream | undefined> {
    signal.throwIfAborted();
    return await reading(async () => {
      const handle = await openIfHere(this.#blobs.pathOf(digest));
      if (handle === undefined) return undefined;
      try {
        const { size } = await handle.stat();
        const end = Math.min(size, (range?.end ?? size) + 1);
        const { start } = range ?? { start: 0 };
        return streamOf(handle, { start, end: () => end, signal, memory: this.#memory });
      } catch (thrown) {
        await handle.close();
        throw thrown;
      }
    });
  }

  /** Not synced: a blob that a crash brings back is one that nothing refers to. */
  async delete(digest: Digest): Promise<boolean> {
    try {
      await unlink(this.#blobs.pathOf(digest));
      return true;
    } catch (thrown) {
      if (systemCode(thrown) === 'ENOENT') return false;
      throw diskError('cannot delete from the blob store', thrown);
    }
  }

  async *list(): AsyncGenerator<BlobStat, void, undefined> {
    try {
      yield* this.#blobs.list();
    } catch (thrown) {
      throw diskError('cannot read from the blob store', thrown);
    }
  }

  placeOf(digest: Digest): string {
    return relative(this.#root, this.#blobs.pathOf(digest));
  }

  parts(): readonly DigestRange[] {
    return this.#blobs.parts();
  }

  async digestsIn(part: DigestRange): Promise<Set<Digest>> {
    return await reading(() => this.#blobs.digestsIn(part));
  }

  async removeOlder(digest: Digest, removal: FileRemoval): Promise<number | undefined> {
    try {
      return await this.#blobs.removeOlder(digest, removal);
    } catch (thrown) {
      throw diskError('cannot delete from the blob store', thrown);
    }
  }

  async expireUploads({ untouchedSinceMs, signal, dryRun = false }: UploadExpiry) {
    const expired = { count: 0, sizeBytes: 0 };
    try {
      for await (const upload of untouchedUploads(this.#uploads, untouchedSinceMs)) {
        signal.throwIfAborted();
        if (!dryRun && !this.#letGo(upload.name)) continue;
        if (!dryRun) await unlink(join(this.#uploads, upload.name));
        expired.count += 1;
        expired.sizeBytes += upload.sizeBytes;
      }
    } catch (thrown) {
      throw diskError('cannot delete from the blob store', thrown);
    }
    return expired;
  }

  async startUpload(scope: string, algorithm: DigestAlgorithm = 'sha256'): Promise<Upload> {
    const id = randomId(this.#random);
    const name = uploadName(scope, id);
    try {
      await using _file = await open(join(this.#uploads, name), 'wx');
    } catch (thrown) {
      throw diskError('cannot write to the blob store', thrown);
    }
    return this.#remember(name, { id, sizeBytes: 0, algorithm });
  }

  async findUpload(scope: string, id: string): Promise<Upload | undefined> {
    if (!UPLOAD_ID.test(id)) return undefined;
    const name = uploadName(scope, id);
    const known = this.#open.get(name);
    if (known !== undefined) return known;
    const sizeBytes = await reading(async () => sizeOf(join(this.#uploads, name)));
    // Two requests that ask at once must get the same object, as it is what refuses a second append.
    return (
      this.#open.get(name) ?? (sizeBytes === undefined ? undefined : this.#remember(name, { id, sizeBytes }))
    );
  }

  #remember(name: string, start: Omit<FilesystemUploadStart, 'path'>): Upload {
    this.#makeRoom();
    // One that was released may be followed by another object for the same file, which stays.
    const forget = () => {
      if (this.#open.get(name) === upload) this.#open.delete(name);
    };
    const upload: FilesystemUpload = new FilesystemUpload(
      { ...start, path: join(this.#uploads, name) },
      { blobs: this.#blobs, directWrites: this.#directWrites, forget },
    );
    this.#open.set(name, upload);
    return upload;
  }

  /** False while somebody is busy with it. */
  #letGo(name: string): boolean {
    const upload = this.#open.get(name);
    if (upload === undefined) return true;
    if (!upload.release()) return false;
    this.#open.delete(name);
    return true;
  }

  #makeRoom(): void {
    for (const [name, upload] of this.#open) {
      if (this.#open.size < OPEN_UPLOADS_MAX) return;
      if (upload.release()) this.#open.delete(name);
    }
  }
}

/** The scope is hashed, because a repository's name is no file's name. */
function uploadName(scope: string, id: string): string {
  return `${hexOf(digestOf(scope)).slice(0, 16)}-${id}`;
}

async function reading<Result>(read: () => Promise<Result>): Promise<Result> {
  try {
    return await read();
  } catch (thrown) {
    throw diskError('cannot read from the blob store', thrown);
  }
}

async function openIfHere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (thrown) {
    if (systemCode(thrown) === 'ENOENT') return undefined;
    throw thrown;
  }
}

/** Whether a folder takes files is only known by making one: its mode says nothing of a read-only mount. */
async function proveWritable(folder: string): Promise<void> {
  const probe = join(folder, 'probe');
  await writeFile(probe, 'fairway');
  await unlink(probe);
}

async function removeAbandoned(uploads: string, untouchedSinceMs: number): Promise<void> {
  for await (const { name } of untouchedUploads(uploads, untouchedSinceMs)) await unlink(join(uploads, name));
}

/** One that ends while the folder is read is left out. */
async function* untouchedUploads(
  uploads: string,
  untouchedSinceMs: number,
): AsyncGenerator<{ readonly name: string; readonly sizeBytes: number }, void, undefined> {
  for await (const { name } of await opendir(uploads)) {
    const found = await stat(join(uploads, name)).catch(() => undefined);
    if (found?.isFile() === true && found.mtimeMs < untouchedSinceMs) yield { name, sizeBytes: found.size };
  }
}
