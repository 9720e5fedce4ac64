/** `fairway account`: what is asked of a region, what is printed where, and how it ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommanderError } from 'commander';
import type { AccountEntry } from '#access/account-editor.ts';
import { registerAccountCommands } from '#cli/account.ts';
import { WrongCallError } from '#cli/exit.ts';
import { type CannedAnswer, NOW_MS, openCommand } from './commands-under-test.ts';

const ENTRY: AccountEntry = {
  ...{ name: 'ci', kind: 'robot', state: 'in-force', expiresMs: 0, secrets: [], conflict: false },
  rights: [{ repositories: ['prod/**'], actions: ['pull', 'push'] }],
  ...{ changedMs: NOW_MS, changedBy: 'administrator' },
};
const DAY_MS = 86_400_000;

const open = (answers: readonly CannedAnswer[] = [], input = '') =>
  openCommand(registerAccountCommands, answers, input);
const refused = (status: number): CannedAnswer => ({ status, json: { error: { message: 'because' } } });

test('account: calls that make no sense are wrong, and ask nobody', async () => {
  for (const args of [
    ['create'],
    ['create', 'a', 'b'],
    ['create', 'a', '--expires', 'soon'],
    ['create', 'a', '--expires', '90'],
    ['create', 'a', '--password-stdin'],
    ['create', 'a', '--password', 'x'],
    ['rotate', 'a', '--grace', '1 hour'],
    ['grant', 'a'],
    ['grant', 'a', '--none', '--pull', '**'],
    ['disable'],
  ]) {
    const run = open();
    await assert.rejects(
      run.fairway('account', ...args),
      (thrown) => thrown instanceof WrongCallError || thrown instanceof CommanderError,
      args.join(' '),
    );
    assert.deepEqual(run.asked, []);
  }
});

test('account: what a region refuses is said; what it calls wrong is a wrong call', async () => {
  for (const args of [
    ['create', 'ci'],
    ['rotate', 'ci'],
    ['disable', 'ci'],
    ['grant', 'ci', '--none'],
    ['ls'],
  ]) {
    await assert.rejects(open([refused(409)]).fairway('account', ...args), {
      name: 'Error',
      message: 'because',
    });
    await assert.rejects(open([refused(400)]).fairway('account', ...args), { name: 'WrongCallError' });
  }
});

test('account create: rights, kind and expiry go to the region; the secret alone goes to standard output', async () => {
  const run = open([{ status: 201, json: { account: ENTRY, secret: 'fwy_once' } }]);
  const args = [
    '--robot',
    '--push',
    'prod/**',
    '--push',
    'team/ci',
    '--pull',
    'base/**',
    '--delete',
    'tmp/**',
  ];
  await run.fairway('account', 'create', 'ci', ...args, '--expires', '90d');
  assert.deepEqual(run.asked, [
    {
      method: 'POST',
      path: '/api/v1/accounts',
      options: {
        body: {
          name: 'ci',
          kind: 'robot',
          rights: [
            { repositories: ['base/**'], actions: ['pull'] },
            { repositories: ['prod/**', 'team/ci'], actions: ['pull', 'push'] },
            { repositories: ['tmp/**'], actions: ['pull', 'delete'] },
          ],
          expiresMs: NOW_MS + 90 * DAY_MS,
        },
      },
    },
  ]);
  assert.equal(run.printed, 'fwy_once\n');
  assert.equal(run.told, 'ci: in force, pull+push prod/**\nits secret, which is not shown again:\n');
});

test('account create: a secret of one’s own comes by standard input, and is not printed', async () => {
  const run = open([{ status: 201, json: { account: ENTRY } }], 'a secret with blanks \n');
  await run.fairway('account', 'create', 'ada', '--password-stdin');
  assert.deepEqual(run.asked[0]?.options.body, {
    ...{ name: 'ada', kind: 'person', rights: [], secret: 'a secret with blanks ' },
  });
  assert.equal(run.printed, '');
});

test('account rotate: an hour of grace unless said otherwise', async () => {
  const made = { status: 200, json: { account: ENTRY, secret: 'fwy_next' } };
  const run = open([made]);
  await run.fairway('account', 'rotate', 'ci');
  await run.fairway('account', 'rotate', 'ci', '--grace', '0s', '--json');
  assert.deepEqual(
    run.asked.map(({ path, options }) => [path, options.body]),
    [
      ['/api/v1/accounts/ci/rotate', { graceMs: 3_600_000 }],
      ['/api/v1/accounts/ci/rotate', { graceMs: 0 }],
    ],
  );
  assert.equal(run.printed, `fwy_next\n${JSON.stringify(made.json, undefined, 2)}\n`);
});

test('account grant, disable, enable: only what was named is changed', async () => {
  const run = open([{ status: 200, json: { account: ENTRY } }]);
  await run.fairway('account', 'grant', 'ci@example.com', '--pull', '**');
  await run.fairway('account', 'grant', 'ci', '--expires', 'never');
  await run.fairway('account', 'grant', 'ci', '--none', '--expires', '1d');
  await run.fairway('account', 'disable', 'ci');
  await run.fairway('account', 'enable', 'ci');
  assert.deepEqual(
    run.asked.map(({ method, path, options }) => [method, path, options.body]),
    [
      [
        'PATCH',
        '/api/v1/accounts/ci%40example.com',
        { rights: [{ repositories: ['**'], actions: ['pull'] }] },
      ],
      ['PATCH', '/api/v1/accounts/ci', { expiresMs: null }],
      ['PATCH', '/api/v1/accounts/ci', { rights: [], expiresMs: NOW_MS + DAY_MS }],
      ['PATCH', '/api/v1/accounts/ci', { disabled: true }],
      ['PATCH', '/api/v1/accounts/ci', { disabled: false }],
    ],
  );
});

test('account ls: a table for people, JSON for scripts, a sentence where there is none', async () => {
  const disabled = { ...ENTRY, name: 'old', state: 'disabled', rights: [], conflict: true };
  const run = open([{ status: 200, json: { accounts: [ENTRY, disabled] } }]);
  await run.fairway('account', 'ls');
  assert.deepEqual(
    run.printed.split('\n').map((line) => line.split(/ {2,}/)),
    [
      ['NAME', 'KIND', 'STATE', 'MAY', 'SECRETS', 'CHANGED BY', 'AT'],
      ['ci', 'robot', 'in force', 'pull+push prod/**', '0', 'administrator', '2026-01-31T12:00:00.000Z'],
      ['old', 'robot', 'disabled, IN CONFLICT', 'nothing', '0', 'administrator', '2026-01-31T12:00:00.000Z'],
      [''],
    ],
  );
  const json = open([{ status: 200, json: { accounts: [ENTRY] } }]);
  await json.fairway('account', 'ls', '--json');
  assert.deepEqual(JSON.parse(json.printed), { accounts: [ENTRY] });
  const none = open([{ status: 200, json: { accounts: [] } }]);
  await none.fairway('account', 'ls');
  assert.match(none.printed, /^No accounts/);
});

test('account: every command has help with examples', async () => {
  for (const command of ['create', 'rotate', 'grant', 'disable', 'enable', 'ls']) {
    const run = open();
    await assert.rejects(run.fairway('account', command, '--help'), { code: 'commander.helpDisplayed' });
    assert.match(run.printed, /Examples:\n.*fairway account/s);
    assert.match(run.printed, /--json/);
  }
});
