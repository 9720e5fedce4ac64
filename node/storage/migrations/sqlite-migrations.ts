/** Every schema change of the embedded profile, in order of name. One that was released is never edited. */
import type { Migration } from 'kysely/migration';
import { firstSchema } from './0001-first.ts';
import { conflictIndex } from './0002-conflicts.ts';
import { startId } from './0003-start.ts';
import { garbage } from './0004-garbage.ts';

export const SQLITE_MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-first': firstSchema,
  '0002-conflicts': conflictIndex,
  '0003-start': startId,
  '0004-garbage': garbage,
};
