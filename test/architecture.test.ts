/**
 * The house, enforced: who may import whom, how long a file may be, what stands where. The rooms and their steps
 * are those of ARCHITECTURE.md; a room imports only from lower steps, and siblings never see each other.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '..');
const LINES_MAX = 400;

/** Path prefix → step. The longest prefix wins. */
const STEPS: Readonly<Record<string, number>> = {
  'node/domain/': 0,
  'node/runtime/': 0,
  'protos/': 0,
  'node/storage/': 1,
  'node/client/': 1,
  'policies/': 1,
  'node/content/': 2,
  'node/access/': 2,
  'node/lifecycle/': 2,
  'node/http/': 3,
  'node/proxy/': 3,
  'node/console/': 3,
  'mesh/': 3,
  'node/': 4,
  'node/cli/': 4,
  'test/': 5,
  'chaos/': 5,
};

const BANNED_NAMES = /(?:^|[-/])(?:utils?|helpers?|common|managers?|services?|base|misc|types|index)\.ts$/;
/** Pattern → the only place where it may stand (code only: comments and strings are not looked at closely). */
const PLACES: readonly { readonly what: string; readonly pattern: RegExp; readonly only: RegExp }[] = [
  {
    what: 'clocks, timers and chance',
    pattern:
      /(?<![.\w])(?:Date\.now|new Date\(\)|performance\.now|setTimeout|setInterval|setImmediate|Math\.random|randomUUID|randomBytes)\b/,
    only: /^(?:node\/runtime|test|chaos)\//,
  },
  {
    what: 'the environment',
    pattern: /\bprocess\.env\b/,
    only: /^(?:node\/config\.ts|test\/|chaos\/|protos\/check\.ts)/,
  },
  { what: 'module-level mutable state', pattern: /^(?:export )?let /m, only: /^$/ },
  { what: 'parent imports', pattern: /from '\.\.\//, only: /^$/ },
];

type Source = { readonly path: string; readonly text: string; readonly imports: readonly string[] };

const sources: readonly Source[] = globSync('{node,mesh,policies,protos,chaos,test}/**/*.ts', { cwd: ROOT })
  .filter((path) => !path.startsWith('protos/gen/'))
  .map((path) => path.replaceAll('\\', '/'))
  .map((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    return { path, text, imports: importsOf(path, text) };
  });

function importsOf(path: string, text: string): readonly string[] {
  const { imports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    imports: Record<string, string>;
  };
  const specifiers = [...text.matchAll(/(?:from|import\()\s*'([^']+)'/g)].map((match) => match[1] ?? '');
  return specifiers.flatMap((specifier) => {
    if (specifier.startsWith('./')) return [join(path, '..', specifier)];
    const room = Object.keys(imports).find((key) => specifier.startsWith(key.slice(0, -1)));
    if (room === undefined) return [];
    return [join((imports[room] ?? '').slice(0, -1), specifier.slice(room.length - 1))];
  });
}

/** The room of a path: its longest known prefix. */
function roomOf(path: string): string {
  const found = Object.keys(STEPS)
    .filter((prefix) => path.startsWith(prefix))
    .sort((a, b) => b.length - a.length)[0];
  assert.ok(found !== undefined, `${path} stands in no room of the house`);
  return found;
}

test('architecture: there is code to look at', () => {
  assert.ok(sources.length > 20, `only ${sources.length} files found`);
  assert.ok(sources.some((source) => source.imports.length > 3));
});

test('architecture: a room imports only from lower steps, and siblings never see each other', () => {
  const wrong = sources.flatMap((source) => {
    const from = roomOf(source.path);
    return source.imports
      .filter((imported) => !mayImport(from, roomOf(imported)))
      .map((imported) => `${source.path} imports ${imported}`);
  });
  assert.deepEqual(wrong, []);
});

function mayImport(from: string, to: string): boolean {
  if (from === to) return true;
  const [stepFrom, stepTo] = [STEPS[from] ?? 0, STEPS[to] ?? 0];
  if (stepFrom === 4 || stepFrom === 5) return stepTo <= stepFrom;
  return stepTo < stepFrom;
}

test('architecture: the pure core of the claims reaches for no I/O', () => {
  const wrong = sources
    .filter((source) => source.path.startsWith('mesh/claims/') && basename(source.path) !== 'driver.ts')
    .filter(
      (source) =>
        /from '(?:#runtime|node:(?!crypto|assert))/.test(source.text) ||
        /\b(?:async|await|Promise)\b/.test(code(source)),
    );
  assert.deepEqual(
    wrong.map((source) => source.path),
    [],
  );
});

function code(source: Source): string {
  return source.text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/\/\/.*$/gm, '');
}

test(`architecture: no file is longer than ${LINES_MAX} lines`, () => {
  const wrong = sources.filter((source) => source.text.split('\n').length > LINES_MAX + 1);
  assert.deepEqual(
    wrong.map((source) => source.path),
    [],
  );
});

test('architecture: files are named for what they do', () => {
  const wrong = sources.filter(
    (source) => BANNED_NAMES.test(source.path) || /[A-Z]/.test(basename(source.path)),
  );
  assert.deepEqual(
    wrong.map((source) => source.path),
    [],
  );
});

for (const { what, pattern, only } of PLACES) {
  test(`architecture: ${what} only where they belong`, () => {
    const wrong = sources.filter(
      (source) =>
        !only.test(source.path) && source.path !== 'test/architecture.test.ts' && pattern.test(code(source)),
    );
    assert.deepEqual(
      wrong.map((source) => source.path),
      [],
    );
  });
}

test('architecture: every file that is not trivial opens with a comment', () => {
  const wrong = sources.filter((source) => !/^(?:#!.*\n)?\/\*\*/.test(source.text));
  assert.deepEqual(
    wrong.map((source) => source.path),
    [],
  );
});
