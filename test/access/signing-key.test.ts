/** The file of a region's signing key. */
import assert from 'node:assert/strict';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSigningKey, parsePublicKey, publicKeyText, regionOfKey } from '#access/signing-key.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { systemRandom } from '#runtime/random.ts';
import { type LogLine, recordingLog } from '#test/http/registry-under-test.ts';
import { ManualClock } from '#test/mesh/replication/manual-clock.ts';
import { temporaryFolder } from '#test/storage/temporary.ts';

const ONE = parseRegionNumber(1);

test('signing key: a file that holds none of this region is refused, kept, and not quoted', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'signing-key.json');
  const made = await open(folder.path);
  const good = await readFile(path, 'utf8');
  const { id, key } = JSON.parse(good) as { id: string; key: { d: string; x: string } };
  for (const text of [
    '',
    '{}',
    good.slice(0, -10),
    good.replace(id, '2.5'),
    good.replace(id, 'one'),
    good.replace(`"x":"${key.x}"`, `"x":"${key.d}"`),
  ]) {
    await writeFile(path, text, { mode: 0o600 });
    const thrown = await open(folder.path).catch((error: unknown) => error);
    assert.ok(thrown instanceof TypeError, text);
    assert.ok(!thrown.message.includes(key.d));
    assert.equal(await readFile(path, 'utf8'), text);
  }
  await writeFile(path, good, { mode: 0o600 });
  assert.equal((await open(folder.path)).key.id, made.key.id);
});

test('signing key: it is made once, for the owner only, and never logged', async () => {
  await using folder = await temporaryFolder();
  const first = await open(folder.path);
  const path = join(folder.path, 'signing-key.json');
  const text = await readFile(path, 'utf8');
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(folder.path), ['signing-key.json']);
  const again = await open(folder.path);
  assert.equal(again.key.id, first.key.id);
  assert.ok(again.key.publicKey.equals(first.key.publicKey));
  assert.deepEqual(again.lines, []);
  const { d } = (JSON.parse(text) as { key: { d: string } }).key;
  assert.ok(!JSON.stringify(first.lines).includes(d));
  assert.ok(!publicKeyText(first.key).includes(d));
});

test('signing key: one that was lost is followed by one with another id', async () => {
  await using one = await temporaryFolder();
  await using two = await temporaryFolder();
  assert.notEqual((await open(one.path, 1)).key.id, (await open(two.path, 2)).key.id);
});

test('signing key: its public half is read from a claim, and nothing else is', async () => {
  await using folder = await temporaryFolder();
  const { key } = await open(folder.path);
  const text = publicKeyText(key);
  assert.ok(parsePublicKey(Buffer.from(text))?.equals(key.publicKey));
  for (const wrong of ['', 'x', '{}', text.replace('P-256', 'P-384'), text.replace('"EC"', '"OKP"')]) {
    assert.equal(parsePublicKey(Buffer.from(wrong)), undefined, wrong);
  }
});

test('signing key: its id names its region', () => {
  for (const wrong of ['', '1', '1.', '.1', '01.5', '0.5', '65536.1', '1.x', '1.2.3', ' 1.2']) {
    assert.equal(regionOfKey(wrong), undefined, wrong);
  }
  assert.equal(regionOfKey('65535.1795255239799'), 65_535);
});

async function open(folder: string, nowMs = 1_800_000_000_000) {
  const lines: LogLine[] = [];
  const deps = { clock: new ManualClock(nowMs), random: systemRandom, log: recordingLog(lines) };
  return { key: await openSigningKey(deps, { folder, region: ONE }), lines };
}
