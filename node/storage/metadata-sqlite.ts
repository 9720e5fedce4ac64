/**
 * Metadata of the embedded profile: one SQLite file with a write-ahead log. The main thread reads it, one worker
 * thread writes it, and neither ever waits for the other; a read that starts after a write resolved sees that write.
 *
 * Only one process may have the file open: take `lockFolder` first.
 */
import type { Log } from '#runtime/log.ts';
import type { Metadata } from './metadata.ts';
import { openSlices } from './metadata-slices.ts';
import { openCompilingKysely } from './sqlite-dialect.ts';
import { SqliteReader } from './sqlite-reader.ts';
import { prepareSchema, type SqliteOrigin } from './sqlite-schema.ts';
import { openSqliteWriter } from './sqlite-writer.ts';
import type { Store } from './statement.ts';

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
  const store: Store = { dialect: 'sqlite', db: openCompilingKysely(), reader, writer };
  const slices = openSlices(store, deps);
  const owned = stack.move();
  return { ...slices, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
