/**
 * Metadata of a region of many processes: one PostgreSQL database that all of them share. A pool of connections
 * reads, one more writes; a read that starts after a write resolved sees that write, in whichever process.
 */
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from 'kysely';
import type { Log } from '#runtime/log.ts';
import type { Metadata } from './metadata.ts';
import { openSlices } from './metadata-slices.ts';
import { openPool, type PostgresConfig, StatementNames } from './postgres-connection.ts';
import { PostgresReader } from './postgres-reader.ts';
import { type PostgresOrigin, preparePostgresSchema } from './postgres-schema.ts';
import { PostgresWriter } from './postgres-writer.ts';
import type { Store } from './statement.ts';
import type { Tables } from './tables.ts';

/** `epochForNewDatabase` is used once, when the schema is made. */
export type PostgresMetadataConfig = PostgresConfig & PostgresOrigin;

/**
 * Opens the database, and brings it to the current schema. Disposing of it writes what waits and closes the
 * connections.
 * @throws UnavailableError when the database does not answer, is newer than this program or another region's.
 */
export async function openPostgresMetadata(
  config: PostgresMetadataConfig,
  deps: { readonly log: Log },
): Promise<Metadata> {
  await preparePostgresSchema(config, config);
  await using stack = new AsyncDisposableStack();
  const names = new StatementNames();
  const pool = openPool(config);
  stack.defer(() => pool.end());
  const writer = stack.use(new PostgresWriter(config, names, deps));
  const reader = new PostgresReader(pool, names);
  const store: Store = { dialect: 'postgres', db: openCompilingKysely(), reader, writer };
  const slices = openSlices(store, deps);
  const owned = stack.move();
  return { ...slices, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function openCompilingKysely(): Kysely<Tables> {
  return new Kysely<Tables>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
  });
}
