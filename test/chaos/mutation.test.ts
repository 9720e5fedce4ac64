/**
 * The command, as people call it, and the production core broken on purpose: each mutation must be found within a few
 * hundred seeds, or the simulation would not find the same fault made by accident. Every run is a process of its own,
 * since a mutation stays in the process that loaded it.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { MUTATIONS, mutated } from '#chaos/mutation.ts';

const ROOT = join(import.meta.dirname, '../..');
const MUTATION_SEEDS = 300;

type Ran = { readonly code: number; readonly out: string; readonly err: string };

function simulate(...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, ['chaos/main.ts', ...args], { cwd: ROOT }, (error, out, err) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === 'number') resolve({ code, out, err });
      else reject(error);
    });
  });
}

test('simulate: a wrong call exits 2 and says what is wrong', async () => {
  const wrong: readonly (readonly [args: readonly string[], says: RegExp])[] = [
    [['--seeds', '0'], /--seeds takes a whole number from 1, not "0"/],
    [['--seed', 'x'], /--seed takes a whole number/],
    [['--scenario', 'nonsense'], /"nonsense" is no scenario; there are default, calm/],
    [['--mutation', 'nonsense'], /"nonsense" is no mutation; there are ack-before-commit/],
    [['--nonsense'], /--nonsense/],
    [['nonsense'], /nonsense/],
  ];
  for (const [args, says] of wrong) {
    const { code, out, err } = await simulate(...args);
    assert.deepEqual([code, out], [2, ''], args.join(' '));
    assert.match(err, says);
  }
});

test('simulate: a mutation whose statement is gone fails loudly', () => {
  const edit = { file: 'claims-core.ts', find: 'a + b', put: 'a - b' };
  assert.throws(() => mutated('a * b', edit), /has the statement to mutate 0 times/);
  assert.throws(() => mutated('a + b; a + b', edit), /2 times/);
  assert.equal(mutated('x = a + b;', edit), 'x = a - b;');
});

for (const name of Object.keys(MUTATIONS)) {
  test(`simulate: the mutation ${name} is found within ${MUTATION_SEEDS} seeds`, async () => {
    const { code, out } = await simulate('--mutation', name, '--seeds', String(MUTATION_SEEDS));
    assert.equal(code, 0, out);
    assert.match(out, /^violated: [IP]\d+ in seed \d+: /m);
    assert.match(
      out,
      new RegExp(`^replay: npm run simulate -- --seed \\d+ --scenario default --mutation ${name}$`, 'm'),
    );
  });
}

test('simulate: the line that it prints replays the violation', async () => {
  const { out } = await simulate('--mutation', 'drop-context', '--seeds', String(MUTATION_SEEDS));
  const [, violated] = /^violated: (.*)$/m.exec(out) ?? [];
  const [, replay] = /^replay: npm run simulate -- (.*)$/m.exec(out) ?? [];
  assert.ok(violated !== undefined && replay !== undefined);
  const again = await simulate(...replay.split(' '));
  assert.equal(again.code, 0);
  assert.ok(again.out.includes(`violated: ${violated}`));
});

test('simulate: a healthy core holds, and the last line says how much was run', async () => {
  const { code, out } = await simulate('--seeds', '5', '--scenario', 'partition');
  assert.equal(code, 0, out);
  assert.match(out.trimEnd().split('\n').at(-1) ?? '', /^seeds=5 events\/s=\d+ hash=[0-9a-f]{16}$/);
});

test('simulate: --json is one object with what was seen', async () => {
  const { code, out } = await simulate('--seeds', '3', '--json');
  assert.equal(code, 0, out);
  const result = JSON.parse(out);
  assert.equal(result.seeds, 3);
  assert.equal(result.scenario, 'default');
  assert.ok(result.marks.acknowledged > 0);
});

test('simulate: --help names every scenario and mutation and exits 0', async () => {
  const { code, out } = await simulate('--help');
  assert.equal(code, 0);
  for (const word of ['examples:', 'crash-heavy', ...Object.keys(MUTATIONS)])
    assert.ok(out.includes(word), word);
});
