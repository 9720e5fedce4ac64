/** Finds the keys that are in conflict, which are few among very many, without a walk over all of them. */
import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Tables } from '#storage/tables.ts';

export const conflictIndex: Migration = {
  async up(untyped) {
    const db = untyped as Kysely<Tables>;
    await sql`create index view_conflict on view (kind, repository, name) where conflict = 1`.execute(db);
  },
};
