/**
 * Metadata of the embedded profile: one SQLite file with a write-ahead log. The main thread reads it, one worker
 * thread writes it, and neither ever waits for the other; a read that starts after a write resolved sees that write.
 *
 * Only one process may have the file open: take `lockFolder` first.
 */
import type { Log } from '#runtime/log.ts';
import { prepareManifestStatements } from './manifest-statements.ts';
import type { Metadata } from './metadata.ts';
import { openBlobUseRows } from './rows-blob-uses.ts';
import { openBlobRows } from './rows-blobs.ts';
import { openCachedTagRows } from './rows-cached-tags.ts';
import { openClaimRows } from './rows-claims.ts';
import { openGarbageRows } from './rows-garbage.ts';
import { openManifestRows } from './rows-manifests.ts';
import { openTaskRows } from './rows-tasks.ts';
import { openViewRows } from './rows-views.ts';
import { openCompilingKysely } from './sqlite-dialect.ts';
import { SqliteReader } from './sqlite-reader.ts';
import { prepareSchema, type SqliteOrigin } from './sqlite-schema.ts';
import { openSqliteWriter } from './sqlite-writer.ts';
import type { Store } from './statement.ts';
import { ViewWriteListeners } from './view-write-listeners.ts';

/** `epochForNewDatabase` is used once, when the file is made. */
export type SqliteMetadataConfig = SqliteOrigin & { readonly path: string };

/**
 * Opens the file, or makes it, and brings it to the current schema. Disposing of it writes what waits, folds the log
 * into the file, and ends the thread.
 * @throws UnavailableError when the file cannot be opened, is damaged, newer than this program or another region's.
 */
export async function openSqliteMetadata(
  config: SqliteMetadataConfig,
  deps: { readonly log: Log },
): Promise<Metadata> {
  await prepareSchema(config.path, config);
  await using stack = new AsyncDisposableStack();
  const writer = stack.use(await openSqliteWriter(config.path, deps));
  // Disposed of first, so that the writer's connection is the last one, and removes the log.
  const reader = stack.use(new SqliteReader(config.path));
  const store: Store = { db: openCompilingKysely(), reader, writer };
  const viewWrites = new ViewWriteListeners();
  const manifestStatements = prepareManifestStatements(store.db);
  const slices = {
    blobs: openBlobRows(store),
    manifests: openManifestRows(store, manifestStatements),
    views: openViewRows(store),
    claims: openClaimRows(store, manifestStatements, { ...deps, written: (keys) => viewWrites.tell(keys) }),
    tasks: openTaskRows(store),
    cachedTags: openCachedTagRows(store),
    blobUses: openBlobUseRows(store),
    garbage: openGarbageRows(store),
    viewWrites,
  };
  const owned = stack.move();
  return { ...slices, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
