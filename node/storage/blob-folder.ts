/**
 * Where committed blobs lie: `<root>/sha256/<2 hex>/<hex>`, so that no folder grows past some thousands of files.
 *
 * A file gets here by rename only, whole and synced; then its folder is synced, so that its name survives a crash
 * as well. A folder that was made is synced into its own parent first, once per folder and process.
 *
 * Files of one digest all have one name, and replace each other. What tells a file that may be removed from one that a
 * racing commit has just put in its place is when it got its name: a rename changes the inode (`ctime`), on every file
 * system that a data folder belongs on. The look and the removal are one turn, and so is the rename of a commit.
 */
import { statSync } from 'node:fs';
import { mkdir, open, opendir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { algorithmOf, type Digest, type DigestAlgorithm, hexOf, isDigest } from '#domain/digest.ts';
import type { BlobStat, FileRemoval } from './blob-store.ts';
import { systemCode } from './disk-error.ts';
import type { DigestRange } from './metadata-garbage.ts';

const ALGORITHMS: readonly DigestAlgorithm[] = ['sha256', 'sha512'];

export class BlobFolder {
  readonly #root: string;
  /** At most 256 an algorithm. */
  readonly #ready = new Map<string, Promise<void>>();
  /** The last turn of each digest that is being moved here or removed. */
  readonly #turns = new Map<Digest, Promise<void>>();

  constructor(root: string) {
    this.#root = root;
  }

  /** Makes the outer folders; an open store has them. */
  async prepare(): Promise<void> {
    for (const algorithm of ALGORITHMS) await mkdir(join(this.#root, algorithm), { recursive: true });
    await syncFolder(this.#root);
  }

  pathOf(digest: Digest): string {
    return join(this.#folderOf(digest), hexOf(digest));
  }

  /**
   * Moves a synced file here and answers its path; `sync` then makes it durable. A file that is here already is
   * replaced: the bytes are the same, unless the old ones were damaged.
   */
  async adopt(path: string, digest: Digest): Promise<string> {
    const folder = this.#folderOf(digest);
    await this.#makeReady(folder, algorithmOf(digest));
    const target = this.pathOf(digest);
    await this.#inTurn(digest, () => rename(path, target));
    return target;
  }

  /** Resolves when no file of this digest is being removed. */
  async settled(digest: Digest): Promise<void> {
    await this.#turns.get(digest);
  }

  /** The size of what was removed; `undefined` when there is none, or it was committed later. */
  async removeOlder(
    digest: Digest,
    { committedBeforeMs, isWanted, dryRun = false }: FileRemoval,
  ): Promise<number | undefined> {
    const path = this.pathOf(digest);
    return await this.#inTurn(digest, async () => {
      try {
        const found = await stat(path);
        if (!found.isFile() || found.ctimeMs >= committedBeforeMs || (await isWanted())) return undefined;
        // Not synced: a blob that a crash brings back is one that nothing refers to.
        if (!dryRun) await unlink(path);
        return found.size;
      } catch (thrown) {
        if (systemCode(thrown) === 'ENOENT') return undefined;
        throw thrown;
      }
    });
  }

  /** One part a folder. */
  parts(): readonly DigestRange[] {
    return ALGORITHMS.flatMap((algorithm) =>
      Array.from({ length: 256 }, (_, position) => {
        const after = `${algorithm}:${position.toString(16).padStart(2, '0')}`;
        // Beyond every hexadecimal digit.
        return { after, before: `${after}g` };
      }),
    );
  }

  async digestsIn({ after }: DigestRange): Promise<Set<Digest>> {
    const [algorithm = '', folder = ''] = after.split(':');
    const digests = new Set<Digest>();
    try {
      for await (const file of await opendir(join(this.#root, algorithm, folder), { bufferSize: 256 })) {
        const digest = `${algorithm}:${file.name}`;
        if (file.isFile() && isDigest(digest)) digests.add(digest);
      }
    } catch (thrown) {
      if (systemCode(thrown) !== 'ENOENT') throw thrown;
    }
    return digests;
  }

  /** Makes the names in the blob's folder durable. */
  async sync(digest: Digest): Promise<void> {
    await syncFolder(this.#folderOf(digest));
  }

  async *list(): AsyncGenerator<BlobStat, void, undefined> {
    for (const algorithm of ALGORITHMS) {
      for await (const folder of await opendir(join(this.#root, algorithm))) {
        if (folder.isDirectory()) yield* listFolder(join(this.#root, algorithm, folder.name), algorithm);
      }
    }
  }

  async #inTurn<Result>(digest: Digest, work: () => Promise<Result>): Promise<Result> {
    const before = this.#turns.get(digest);
    const turn = Promise.withResolvers<void>();
    this.#turns.set(digest, turn.promise);
    try {
      await before;
      return await work();
    } finally {
      turn.resolve();
      if (this.#turns.get(digest) === turn.promise) this.#turns.delete(digest);
    }
  }

  #folderOf(digest: Digest): string {
    return join(this.#root, algorithmOf(digest), hexOf(digest).slice(0, 2));
  }

  async #makeReady(folder: string, algorithm: DigestAlgorithm): Promise<void> {
    let ready = this.#ready.get(folder);
    if (ready === undefined) {
      ready = makeFolder(folder, join(this.#root, algorithm));
      this.#ready.set(folder, ready);
      ready.catch(() => this.#ready.delete(folder));
    }
    await ready;
  }
}

async function makeFolder(folder: string, parent: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await syncFolder(parent);
}

export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r');
  await folder.sync();
}

/** A blob that is deleted while the folder is read is left out. */
async function* listFolder(
  path: string,
  algorithm: DigestAlgorithm,
): AsyncGenerator<BlobStat, void, undefined> {
  for await (const file of await opendir(path)) {
    const digest = `${algorithm}:${file.name}`;
    if (!file.isFile() || !isDigest(digest)) continue;
    const sizeBytes = sizeOf(join(path, file.name));
    if (sizeBytes !== undefined) yield { digest, sizeBytes };
  }
}

/**
 * `undefined` when no file is there. In the calling thread: that takes 1 µs where the folder was read before; through
 * the pool of threads it takes 9, and waits there behind the syncs of other pushes.
 */
export function sizeOf(path: string): number | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() === true ? found.size : undefined;
}
