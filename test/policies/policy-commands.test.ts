/** `fairway policy` as people and scripts call it: what is printed where, and how it ends. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Command, CommanderError } from 'commander';
import { WrongCallError } from '#cli/exit.ts';
import type { CallOptions } from '#cli/management-calls.ts';
import { registerPolicyCommands } from '#cli/policy.ts';
import { temporaryFolder } from '#test/storage/temporary.ts';

const GOOD =
  'apiVersion: fairway/v1\nkind: UpstreamRegistry\nmetadata: {name: hub}\nspec: {url: "https://a"}\n';
const OTHER = GOOD.replace('hub', 'other');
const BAD = GOOD.replace('url', 'ur');

type Answer = { readonly status: number; readonly json: unknown };
type Asked = { readonly method: string; readonly path: string; readonly options: CallOptions | undefined };

test('policy validate: problems of all files, one a line, and exit code 1', async () => {
  await using run = await openRun({ 'a.yaml': BAD, 'b.yaml': 'kind: Nothing\n' });
  await run.fairway('policy', 'validate', run.path('a.yaml'), run.path('b.yaml'));
  assert.deepEqual(run.lines('complaints'), [
    `${run.path('a.yaml')}:4:1: missing key "spec.url"`,
    `${run.path('a.yaml')}:4:8: unknown key "spec.ur"; did you mean "url"?`,
    `${run.path('b.yaml')}:1:7: unknown kind "Nothing"; expected one of ReplicationPolicy, ProxyCache, UpstreamRegistry (fairway/v1)`,
  ]);
  assert.deepEqual([run.exitCode, run.printed, run.asked], [1, '', []]);
});

test('policy validate: the same policy in two files is a problem of the second', async () => {
  await using run = await openRun({ 'a.yaml': GOOD, 'b.yaml': GOOD });
  await run.fairway('policy', 'validate', run.path('a.yaml'), run.path('b.yaml'));
  assert.deepEqual(run.lines('complaints'), [
    `${run.path('b.yaml')}:3:18: UpstreamRegistry/hub stands twice; the other one is at ${run.path('a.yaml')}:3:18`,
  ]);
});

test('policy validate: problems as JSON', async () => {
  await using run = await openRun({ 'a.yaml': BAD });
  await run.fairway('policy', 'validate', '--json', run.path('a.yaml'));
  const { problems } = JSON.parse(run.printed) as { problems: { line: number; column: number }[] };
  assert.deepEqual(
    problems.map(({ line, column }) => [line, column]),
    [
      [4, 1],
      [4, 8],
    ],
  );
  assert.deepEqual([run.exitCode, run.complaints], [1, '']);
});

test('policy validate: a file that is not there, and no file at all, are wrong calls', async () => {
  await using run = await openRun({});
  await assert.rejects(run.fairway('policy', 'validate', run.path('none.yaml')), WrongCallError);
  await assert.rejects(run.fairway('policy', 'validate'), CommanderError);
  await assert.rejects(run.fairway('policy', 'rm'), CommanderError);
});

test('policy validate: what is valid is said, and exit code 0', async () => {
  await using run = await openRun({ 'a.yaml': GOOD });
  await run.fairway('policy', 'validate', run.path('a.yaml'));
  assert.deepEqual(run.lines('printed'), [`${run.path('a.yaml')}: UpstreamRegistry/hub is valid`]);
  assert.equal(run.exitCode, 0);
});

test('policy apply: what is wrong by itself never reaches the mesh', async () => {
  await using run = await openRun({ 'a.yaml': GOOD, 'b.yaml': BAD });
  await run.fairway('policy', 'apply', run.path('a.yaml'), run.path('b.yaml'));
  assert.deepEqual([run.exitCode, run.asked], [1, []]);
});

test('policy apply: several files are one call, and what the mesh refuses is placed in the right file', async () => {
  const place = (line: number) => ({ file: 'policies', line, column: 7, message: 'no' });
  const problems = [place(1), place(4), place(6), place(9), { ...place(3), file: 'ProxyCache/x' }];
  const answer = { status: 422, json: { error: { code: 'POLICY_REFUSED', message: 'no', problems } } };
  await using run = await openRun({ 'a.yaml': GOOD.trimEnd(), 'b.yaml': `\uFEFF${OTHER}` }, [answer]);
  await run.fairway('policy', 'apply', run.path('a.yaml'), run.path('b.yaml'));
  assert.deepEqual(run.asked[0]?.options?.body, `${GOOD}...\n${OTHER}...\n`);
  assert.deepEqual(run.lines('complaints'), [
    `${run.path('a.yaml')}:1:7: no`,
    `${run.path('a.yaml')}:4:7: no`,
    `${run.path('b.yaml')}:1:7: no`,
    `${run.path('b.yaml')}:4:7: no`,
    'ProxyCache/x:3:7: no',
  ]);
  assert.deepEqual([run.exitCode, run.printed], [1, '']);
});

test('policy apply: another failure is an error with what the region said', async () => {
  const answer = { status: 503, json: { error: { code: 'UNAVAILABLE', message: 'disk full' } } };
  await using run = await openRun({ 'a.yaml': GOOD }, [answer]);
  await assert.rejects(run.fairway('policy', 'apply', run.path('a.yaml')), /^Error: disk full$/);
});

test('policy apply: says what became of each policy', async () => {
  const applied = [{ kind: 'UpstreamRegistry', name: 'hub', change: 'created' }];
  await using run = await openRun({ 'a.yaml': GOOD }, [
    { status: 200, json: { applied } },
    { status: 200, json: { applied } },
  ]);
  await run.fairway('policy', 'apply', run.path('a.yaml'));
  assert.deepEqual(run.lines('printed'), ['UpstreamRegistry/hub created']);
  assert.deepEqual(run.asked, [
    {
      method: 'POST',
      path: '/api/v1/policies',
      options: { query: { file: run.path('a.yaml') }, body: GOOD },
    },
  ]);
  run.printed = '';
  await run.fairway('policy', 'apply', run.path('a.yaml'), '--json');
  assert.deepEqual(JSON.parse(run.printed), { applied });
});

test('policy ls: the policies in force, as a table and as JSON', async () => {
  const policies = [
    {
      kind: 'ProxyCache',
      name: 'hub',
      document: 'a: 1\n',
      appliedBy: 'ann',
      appliedIn: 'eu-west',
      appliedMs: 0,
    },
  ];
  await using run = await openRun({}, [
    { status: 200, json: { policies: [] } },
    { status: 200, json: { policies } },
    { status: 200, json: { policies } },
  ]);
  await run.fairway('policy', 'ls');
  assert.match(run.printed, /^No policies/);
  run.printed = '';
  await run.fairway('policy', 'ls');
  assert.deepEqual(run.lines('printed'), [
    'KIND        NAME  APPLIED IN  BY   AT',
    'ProxyCache  hub   eu-west     ann  1970-01-01T00:00:00.000Z',
  ]);
  run.printed = '';
  await run.fairway('policy', 'ls', '--json');
  assert.deepEqual(JSON.parse(run.printed), { policies });
});

test('policy rm: one that is not there is an error, one that is needed a problem', async () => {
  const problems = [{ file: 'ProxyCache/x', line: 2, column: 3, message: 'needs it' }];
  await using run = await openRun({}, [
    { status: 404, json: { error: { code: 'NOT_FOUND', message: 'no policy is named x' } } },
    { status: 422, json: { error: { code: 'POLICY_REFUSED', message: '', problems } } },
  ]);
  await assert.rejects(run.fairway('policy', 'rm', 'x'), /no policy is named x/);
  await run.fairway('policy', 'rm', 'UpstreamRegistry/hub');
  assert.deepEqual(run.lines('complaints'), ['ProxyCache/x:2:3: needs it']);
  assert.equal(run.exitCode, 1);
});

test('policy rm: asks for the name as one part of the path, and says that it is gone', async () => {
  await using run = await openRun({}, [{ status: 204, json: undefined }]);
  await run.fairway('policy', 'rm', 'ProxyCache/hub', '--server', 'http://127.0.0.1:5101');
  assert.deepEqual(
    [run.asked[0]?.method, run.asked[0]?.path],
    ['DELETE', '/api/v1/policies/ProxyCache%2Fhub'],
  );
  assert.deepEqual([run.lines('printed'), run.exitCode], [['ProxyCache/hub removed'], 0]);
  assert.equal(run.server, 'http://127.0.0.1:5101');
});

for (const command of ['validate', 'apply', 'ls', 'rm']) {
  test(`policy ${command}: its help has examples`, async () => {
    await using run = await openRun({});
    await assert.rejects(run.fairway('policy', command, '--help'), {
      code: 'commander.helpDisplayed',
      exitCode: 0,
    });
    assert.match(run.help, new RegExp(`Examples:\n  fairway policy ${command}`));
    assert.match(run.help, /--json/);
  });
}

async function openRun(files: Readonly<Record<string, string>>, answers: readonly Answer[] = []) {
  const folder = await temporaryFolder();
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder.path, name), text);
  const asked: Asked[] = [];
  const run = {
    printed: '',
    complaints: '',
    help: '',
    exitCode: 0,
    server: '' as string | undefined,
    asked,
    path: (name: string) => join(folder.path, name),
    lines: (of: 'printed' | 'complaints') => run[of].split('\n').slice(0, -1),
    async fairway(...args: readonly string[]): Promise<void> {
      const program = new Command('fairway').exitOverride();
      program.configureOutput({
        writeErr: () => undefined,
        writeOut: (text) => {
          run.help += text;
        },
      });
      registerPolicyCommands(program, {
        connect: ({ server }) => {
          run.server = server;
          return { request };
        },
        print: (text) => {
          run.printed += text;
        },
        complain: (text) => {
          run.complaints += text;
        },
        fail: () => {
          run.exitCode = 1;
        },
      });
      await program.parseAsync(args, { from: 'user' });
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
  const request = async (method: string, path: string, options?: CallOptions): Promise<Answer> => {
    asked.push({ method, path, options });
    return answers[asked.length - 1] ?? assert.fail('it asked too often');
  };
  return run;
}
