/**
 * The documentation against what needs no mesh: links, YAML by the real parsers, tables of fields, events and error
 * codes. Its commands are run, and its metrics looked up, by `test/processes/docs.test.ts`.
 */
import assert from 'node:assert/strict';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ERROR_STATUS } from '#domain/errors.ts';
import { readMeshConfig, readNodeConfig } from '#node/config.ts';
import { parsePolicies } from '#policies/parse.ts';
import { resolvePolicies } from '#policies/policy-set.ts';
import { PolicyProblems } from '#policies/problem.ts';
import { jsonSchema } from '#policies/schema.ts';
import {
  allPages,
  anchorsOf,
  type Block,
  blocksOf,
  codeIn,
  docsPages,
  linksOf,
  type Page,
  ROOT,
  tableUnder,
} from './pages.ts';
import { fieldsOf } from './yaml-fields.ts';

const blocks = docsPages().flatMap(blocksOf);
const examples = globSync('docs/examples/*.yaml', { cwd: ROOT });

function pageOf(path: string): Page {
  const page = docsPages().find((candidate) => candidate.path === path);
  assert.ok(page !== undefined, `${path} is missing`);
  return page;
}

test('docs: there are pages, commands and YAML to look at', () => {
  assert.deepEqual(
    ['clients', 'getting-started', 'operations', 'policies'].filter(
      (name) => !docsPages().some((page) => page.path === `docs/${name}.md`),
    ),
    [],
  );
  assert.ok(blocks.filter((block) => block.language === 'sh' && block.notRun === undefined).length > 20);
  assert.ok(blocks.filter((block) => block.language === 'yaml').length > 4);
  assert.ok(examples.length > 0);
});

test('docs: every relative link leads to a file, and to a heading of it', () => {
  const pages = allPages();
  const broken = pages.flatMap((page) =>
    linksOf(page).flatMap((link) => {
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? page.path : join(dirname(page.path), path);
      if (!existsSync(join(ROOT, target))) return [`${page.path}: ${link} leads nowhere`];
      if (anchor === undefined) return [];
      const there = pages.find((candidate) => candidate.path === target);
      return there !== undefined && anchorsOf(there).has(anchor)
        ? []
        : [`${page.path}: no heading for ${link}`];
    }),
  );
  assert.deepEqual(broken, []);
});

for (const block of blocks.filter(({ language, notRun }) => language === 'yaml' && notRun === undefined)) {
  const isRefused = block.marks.has('refused');
  test(`docs: the YAML at ${block.page}:${block.line} is ${isRefused ? 'refused' : 'valid'}`, () => {
    if (isRefused) assert.throws(() => parseYaml(block.text), PolicyProblems);
    else parseYaml(block.text);
  });
}

for (const path of examples) {
  test(`docs: ${path} is valid`, () => parseYaml(readFileSync(join(ROOT, path), 'utf8')));
}

/** By the parser of what it is. @throws PolicyProblems. */
function parseYaml(text: string): void {
  const kind = /^kind: (\w+)$/m.exec(text)?.[1];
  if (kind !== 'NodeConfig' && kind !== 'MeshConfig') {
    const { problems } = resolvePolicies(parsePolicies(text, 'docs').policies, undefined);
    if (problems.length > 0) throw new PolicyProblems(problems);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'fairway-docs-'));
  try {
    const file = join(folder, 'config.yaml');
    writeFileSync(file, text);
    if (kind === 'NodeConfig') readNodeConfig(file);
    else readMeshConfig(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const kind of ['ReplicationPolicy', 'ProxyCache', 'UpstreamRegistry']) {
  test(`docs: the fields of ${kind} are those of its schema`, () => {
    const documented = fieldsUnder(pageOf('docs/policies.md'), `${kind} fields`);
    assert.deepEqual(documented, schemaFields(kind));
  });
}

test('docs: the fields of NodeConfig and MeshConfig are those of the examples', () => {
  const operations = pageOf('docs/operations.md');
  const node = blocks.find((block): block is Block => block.text.includes('kind: NodeConfig'));
  assert.deepEqual(fieldsUnder(operations, 'NodeConfig fields'), fieldsOf(node?.text ?? ''));
  const shown = ['mesh', 'edge'].flatMap((name) =>
    fieldsOf(readFileSync(join(ROOT, `docs/examples/${name}.yaml`), 'utf8')),
  );
  const documented = fieldsUnder(pageOf('docs/getting-started.md'), 'MeshConfig fields');
  assert.deepEqual(documented, [...new Set(shown)].sort());
});

function fieldsUnder(page: Page, heading: string): readonly string[] {
  return tableUnder(page, heading)
    .flatMap(([field = '']) => codeIn(field))
    .sort();
}

type Schema = {
  readonly const?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly oneOf?: readonly Schema[];
};

function schemaFields(kind: string): readonly string[] {
  const { oneOf = [] } = jsonSchema() as Schema;
  const schema = oneOf.find(({ properties }) => properties?.['kind']?.const === kind);
  const spec = schema?.properties?.['spec'];
  assert.ok(spec !== undefined, `no schema of ${kind}`);
  return propertyPaths(spec, 'spec').toSorted();
}

function propertyPaths({ properties }: Schema, path: string): readonly string[] {
  if (properties === undefined) return [path];
  return Object.entries(properties).flatMap(([key, inner]) => propertyPaths(inner, `${path}.${key}`));
}

test('docs: log events are those that the code logs', () => {
  const source = globSync('{node,mesh}/**/*.ts', { cwd: ROOT })
    .map((path) => readFileSync(join(ROOT, path), 'utf8'))
    .join('\n');
  const events = tableUnder(pageOf('docs/operations.md'), 'Log events').flatMap(([event = '']) =>
    codeIn(event),
  );
  assert.ok(events.length > 20);
  assert.deepEqual(
    events.filter((event) => !source.includes(`'${event}'`)),
    [],
  );
});

test('docs: the registry errors are all that the registry answers', () => {
  const documented = tableUnder(pageOf('docs/operations.md'), 'Registry errors').flatMap(
    ([status, codes = '']) => codeIn(codes).map((code) => ({ code, status: Number(status) })),
  );
  // Accounts and limits of rate are to come; nothing answers these yet.
  const unused = new Set(['UNAUTHORIZED', 'TOOMANYREQUESTS']);
  const usual = Object.entries(ERROR_STATUS).filter(([code]) => !unused.has(code));
  const missing = usual.filter(
    ([code, status]) => !documented.some((row) => row.code === code && row.status === status),
  );
  assert.deepEqual(missing, []);
  const known = new Set([...usual.map(([code]) => code), 'UNAVAILABLE', 'UNKNOWN']);
  assert.deepEqual(
    documented.filter(({ code }) => !known.has(code)),
    [],
  );
});
