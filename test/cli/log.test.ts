/** `fairway log`: what is asked of a region, page by page, and what is printed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WrongCallError } from '#cli/exit.ts';
import { registerLog } from '#cli/log.ts';
import type { Change } from '#http/views.ts';
import { type CannedAnswer, NOW_MS, openCommand } from './commands-under-test.ts';

const CHANGE: Change = {
  ...{ atMs: NOW_MS, region: 'eu-west', who: 'ada', kind: 'tag', change: 'set' },
  ...{ repository: 'prod/web', name: 'v1', digest: `sha256:${'a'.repeat(64)}`, version: 'eu-west.00aa.1' },
  refused: false,
};

const open = (...answers: readonly CannedAnswer[]) => openCommand(registerLog, answers);
const page = (changes: readonly Change[], next?: string): CannedAnswer => ({
  status: 200,
  json: { changes, ...(next === undefined ? {} : { next }) },
});

test('log: calls that make no sense are wrong, and ask nobody', async () => {
  for (const args of [
    ['--since', 'yesterday'],
    ['--since', '2026-13-45'],
    ['--since', '12'],
    ['--limit', '0'],
    ['--limit', 'x'],
    ['--limit', '100001'],
  ]) {
    const run = open();
    await assert.rejects(run.fairway('log', ...args), WrongCallError, args.join(' '));
    assert.deepEqual(run.asked, []);
  }
});

test('log: what a region refuses is said', async () => {
  const refusal = (status: number) => ({ status, json: { error: { message: 'no glob' } } });
  await assert.rejects(open(refusal(400)).fairway('log', '--repository', 'a**'), WrongCallError);
  await assert.rejects(open(refusal(503)).fairway('log'), { name: 'Error', message: 'no glob' });
});

test('log: filters go to the region', async () => {
  const run = open(page([]));
  await run.fairway('log', '--repository', 'prod/**', '--who', 'ci', '--since', '2h', '--limit', '5');
  await run.fairway('log', '--since', '2026-01-31T11:59:59Z');
  assert.deepEqual(
    run.asked.map(({ options }) => options.query),
    [
      { repository: 'prod/**', who: 'ci', sinceMs: String(NOW_MS - 7_200_000), limit: '5' },
      { sinceMs: String(NOW_MS - 1000), limit: '100' },
    ],
  );
  assert.equal(run.printed, 'No changes.\nNo changes.\n');
});

test('log: pages are followed to the end, or to the limit', async () => {
  const run = open(page([CHANGE, CHANGE], 'one'), page([], 'two'), page([CHANGE]));
  await run.fairway('log', '--json');
  assert.equal((JSON.parse(run.printed) as { changes: Change[] }).changes.length, 3);
  assert.deepEqual(
    run.asked.map(({ options }) => [options.query?.['cursor'], options.query?.['limit']]),
    [
      [undefined, '100'],
      ['one', '98'],
      ['two', '98'],
    ],
  );
  const limited = open(page([CHANGE, CHANGE], 'one'));
  await limited.fairway('log', '--limit', '2');
  assert.equal(limited.asked.length, 1);
});

test('log: a line a change for people', async () => {
  const digest = `sha256:${'b'.repeat(64)}`;
  const run = open(
    page([
      CHANGE,
      { ...CHANGE, kind: 'manifest', name: digest, digest: '' },
      { ...CHANGE, kind: 'account', change: 'deleted', repository: '', name: 'ci', digest: '' },
    ]),
  );
  await run.fairway('log');
  assert.deepEqual(
    run.printed.split('\n').map((line) => line.split(/ {2,}/)),
    [
      ['AT', 'REGION', 'WHO', 'WHAT', 'NAME', 'DIGEST'],
      ['2026-01-31T12:00:00.000Z', 'eu-west', 'ada', 'tag set', 'prod/web:v1', 'sha256:aaaaaaaaaaaa'],
      ['2026-01-31T12:00:00.000Z', 'eu-west', 'ada', 'manifest set', 'prod/web@sha256:bbbbbbbbbbbb'],
      ['2026-01-31T12:00:00.000Z', 'eu-west', 'ada', 'account deleted', 'ci'],
      [''],
    ],
  );
});
