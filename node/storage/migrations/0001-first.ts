/**
 * The first schema of the embedded profile. Strict tables; a table whose rows are little more than their key is
 * clustered by it (`without rowid`), one with large or often updated rows is not.
 *
 * Counts are kept by triggers, because every path that changes a row must keep them, and a scan of a large table
 * would hold the main thread for longer than 5 ms.
 */
import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Tables } from '#storage/tables.ts';

export const firstSchema: Migration = {
  async up(untyped) {
    const db = untyped as Kysely<Tables>;
    await createIndexTables(db);
    await createContentTables(db);
    await createWorkTables(db);
    await createTallies(db);
  },
};

async function createIndexTables(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('origin')
    .addColumn('id', 'integer', (column) => column.primaryKey().check(sql`id = 1`))
    .addColumn('region', 'integer', required)
    .addColumn('epoch', 'text', required)
    .addColumn('sequence', 'integer', required)
    .addColumn('time_ms', 'integer', required)
    .addColumn('time_counter', 'integer', required)
    .modifyEnd(sql`strict`)
    .execute();
  await db.schema
    .createTable('origin_cursor')
    .addColumn('region', 'integer', required)
    .addColumn('epoch', 'text', required)
    .addColumn('have', 'integer', required)
    .addColumn('safe', 'integer', required)
    .addPrimaryKeyConstraint('origin_cursor_key', ['region', 'epoch'])
    .modifyEnd(sql`strict, without rowid`)
    .execute();
  await db.schema
    .createTable('claim')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('kind', 'integer', required)
    .addColumn('repository', 'text', required)
    .addColumn('name', 'text', required)
    .addColumn('region', 'integer', required)
    .addColumn('epoch', 'text', required)
    .addColumn('sequence', 'integer', required)
    .addColumn('bytes', 'blob', required)
    .modifyEnd(sql`strict`)
    .execute();
  // The key stands first, so that one search finds the claims of all origins.
  await sql`create unique index claim_key on claim (kind, repository, name, region, epoch)`.execute(db);
  await sql`create index claim_sequence on claim (region, epoch, sequence)`.execute(db);
  await db.schema
    .createTable('view')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('kind', 'integer', required)
    .addColumn('repository', 'text', required)
    .addColumn('name', 'text', required)
    .addColumn('revision', 'integer', required)
    .addColumn('live', 'integer', required)
    .addColumn('value', 'blob', required)
    .addColumn('region', 'integer', required)
    .addColumn('epoch', 'text', required)
    .addColumn('sequence', 'integer', required)
    .addColumn('changed_ms', 'integer', required)
    .addColumn('principal', 'text', required)
    .addColumn('conflict', 'integer', required)
    .modifyEnd(sql`strict`)
    .execute();
  await sql`create unique index view_key on view (kind, repository, name)`.execute(db);
  // Lists walk the live rows only, so that a repository with many deleted tags lists as fast as any.
  await sql`create index view_live on view (kind, repository, name) where live = 1`.execute(db);
  // Values up to the length of a digest: larger ones (policies) are never looked up by value.
  await sql`create index view_value on view (kind, repository, value, name) where live = 1 and octet_length(value) <= 65`.execute(
    db,
  );
}

