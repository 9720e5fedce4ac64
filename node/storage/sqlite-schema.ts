/**
 * Brings a database file to the schema that this program knows, before anything else opens it. The folder's lock
 * (`folder-lock.ts`) keeps a second process from migrating the same file at the same time.
 */
import { DatabaseSync } from 'node:sqlite';
import { Migrator } from 'kysely/migration';
import { UnavailableError } from '#domain/errors.ts';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import { SQLITE_MIGRATIONS } from './migrations/sqlite-migrations.ts';
import { openRunningKysely } from './sqlite-dialect.ts';
import { sqliteError, sqliteFailure } from './sqlite-error.ts';

export type SqliteOrigin = { readonly region: RegionNumber; readonly epochForNewDatabase: Epoch };

/**
 * @throws UnavailableError when the file cannot be opened or is damaged, was written by a newer program, or belongs
 * to another region.
 */
export async function prepareSchema(path: string, origin: SqliteOrigin): Promise<void> {
  using database = openFile(path);
  try {
    database.exec('pragma journal_mode = wal; pragma synchronous = full');
    refuseNewer(path, database);
    await migrate(database);
    database
      .prepare(
        'insert into origin (id, region, epoch, sequence, time_ms, time_counter) values (1, ?, ?, 0, 0, 0) on conflict do nothing',
      )
      .run(origin.region, origin.epochForNewDatabase);
    const stored = database.prepare('select region from origin').get();
    if (stored?.['region'] === origin.region) return;
    throw new UnavailableError(`${path} belongs to region ${stored?.['region']}, not to ${origin.region}`);
  } catch (thrown) {
    if (thrown instanceof UnavailableError) throw thrown;
    throw sqliteError(path, sqliteFailure(thrown), thrown);
  }
}

function openFile(path: string): DatabaseSync {
  try {
    return new DatabaseSync(path, { timeout: 5000 });
  } catch (thrown) {
    throw sqliteError(path, sqliteFailure(thrown), thrown);
  }
}

function refuseNewer(path: string, database: DatabaseSync): void {
  const migrated = database
    .prepare("select 1 from sqlite_schema where type = 'table' and name = 'kysely_migration'")
    .get();
  if (migrated === undefined) return;
  const names = database.prepare('select name from kysely_migration order by name').all();
  const unknown = names.map((row) => String(row['name'])).find((name) => !(name in SQLITE_MIGRATIONS));
  if (unknown === undefined) return;
  const newest = Object.keys(SQLITE_MIGRATIONS).at(-1);
  throw new UnavailableError(
    `${path} was written by a newer Fairway (schema ${unknown}; this one knows up to ${newest})`,
  );
}

async function migrate(database: DatabaseSync): Promise<void> {
  const migrator = new Migrator({
    db: openRunningKysely(database),
    provider: { getMigrations: async () => ({ ...SQLITE_MIGRATIONS }) },
  });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}
