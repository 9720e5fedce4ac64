/**
 * Brings a database to the schema that this program knows, and makes it one region's. Processes that start together
 * wait for each other: the migrator holds an advisory lock.
 */
import { Kysely, PostgresDialect } from 'kysely';
import { Migrator } from 'kysely/migration';
import { escapeIdentifier, Pool } from 'pg';
import { UnavailableError } from '#domain/errors.ts';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import { POSTGRES_MIGRATIONS } from './migrations/postgres-migrations.ts';
import { clientConfig, type PostgresConfig, SCHEMA_DEFAULT } from './postgres-connection.ts';
import { postgresError, sqlStateOf } from './postgres-error.ts';

export type PostgresOrigin = { readonly region: RegionNumber; readonly epochForNewDatabase: Epoch };

/** Any number that nobody else uses: advisory locks are the database's, not the schema's. */
const MAKING_SCHEMA = 4_210_733_019;
/** Of `kysely_migration` when there is none yet. */
const UNDEFINED_TABLE = '42P01';

/** @throws UnavailableError when it cannot be reached, was written by a newer program, or belongs to another region. */
export async function preparePostgresSchema(config: PostgresConfig, origin: PostgresOrigin): Promise<void> {
  const schema = config.schema ?? SCHEMA_DEFAULT;
  const pool = new Pool({ ...clientConfig(config), max: 2 });
  pool.on('error', () => undefined);
  try {
    await refuseOther(pool);
    // `if not exists` alone is no match for two that create it at the same moment.
    await pool.query(
      `begin; select pg_advisory_xact_lock(${MAKING_SCHEMA});
       create schema if not exists ${escapeIdentifier(schema)}; commit`,
    );
    await refuseNewer(pool, schema);
    await migrate(pool, schema);
    await pool.query(
      `insert into origin (id, region, epoch, sequence, time_ms, time_counter)
       values (1, $1, $2, 0, 0, 0) on conflict do nothing`,
      [origin.region, origin.epochForNewDatabase],
    );
    const stored = await pool.query<{ region: number }>('select region from origin');
    const region = stored.rows[0]?.region;
    if (region === origin.region) return;
    throw new UnavailableError(
      `the metadata database (schema ${schema}) belongs to region ${region}, not to ${origin.region}`,
    );
  } catch (thrown) {
    throw postgresError(thrown);
  } finally {
    await pool.end();
  }
}

/** Names are compared by their bytes, in text of UTF-8: another encoding cannot hold every annotation. */
async function refuseOther(pool: Pool): Promise<void> {
  const { rows } = await pool.query<{ encoding: string; version: number }>(
    "select current_setting('server_encoding') as encoding, current_setting('server_version_num')::integer as version",
  );
  const { encoding, version = 0 } = rows[0] ?? {};
  if (version < 140_000)
    throw new UnavailableError(`PostgreSQL ${version} is too old: Fairway needs 14 or newer`);
  if (encoding !== 'UTF8') {
    throw new UnavailableError(
      `the metadata database has encoding ${encoding}; create it with encoding UTF8`,
    );
  }
}

async function refuseNewer(pool: Pool, schema: string): Promise<void> {
  const names = await pool
    .query<{ name: string }>(`select name from ${escapeIdentifier(schema)}.kysely_migration order by name`)
    .catch((thrown) => {
      if (sqlStateOf(thrown) === UNDEFINED_TABLE) return { rows: [] };
      throw thrown;
    });
  const unknown = names.rows.map(({ name }) => name).find((name) => !(name in POSTGRES_MIGRATIONS));
  if (unknown === undefined) return;
  const newest = Object.keys(POSTGRES_MIGRATIONS).at(-1);
  throw new UnavailableError(
    `the metadata database was written by a newer Fairway (schema ${unknown}; this one knows up to ${newest})`,
  );
}

async function migrate(pool: Pool, schema: string): Promise<void> {
  const migrator = new Migrator({
    // The pool stays ours: a Kysely that is never destroyed never ends it.
    db: new Kysely({ dialect: new PostgresDialect({ pool }) }),
    migrationTableSchema: schema,
    provider: { getMigrations: async () => ({ ...POSTGRES_MIGRATIONS }) },
  });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}
