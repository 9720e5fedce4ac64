/**
 * The mark beside the database, `<data>/mark.json`: by it a start finds out whether the database is an older one than
 * was running last. What it says is judged in `mesh/claims/mark-verdict.ts`; here it is kept.
 *
 * Each start writes an id of its own into the database, and then into the mark; an orderly stop adds where the
 * history ended, as the last thing. A crash between the two costs a new epoch, and nothing else. The file is written
 * beside its place, synced and renamed, so that it is never found half; what cannot be read counts as missing.
 */
import { open, readFile, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { type Epoch, parseEpoch } from '#domain/region.ts';
import { syncFolder } from './blob-folder.ts';
import { diskError, systemCode } from './disk-error.ts';
import { sqliteError, sqliteFailure } from './sqlite-error.ts';

/** What the mark says. */
export type RollbackMark = {
  /** The id that the last start wrote into the database too. */
  readonly start: string;
  /** The database file: device, inode and time of birth, so that a copy of it is another one. */
  readonly file: string;
  /** Where an orderly stop left the history. */
  readonly stopped?: StoppedAt | undefined;
};

export type StoppedAt = {
  readonly epoch: Epoch;
  readonly sequence: number;
  /** When the file changed last, by the file system: a restore over the file in place changes it. */
  readonly changed: string;
};

/** What was found in the place of the database. */
export type FoundDatabase = StoppedAt & {
  readonly start: string;
  readonly file: string;
  /** It was made by this start. */
  readonly isNew: boolean;
};

const markSchema = z.strictObject({
  start: z.string(),
  file: z.string(),
  stopped: z
    .strictObject({
      epoch: z.string().transform((text) => parseEpoch(text)),
      sequence: z.number(),
      changed: z.string(),
    })
    .optional(),
});

export type MarkPaths = { readonly mark: string; readonly database: string };

export class MarkFile implements AsyncDisposable {
  /** What the last start and stop left. */
  readonly mark: RollbackMark | undefined;
  readonly #paths: MarkPaths;
  readonly #before: FileFacts | undefined;
  #running: RollbackMark | undefined;
  #isConfirmed = false;

  /** To be called before the database is opened. Disposed of after the database, it marks an orderly stop. */
  static async open(paths: MarkPaths): Promise<MarkFile> {
    const [mark, before] = await Promise.all([readMark(paths.mark), factsOf(paths.database)]);
    return new MarkFile(paths, mark, before);
  }

  /** Use `open`. */
  constructor(paths: MarkPaths, mark: RollbackMark | undefined, before: FileFacts | undefined) {
    this.#paths = paths;
    this.mark = mark;
    this.#before = before;
  }

  /** To be called when the database is open, and nothing of ours was written yet: gives it the id of this start. */
  async start(id: string): Promise<FoundDatabase> {
    const facts = await factsOf(this.#paths.database);
    if (facts === undefined) throw new Error(`${this.#paths.database} is not there`);
    const found = exchangeStart(this.#paths.database, id);
    this.#running = { start: id, file: facts.file };
    const { file, changed } = this.#before ?? facts;
    return { ...found, file, changed, isNew: this.#before === undefined };
  }

  /** To be called when what `start` found was acted upon; without it the next start judges the same again. */
  async confirm(): Promise<void> {
    if (this.#running === undefined) throw new Error('nothing was started');
    await writeMark(this.#paths.mark, this.#running);
    this.#isConfirmed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#running === undefined || !this.#isConfirmed) return;
    const { epoch, sequence } = readHistory(this.#paths.database);
    const facts = await factsOf(this.#paths.database);
    if (facts === undefined) return;
    const stopped = { epoch, sequence, changed: facts.changed };
    await writeMark(this.#paths.mark, { ...this.#running, stopped });
  }
}

async function readMark(path: string): Promise<RollbackMark | undefined> {
  try {
    return markSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (thrown) {
    const isUnreadable =
      thrown instanceof SyntaxError || thrown instanceof z.ZodError || thrown instanceof TypeError;
    if (isUnreadable || systemCode(thrown) === 'ENOENT') return undefined;
    throw diskError(`cannot read ${path}`, thrown);
  }
}

async function writeMark(path: string, mark: RollbackMark): Promise<void> {
  const beside = `${path}.new`;
  try {
    {
      await using file = await open(beside, 'w', 0o600);
      await file.writeFile(`${JSON.stringify(mark)}\n`);
      await file.sync();
    }
    await rename(beside, path);
    await syncFolder(dirname(path));
  } catch (thrown) {
    throw diskError(`cannot write ${path}`, thrown);
  }
}

type FileFacts = Pick<FoundDatabase, 'file' | 'changed'>;

async function factsOf(path: string): Promise<FileFacts | undefined> {
  try {
    const { dev, ino, birthtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return { file: `${dev}:${ino}:${birthtimeNs}`, changed: String(ctimeNs) };
  } catch (thrown) {
    if (systemCode(thrown) === 'ENOENT') return undefined;
    throw diskError(`cannot look at ${path}`, thrown);
  }
}

type History = { readonly start: string; readonly epoch: Epoch; readonly sequence: number };

function exchangeStart(path: string, id: string): History {
  return withDatabase(path, (database) => {
    database.exec('pragma synchronous = full');
    const former = historyIn(database);
    database.prepare('update origin set start = ?').run(id);
    return former;
  });
}

function readHistory(path: string): History {
  return withDatabase(path, historyIn);
}

function historyIn(database: DatabaseSync): History {
  const row = database.prepare('select start, epoch, sequence from origin').get();
  if (row === undefined) throw new Error('the metadata database has no origin');
  return {
    start: String(row['start']),
    epoch: parseEpoch(String(row['epoch'])),
    sequence: Number(row['sequence']),
  };
}

function withDatabase<Answer>(path: string, ask: (database: DatabaseSync) => Answer): Answer {
  try {
    using database = new DatabaseSync(path, { timeout: 5000 });
    return ask(database);
  } catch (thrown) {
    throw sqliteError(path, sqliteFailure(thrown), thrown);
  }
}
