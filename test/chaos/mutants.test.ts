/** Mutants made by machine: where they cut, what they leave alone, and that a trial tells a broken core from a whole one. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { applied, type Mutant, mutantsOf } from '#chaos/mutants/mutant.ts';

const ROOT = join(import.meta.dirname, '../..');

function broken(source: string): readonly string[] {
  return mutantsOf('some.ts', source).map((mutant) => applied(source, mutant));
}

test('mutants: comparisons, logic and arithmetic are changed in place, types and all', () => {
  assert.deepEqual(broken('const a: boolean = b < (c as number);'), [
    'const a: boolean = b <= (c as number);',
  ]);
  assert.deepEqual(broken('const a = b === c;'), ['const a = b !== c;']);
  assert.deepEqual(broken('const a = !b;'), ['const a = b;']);
  assert.deepEqual(broken('const a = b && c;'), ['const a = b || c;']);
  assert.deepEqual(broken('const a = b - c;'), ['const a = c - b;', 'const a = b + c;']);
});

test('mutants: operands and branches are swapped, statements and guards dropped', () => {
  assert.deepEqual(broken('const a = f(b, c.d);'), ['const a = f(c.d, b);']);
  assert.deepEqual(broken('const a = b ? c : d;'), ['const a = b ? d : c;']);
  assert.deepEqual(broken('f(1);'), [';']);
  assert.deepEqual(broken('function f() { if (a) return 1; return 2; }'), ['function f() { ; return 2; }']);
});

test('mutants: assertions, texts and what errors say are left alone', () => {
  assert.deepEqual(broken("assert.ok(a < b, 'no');"), []);
  assert.deepEqual(broken('assert(a < b);'), []);
  assert.deepEqual(broken("const a = 'b' + c;"), []);
  assert.deepEqual(broken('function f() { throw new Error(String(a - b)); }'), []);
});

test('mutants: a text that is not the one it was made from is refused', () => {
  const [mutant] = mutantsOf('some.ts', 'const a = b < c;');
  assert.throws(
    () => applied('const a = bb < c;', mutant as Mutant),
    /mesh\/claims\/some\.ts:1 is not what it was/,
  );
});

test('mutants: a trial names who caught a deadly mutant', async () => {
  const file = 'claim-view.ts';
  const source = readFileSync(join(ROOT, 'mesh/claims', file), 'utf8');
  const mutant = mutantsOf(file, source).find(({ was, put }) => was === '===' && put === '!==');
  assert.ok(mutant !== undefined);
  const trial = join(ROOT, 'chaos/mutants/trial.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [trial, JSON.stringify(mutant)]);
  assert.match((JSON.parse(stdout) as { caughtBy: string }).caughtBy, /^(?:test "|[IP]\d+ in seed )/);
});

test('mutants: a wrong call exits with 2', async () => {
  const main = join(ROOT, 'chaos/mutants/main.ts');
  for (const args of [['--sample', 'x'], ['--file', 'none.ts'], ['--nonsense']]) {
    await assert.rejects(promisify(execFile)(process.execPath, [main, ...args]), { code: 2 });
  }
});
