/** The id of the start that opened the database last; `rollback-mark.ts` holds it against the mark beside the file. */
import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Tables } from '#storage/tables.ts';

export const startId: Migration = {
  async up(untyped) {
    const db = untyped as Kysely<Tables>;
    await db.schema
      .alterTable('origin')
      .addColumn('start', 'text', (column) => column.notNull().defaultTo(''))
      .execute();
  },
};
