/** Folders and databases that live as long as a test: bind them with `await using`. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import { silentLog } from '#runtime/log.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openSqliteMetadata } from '#storage/metadata-sqlite.ts';

export type TemporaryFolder = AsyncDisposable & { readonly path: string };

/** A new folder, removed with all that is in it on disposal. */
export async function temporaryFolder(): Promise<TemporaryFolder> {
  const path = await mkdtemp(join(tmpdir(), 'fairway-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** The epoch of databases that tests make, unless they say another. */
export const TEST_EPOCH = parseEpoch('0192a3b4c5d6e7f8');

/** A new database in a folder of its own, removed on disposal. */
export async function openTemporaryMetadata(region = 1): Promise<Metadata> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const metadata = stack.use(
    await openSqliteMetadata(
      {
        path: join(folder.path, 'metadata.sqlite'),
        region: parseRegionNumber(region),
        epochForNewDatabase: TEST_EPOCH,
      },
      { log: silentLog },
    ),
  );
  const owned = stack.move();
  return { ...metadata, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