async function createContentTables(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('blob')
    .addColumn('digest', 'text', (column) => column.notNull().primaryKey())
    .addColumn('size_bytes', 'integer', required)
    .addColumn('source', 'text', required)
    .addColumn('stored_ms', 'integer', required)
    .modifyEnd(sql`strict, without rowid`)
    .execute();
  await db.schema
    .createTable('manifest')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('digest', 'text', (column) => column.notNull().unique())
    .addColumn('media_type', 'text', required)
    .addColumn('size_bytes', 'integer', required)
    .addColumn('bytes', 'blob', required)
    .modifyEnd(sql`strict`)
    .execute();
  for (const table of ['blob_link', 'manifest_link'] as const) {
    await db.schema
      .createTable(table)
      .addColumn('repository', 'text', required)
      .addColumn('digest', 'text', required)
      .addPrimaryKeyConstraint(`${table}_key`, ['repository', 'digest'])
      .modifyEnd(sql`strict, without rowid`)
      .execute();
  }
  // Which repositories have a blob: a mount that names no source asks for it.
  await sql`create index blob_link_digest on blob_link (digest, repository)`.execute(db);
  await db.schema
    .createTable('manifest_reference')
    .addColumn('manifest', 'text', required)
    .addColumn('position', 'integer', required)
    .addColumn('kind', 'text', required)
    .addColumn('digest', 'text', required)
    .addColumn('size_bytes', 'integer', required)
    .addColumn('media_type', 'text', required)
    .addColumn('platform', 'text', required)
    .addPrimaryKeyConstraint('manifest_reference_key', ['manifest', 'position'])
    .modifyEnd(sql`strict, without rowid`)
    .execute();
  await db.schema
    .createTable('repository_reference')
    .addColumn('repository', 'text', required)
    .addColumn('kind', 'text', required)
    .addColumn('digest', 'text', required)
    .addColumn('manifest', 'text', required)
    .addPrimaryKeyConstraint('repository_reference_key', ['repository', 'kind', 'digest', 'manifest'])
    .modifyEnd(sql`strict, without rowid`)
    .execute();
}

async function createWorkTables(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('task')
    .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
    .addColumn('policy', 'text', required)
    .addColumn('repository', 'text', required)
    .addColumn('digest', 'text', required)
    .addColumn('tag', 'text', required)
    .addColumn('state', 'text', required)
    .addColumn('attempts', 'integer', required)
    .addColumn('due_ms', 'integer')
    .addColumn('bytes', 'integer', required)
    .addColumn('reason', 'text', required)
    .addColumn('enqueued_ms', 'integer', required)
    .addColumn('changed_ms', 'integer', required)
    .addUniqueConstraint('task_key', ['policy', 'repository', 'digest'])
    .modifyEnd(sql`strict`)
    .execute();
  await sql`create index task_due on task (due_ms, id) where due_ms is not null`.execute(db);
  await sql`create index task_state on task (state, changed_ms, id)`.execute(db);
  await db.schema
    .createTable('cached_tag')
    .addColumn('repository', 'text', required)
    .addColumn('tag', 'text', required)
    .addColumn('digest', 'text', required)
    .addColumn('checked_ms', 'integer', required)
    .addPrimaryKeyConstraint('cached_tag_key', ['repository', 'tag'])
    .modifyEnd(sql`strict, without rowid`)
    .execute();
}

async function createTallies(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('tally')
    .addColumn('name', 'text', (column) => column.notNull().primaryKey())
    .addColumn('count', 'integer', required)
    .addColumn('size_bytes', 'integer', required)
    .modifyEnd(sql`strict, without rowid`)
    .execute();
  const change = (name: string, count: string, sizeBytes: string) =>
    `insert into tally (name, count, size_bytes) values (${name}, ${count}, ${sizeBytes})
     on conflict (name) do update set count = count + excluded.count, size_bytes = size_bytes + excluded.size_bytes;`;
  const triggers = [
    `create trigger blob_added after insert on blob begin ${change("'blob'", '1', 'new.size_bytes')} end`,
    `create trigger blob_removed after delete on blob begin ${change("'blob'", '-1', '-old.size_bytes')} end`,
    `create trigger view_added after insert on view when new.live = 1
     begin ${change("'view/' || new.kind", '1', '0')} end`,
    `create trigger view_turned after update of live on view when new.live <> old.live
     begin ${change("'view/' || new.kind", 'new.live - old.live', '0')} end`,
    `create trigger task_added after insert on task begin ${change("'task/' || new.state", '1', '0')} end`,
    `create trigger task_removed after delete on task begin ${change("'task/' || old.state", '-1', '0')} end`,
    `create trigger task_turned after update of state on task when new.state <> old.state
     begin ${change("'task/' || new.state", '1', '0')} ${change("'task/' || old.state", '-1', '0')} end`,
  ];
  for (const trigger of triggers) await sql.raw(trigger).execute(db);
}

function required<Column extends { notNull(): Column }>(column: Column): Column {
  return column.notNull();
}
