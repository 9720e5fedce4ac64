/** Every schema change of the PostgreSQL profile, in order of name. One that was released is never edited. */
import type { Migration } from 'kysely/migration';
import { postgresFirstSchema } from './postgres-0001-first.ts';

export const POSTGRES_MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-first': postgresFirstSchema,
};
