/**
 * The table of clients in docs/clients.md against the list of what is tested, and the list against what is installed.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { docsPages, ROOT, tableUnder } from '#test/docs/pages.ts';
import { requires, searchPath } from '#test/requirements.ts';
import { TESTED_CLIENTS, UNTESTED_CLIENTS } from './tested-clients.ts';

const page = docsPages().find(({ path }) => path === 'docs/clients.md');
const rows = page === undefined ? [] : tableUnder(page, 'What is tested');

test('clients: the table of the documentation names those that are tested, in their versions', () => {
  const documented = rows.map(([name, version]) => `${name} ${version}`);
  const listed = [...TESTED_CLIENTS, ...UNTESTED_CLIENTS].map(({ name, version }) => `${name} ${version}`);
  assert.deepEqual(documented, listed);
});

test('clients: each row leads to a test that runs the client', () => {
  for (const { name, prints } of TESTED_CLIENTS) {
    const files = rows.find(([documented]) => documented === name)?.at(-1) ?? '';
    const paths = [...files.matchAll(/`([\w.-]+\.test\.ts)`/g)].map(([, file]) =>
      join(ROOT, 'test', 'clients', file ?? ''),
    );
    assert.ok(paths.length > 0 && paths.every(existsSync), `the files of ${name}: ${files}`);
    for (const path of paths) {
      const [needs = ''] = /requires\([^)]*\)/.exec(readFileSync(path, 'utf8')) ?? [];
      assert.ok(needs.includes(`'${prints.command[0]}'`), `${path} does not require ${prints.command[0]}`);
    }
  }
});

for (const { name, version, prints } of TESTED_CLIENTS) {
  const [program, ...args] = prints.command;
  test(`clients: ${name} is installed in version ${version}`, requires(program), (context) => {
    const { stdout, stderr } = spawnSync(program, args, {
      encoding: 'utf8',
      env: { ...process.env, PATH: searchPath() },
    });
    const installed = prints.pattern.exec(`${stdout}${stderr}`)?.[1] ?? 'none';
    if (!isSame(installed, version) && process.env['CI'] === undefined) {
      context.skip(`here it is ${installed}; the tests ran with that one`);
      return;
    }
    assert.ok(isSame(installed, version), `${installed} is installed`);
  });
}

for (const { name, reason } of UNTESTED_CLIENTS) {
  test(`clients: ${name} signs in, pushes and pulls`, { skip: `Go cannot install it: ${reason}` });
}

/** One is the other, or its beginning. */
function isSame(one: string, other: string): boolean {
  const [short, long] = [one, other].sort((a, b) => a.length - b.length);
  return `${long}.`.startsWith(`${short}.`);
}
