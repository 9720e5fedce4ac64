/**
 * What garbage collection needs: when a push last relied on a blob, and the way back from a digest to what refers to
 * it. Every blob that is there counts as used at the moment of the migration, because nobody knows better.
 */
import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';

export const garbage: Migration = {
  async up(db: Kysely<unknown>) {
    await sql`alter table blob add column used_ms integer not null default 0`.execute(db);
    await sql`update blob set used_ms = cast(unixepoch('subsec') * 1000 as integer)`.execute(db);
    await sql`create index manifest_reference_target on manifest_reference (digest)`.execute(db);
    await sql`create index manifest_link_digest on manifest_link (digest, repository)`.execute(db);
    // Holds a small part of the table only: what was deleted.
    await sql`create index view_deleted on view (kind, changed_ms) where live = 0`.execute(db);
  },
};
