/** The administrator's token file. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openAdminToken } from '#access/admin-token.ts';
import { type Log, silentLog } from '#runtime/log.ts';
import { systemRandom } from '#runtime/random.ts';

test('admin token: a file without a token is refused and kept', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'admin.token');
  for (const text of ['', '\n', 'too-short', `${'a'.repeat(42)}!`]) {
    await writeFile(path, text, { mode: 0o600 });
    await assert.rejects(open(folder.path), TypeError);
    assert.equal(await readFile(path, 'utf8'), text);
  }
});

test('admin token: a folder that is not there is the caller’s problem', async () => {
  await using folder = await temporaryFolder();
  await assert.rejects(open(join(folder.path, 'none')), { code: 'ENOENT' });
});

test('admin token: a file that others may read is used with a warning', async () => {
  await using folder = await temporaryFolder();
  await open(folder.path);
  const path = join(folder.path, 'admin.token');
  const warnings: string[] = [];
  const log: Log = { ...silentLog, warn: (event) => void warnings.push(event) };
  const random = systemRandom;
  await openAdminToken({ random, log }, folder.path);
  assert.deepEqual(warnings, []);
  await chmod(path, 0o640);
  const token = await openAdminToken({ random, log }, folder.path);
  assert.deepEqual(warnings, ['administrator token found readable by others']);
  assert.ok(token.matches((await readFile(path, 'utf8')).trim()));
});

test('admin token: only the one in the file matches', async () => {
  await using folder = await temporaryFolder();
  const token = await open(folder.path);
  const text = (await readFile(join(folder.path, 'admin.token'), 'utf8')).trim();
  for (const wrong of ['', ' ', text.slice(1), `${text}x`, text.toUpperCase(), 'ä'.repeat(43)]) {
    assert.equal(token.matches(wrong), false, wrong);
  }
  assert.equal(token.matches(text), true);
});

test('admin token: it is made once, of 256 bits, for the owner only, and nothing else is left behind', async () => {
  await using folder = await temporaryFolder();
  await open(folder.path);
  const path = join(folder.path, 'admin.token');
  const text = await readFile(path, 'utf8');
  assert.equal(Buffer.from(text.trim(), 'base64url').length, 32);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(folder.path), ['admin.token']);
  const again = await open(folder.path);
  assert.equal(await readFile(path, 'utf8'), text);
  assert.ok(again.matches(text.trim()));
});

function open(folder: string) {
  return openAdminToken({ random: systemRandom, log: silentLog }, folder);
}

async function temporaryFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'fairway-token-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
