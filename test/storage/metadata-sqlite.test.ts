/** Metadata in SQLite obeys the law of its seam, keeps what it acknowledged, and refuses files that are not its own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import { silentLog } from '#runtime/log.ts';
import { lockFolder } from '#storage/folder-lock.ts';
import { openSqliteMetadata } from '#storage/metadata-sqlite.ts';
import { batch, ownTag } from '#test/suites/claim-rows-suite.ts';
import { metadataSuite } from '#test/suites/metadata-suite.ts';
import { openTemporaryMetadata, TEST_EPOCH, temporaryFolder } from './temporary.ts';

metadataSuite('sqlite metadata', openTemporaryMetadata);

const app = parseRepositoryName('team/app');
const openAt = (folder: string, region = 1, epochForNewDatabase = TEST_EPOCH) =>
  openSqliteMetadata(
    { path: join(folder, 'metadata.sqlite'), region: parseRegionNumber(region), epochForNewDatabase },
    { log: silentLog },
  );

test('sqlite metadata: a file of a newer program is refused in one line', async () => {
  await using folder = await temporaryFolder();
  await (await openAt(folder.path))[Symbol.asyncDispose]();
  {
    using database = new DatabaseSync(join(folder.path, 'metadata.sqlite'));
    database.exec("insert into kysely_migration (name, timestamp) values ('9999-later', 'now')");
  }
  await assert.rejects(
    openAt(folder.path),
    unavailable(/written by a newer Fairway \(schema 9999-later; this one knows up to 0004-garbage\)/),
  );
});

test('sqlite metadata: what is no database, or another region’s, is refused in one line', async () => {
  await using folder = await temporaryFolder();
  await assert.rejects(openAt(join(folder.path, 'missing')), unavailable(/cannot be opened/));
  await (await openAt(folder.path, 1))[Symbol.asyncDispose]();
  await assert.rejects(openAt(folder.path, 2), unavailable(/belongs to region 1, not to 2/));
  await writeFile(join(folder.path, 'metadata.sqlite'), 'certainly not a database '.repeat(100));
  await assert.rejects(openAt(folder.path), unavailable(/is not a database/));
});

test('sqlite metadata: a statement that we got wrong fails alone, and as our own mistake', async () => {
  await using metadata = await openTemporaryMetadata();
  const put = (tag: string) =>
    metadata.cachedTags.put({ repository: app, tag, digest: digestOf(''), checkedMs: 1 });
  const [before, wrong, after] = await Promise.allSettled([put('a'), put(null as never), put('b')]);
  assert.deepEqual([before.status, wrong.status, after.status], ['fulfilled', 'rejected', 'fulfilled']);
  assert.ok(wrong.status === 'rejected' && !(wrong.reason instanceof UnavailableError));
  assert.match(String(wrong.reason), /NOT NULL/);
  assert.equal((await metadata.cachedTags.list(app, '', 10)).length, 2);
});

test('sqlite metadata: more writes than may wait are refused, and the others are written', async () => {
  await using metadata = await openTemporaryMetadata();
  const writes = Array.from({ length: 10_500 }, () => metadata.blobs.link(app, digestOf('layer')));
  const results = await Promise.allSettled(writes);
  const refused = results.filter((result) => result.status === 'rejected');
  assert.ok(refused.length > 0 && refused.length <= 500, `${refused.length} refused`);
  for (const { reason } of refused) assert.match(String(reason), /more to write than it can keep up with/);
  assert.equal(await metadata.blobs.isReadable(app, digestOf('layer')), true);
});

test('sqlite metadata: closing writes what waits, leaves one file, and refuses what comes later', async () => {
  await using folder = await temporaryFolder();
  const metadata = await openAt(folder.path);
  const writes = [1, 2, 3].map((count) => metadata.blobs.link(app, digestOf(`${count}`)));
  await metadata[Symbol.asyncDispose]();
  await Promise.all(writes);
  assert.deepEqual(await readdir(folder.path), ['metadata.sqlite']);
  await assert.rejects(metadata.blobs.link(app, digestOf('4')), unavailable(/closed/));
  await assert.rejects(metadata.blobs.isReadable(app, digestOf('4')), unavailable(/closed/));
  await using reopened = await openAt(folder.path, 1, parseEpoch('ffffffffffffffff'));
  assert.equal((await reopened.claims.origin()).epoch, TEST_EPOCH);
  assert.equal(await reopened.blobs.isReadable(app, digestOf('3')), true);
});

test('sqlite metadata: what was acknowledged survives a kill, and the lock does not', async () => {
  await using folder = await temporaryFolder();
  await using running = startChild([childPath, folder.path]);
  let acknowledged = 0;
  for await (const line of running.lines) {
    acknowledged = Number(line);
    if (acknowledged >= 10) break;
  }
  await assert.rejects(
    lockFolder(folder.path),
    unavailable(new RegExp(`^another fairway process uses ${folder.path}$`)),
  );
  await running[Symbol.asyncDispose]();
  assert.equal(acknowledged, 10);
  await using _lock = await lockFolder(folder.path);
  await using metadata = await openAt(folder.path);
  const { region, epoch, sequence } = await metadata.claims.origin();
  assert.ok(sequence >= acknowledged);
  const claims = await metadata.claims.range({ region, epoch, after: 0, maxCount: 10_000, maxBytes: 1e8 });
  assert.deepEqual(
    claims.map((claim) => claim.sequence),
    Array.from({ length: sequence }, (_, place) => place + 1),
  );
  assert.equal(await metadata.views.count(CLAIM_KIND.tag), sequence);
  const next = await metadata.claims.commit(
    batch(ownTag({ kind: CLAIM_KIND.tag, repository: app, name: 'next' }, 0)),
  );
  assert.ok(next.outcome === 'committed' && next.firstSequence === sequence + 1);
});

test('sqlite metadata: a disk that takes no more refuses the write, and the writer goes on', async (t) => {
  if (process.platform !== 'linux') return t.skip('needs a limit on the size of files');
  await using folder = await temporaryFolder();
  // 2048 blocks of 512 bytes or 1 KiB: the log of the large batch does not fit, that of the small one does.
  const command = `ulimit -f 2048; exec "${process.execPath}" "${childPath}" "${folder.path}" --large`;
  await using running = startChild(['-c', command], 'sh');
  const [large, small] = await Array.fromAsync(running.lines);
  assert.match(large ?? '', /^true: metadata: the disk /);
  assert.equal(small, '1');
  await using metadata = await openAt(folder.path);
  assert.equal(await metadata.views.count(CLAIM_KIND.tag), 1);
});

test('folder lock: a second holder is refused until the first lets go, and a file is no folder', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'made', 'here');
  const first = await lockFolder(path);
  await assert.rejects(lockFolder(path), unavailable(new RegExp(`^another fairway process uses ${path}$`)));
  await first[Symbol.asyncDispose]();
  await using _second = await lockFolder(path);
  await first[Symbol.asyncDispose]();
  await assert.rejects(lockFolder(path), unavailable(/another fairway process/));
  await writeFile(join(folder.path, 'file'), '');
  const below = join(folder.path, 'file');
  await assert.rejects(
    lockFolder(below),
    unavailable(new RegExp(`^cannot write to the data folder ${below}: `)),
  );
});

const childPath = join(import.meta.dirname, 'committing-child.ts');

function startChild(args: readonly string[], command = process.execPath) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  return {
    lines: createInterface({ input: child.stdout }),
    [Symbol.asyncDispose]: () => killed(child),
  };
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

function unavailable(message: RegExp): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof UnavailableError, `not an UnavailableError: ${thrown}`);
    assert.match(thrown.message, message);
    return !thrown.message.includes('\n');
  };
}
