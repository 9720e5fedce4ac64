/**
 * One process per data folder: two would each believe that their database and uploads are theirs alone.
 *
 * The lock is an exclusive transaction on an empty SQLite file, held until disposal: the operating system lets go of
 * it when the process dies, however it dies, and nothing stale is ever left to be cleaned up. It does not reach
 * over network file systems without locks, where a data folder does not belong.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { UnavailableError } from '#domain/errors.ts';
import { diskError } from './disk-error.ts';
import { sqliteError, sqliteFailure } from './sqlite-error.ts';

const SQLITE_BUSY = 5;

/**
 * Makes the folder where it is missing, and takes its lock.
 * @throws UnavailableError when another process holds it, or the folder cannot be written.
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (thrown) {
    throw diskError(`cannot write to the data folder ${folder}`, thrown);
  }
  const database = acquire(folder);
  return {
    async [Symbol.asyncDispose]() {
      if (database.isOpen) database.close();
    },
  };
}

function acquire(folder: string): DatabaseSync {
  const opened: DatabaseSync[] = [];
  try {
    const database = new DatabaseSync(join(folder, 'lock.sqlite'), { timeout: 0 });
    opened.push(database);
    database.exec('begin exclusive');
    return database;
  } catch (thrown) {
    for (const database of opened) database.close();
    const failure = sqliteFailure(thrown);
    if (failure.code === SQLITE_BUSY) {
      throw new UnavailableError(`another fairway process uses ${folder}`, { cause: thrown });
    }
    throw sqliteError(`cannot write to the data folder ${folder}`, failure, thrown);
  }
}
