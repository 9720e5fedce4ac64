/** The mark beside the database, on real files: what a copy, a crash and a torn write leave of it. */
import assert from 'node:assert/strict';
import { copyFile, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import { judgeMark, type MarkVerdict } from '#mesh/claims/mark-verdict.ts';
import { silentLog } from '#runtime/log.ts';
import { openSqliteMetadata } from '#storage/metadata-sqlite.ts';
import { MarkFile } from '#storage/rollback-mark.ts';
import { temporaryFolder } from './temporary.ts';

const EPOCH = parseEpoch('00000000000000aa');

/** One life of a region, from start to its orderly stop, or to its death after `confirm`. */
async function live(folder: string, id: string, stops: boolean): Promise<MarkVerdict> {
  const paths = pathsIn(folder);
  const mark = await MarkFile.open(paths);
  const config = { path: paths.database, region: parseRegionNumber(1), epochForNewDatabase: EPOCH };
  const metadata = await openSqliteMetadata(config, { log: silentLog });
  const verdict = judgeMark(mark.mark, await mark.start(id));
  await mark.confirm();
  await metadata[Symbol.asyncDispose]();
  if (stops) await mark[Symbol.asyncDispose]();
  return verdict;
}

function pathsIn(folder: string) {
  return { mark: join(folder, 'mark.json'), database: join(folder, 'metadata.sqlite') };
}

test('rollback mark: a region that was killed is not trusted, one that was stopped is', async () => {
  await using folder = await temporaryFolder();
  assert.equal(await live(folder.path, 'a', true), 'trusted');
  assert.equal(await live(folder.path, 'b', false), 'trusted');
  assert.equal(await live(folder.path, 'c', true), 'unclean-stop');
  assert.equal(await live(folder.path, 'd', true), 'trusted');
});

test('rollback mark: one that is missing or torn counts as missing, and only for a database that was there', async () => {
  await using folder = await temporaryFolder();
  const { mark } = pathsIn(folder.path);
  await live(folder.path, 'a', true);
  const text = await readFile(mark, 'utf8');
  for (const torn of ['', text.slice(0, 20), '{}', text.replace('00000000000000aa', 'no epoch'), 'null']) {
    await writeFile(mark, torn);
    assert.equal(await live(folder.path, 'b', true), 'mark-missing', torn);
  }
  await writeFile(`${mark}.new`, text.slice(0, 20));
  assert.equal(await live(folder.path, 'c', true), 'trusted');
});

test('rollback mark: a copy of the database is another one, whatever mark lies beside it', async () => {
  await using folder = await temporaryFolder();
  const { database, mark } = pathsIn(folder.path);
  await live(folder.path, 'a', true);
  await copyFile(database, `${database}.copy`);
  await copyFile(mark, `${mark}.copy`);
  await rename(`${database}.copy`, database);
  assert.equal(await live(folder.path, 'b', true), 'mark-differs');
});

test('rollback mark: bytes that were put back into the same file are noticed', async () => {
  await using folder = await temporaryFolder();
  const { database, mark } = pathsIn(folder.path);
  await live(folder.path, 'a', true);
  const backup = { database: await readFile(database), mark: await readFile(mark) };
  await live(folder.path, 'b', true);
  await writeFile(database, backup.database);
  assert.equal(await live(folder.path, 'c', true), 'mark-differs');
  await writeFile(database, backup.database);
  await writeFile(mark, backup.mark);
  assert.equal(await live(folder.path, 'd', true), 'mark-differs');
});

test('rollback mark: a start that failed before it acted leaves the verdict to the next', async () => {
  await using folder = await temporaryFolder();
  const paths = pathsIn(folder.path);
  await live(folder.path, 'a', false);
  {
    await using mark = await MarkFile.open(paths);
    assert.equal(judgeMark(mark.mark, await mark.start('b')), 'unclean-stop');
  }
  assert.notEqual(await live(folder.path, 'c', true), 'trusted');
});

test('rollback mark: what an orderly stop left must be what is found', () => {
  const found = { start: 'a', file: '1:2:3', epoch: EPOCH, sequence: 7, changed: '9', isNew: false };
  const stopped = { epoch: EPOCH, sequence: 7, changed: '9' };
  const mark = { start: 'a', file: '1:2:3', stopped };
  assert.equal(judgeMark(mark, found), 'trusted');
  assert.equal(judgeMark(mark, { ...found, sequence: 6 }), 'mark-differs');
  assert.equal(judgeMark(mark, { ...found, changed: '8' }), 'mark-differs');
  assert.equal(judgeMark(mark, { ...found, start: 'b' }), 'mark-differs');
  assert.equal(judgeMark(mark, { ...found, file: '1:2:4' }), 'mark-differs');
  assert.equal(judgeMark(mark, { ...found, epoch: parseEpoch('00000000000000ab') }), 'mark-differs');
  assert.equal(judgeMark(undefined, { ...found, isNew: true }), 'trusted');
});
