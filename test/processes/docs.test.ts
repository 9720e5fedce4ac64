/**
 * The documentation, followed to the letter: every command of its pages is run against one mesh of three regions, in
 * the order of the page, and prints what the page says; its metrics are those of a live region, and the other way
 * round. Ports are those of the mesh instead of 5001 …; the data folder is `.fairway` in the working folder.
 *
 * A region that a page kills is started again after the block, as `fairway up` does.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { RegionName } from '#domain/region.ts';
import { readMeshConfig } from '#node/config.ts';
import { DockerEngine } from '#test/clients/docker-engine.ts';
import { writeBuildContext } from '#test/clients/image-folder.ts';
import {
  type Block,
  blocksOf,
  codeIn,
  comparable,
  docsPages,
  outputPattern,
  type Page,
  ROOT,
  type Script,
  scriptsOf,
  tableUnder,
} from '#test/docs/pages.ts';
import { fieldsOf } from '#test/docs/yaml-fields.ts';
import { requires } from '#test/requirements.ts';
import { type MeshUnderTest, startMesh } from './mesh-under-test.ts';
import { makeImage, pushImage } from './registry-calls.ts';

/** The order in which somebody reads: later pages use what is pushed on the first one. */
const PAGES = ['getting-started', 'clients', 'policies', 'conflicts', 'tls', 'edge', 'operations'].map(
  (name) => `docs/${name}.md`,
);
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  docker: ['root', 'docker', 'dockerd', 'busybox'],
  skopeo: ['skopeo'],
  curl: ['curl'],
  pgrep: ['pgrep'],
};
const BLOCK_TIMEOUT_MS = 180_000;
const hasDocker = requires(...(PROGRAMS['docker'] ?? [])).skip === false;

describe('docs', () => {
  let folder: string;
  let mesh: MeshUnderTest;
  let engine: DockerEngine | undefined;
  let environment: NodeJS.ProcessEnv;
  let ended = Promise.withResolvers<RegionName>();

  before(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'fairway-docs-')));
    await writeFolder(folder);
    const { regions, links } = readMeshConfig(join(ROOT, 'docs/examples/mesh.yaml'));
    mesh = await startMesh({
      ...{ regions: regions.map(({ name }) => name), granted: regions, links },
      data: join(folder, '.fairway'),
      onUnexpectedEnd: (region) => ended.resolve(region),
    });
    engine = hasDocker ? await startDocker(folder) : undefined;
    environment = await environmentFor(folder, engine);
    // Stands in for what docker pushes, where there is no docker. A tag that docker then moved might be read old.
    if (engine === undefined) await pushImage(mesh.url(0), 'demo/alpine', '1', makeImage(1000, 50_000));
    // Readers need longer than a mesh to find each other.
    await bash('until npx fairway status; do sleep 1; done', { cwd: folder, env: environment });
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await mesh?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  /** Page addresses to those of the mesh. */
  const translated = (text: string) =>
    text.replaceAll(/\b127\.0\.0\.1:5(\d)(\d\d)\b/g, (_all, hundreds: string, rest: string) => {
      return `127.0.0.1:${mesh.basePort + 100 * Number(hundreds) + Number(rest)}`;
    });

  const runScript = async (script: Script) => {
    const { code, printed } = await bash(translated(script.text), { cwd: folder, env: environment });
    assert.equal(code, Number(script.marks.get('exit') ?? 0), `it printed:\n${printed}`);
    if (script.output !== undefined && script.output.notRun === undefined) {
      assert.match(comparable(printed), outputPattern(translated(script.output.text)));
    }
    if (!script.text.includes('kill -9')) return;
    await mesh.mesh.startRegion(await ended.promise);
    ended = Promise.withResolvers();
  };

  test('docs: every page is read', () => {
    assert.deepEqual(
      docsPages().map((page) => page.path),
      PAGES.toSorted(),
    );
  });

  for (const path of PAGES) {
    const blocks = blocksOf(pageOf(path));
    const scripts = new Map(scriptsOf(blocks).map((script) => [script.line, script]));
    for (const block of blocks) {
      const script = scripts.get(block.line);
      const file = block.marks.get('file');
      if (file !== undefined) {
        test(nameOf(block), async () => await writeBelow(folder, file, translated(block.text)));
      }
      if (script !== undefined) test(nameOf(script), skipOf(script), async () => await runScript(script));
    }
  }

  test('docs: the distance of the example is felt', async () => {
    const roundTrips = await metricsOf(mesh);
    const measured = roundTrips.find(
      ({ name, labels }) => name === 'fairway_mesh_round_trip_seconds' && labels['peer'] === 'us-east',
    );
    assert.ok((measured?.value ?? 0) >= 0.09, JSON.stringify(measured));
  });

  test('docs: the table of metrics is what a region serves', async () => {
    const documented = tableUnder(pageOf('docs/operations.md'), 'Table of metrics').map(
      ([name = '', type = '', labels = '']) => ({
        name: codeIn(name)[0] ?? '',
        type,
        labels: codeIn(labels).toSorted(),
      }),
    );
    const text = await metricsText(mesh);
    const served = [...text.matchAll(/^# TYPE (fairway_\w+) (\w+)$/gm)].map(([, name = '', type = '']) => ({
      name,
      type,
    }));
    const byName = (a: { readonly name: string }, b: { readonly name: string }) => (a.name < b.name ? -1 : 1);
    assert.deepEqual(documented.map(({ name, type }) => ({ name, type })).sort(byName), served.sort(byName));
    for (const { name, labels } of await metricsOf(mesh)) {
      const row = documented.find(
        (one) => name.replace(/_(?:bucket|sum|count)$/, '') === one.name || name === one.name,
      );
      const given = Object.keys(labels).filter((label) => label !== 'le');
      assert.deepEqual(given.sort(), row?.labels, `labels of ${name}`);
    }
  });

  test('docs: the table of NodeConfig fields has all that fairway up writes', async () => {
    const documented = tableUnder(pageOf('docs/operations.md'), 'NodeConfig fields').flatMap(([field = '']) =>
      codeIn(field),
    );
    const written = fieldsOf(await readFile(join(mesh.region(0).folder, 'node.yaml'), 'utf8'));
    assert.ok(written.length > 10);
    assert.deepEqual(
      written.filter((field) => !documented.includes(field)),
      [],
    );
  });
});

function pageOf(path: string): Page {
  const page = docsPages().find((candidate) => candidate.path === path);
  assert.ok(page !== undefined, `${path} is missing`);
  return page;
}

function nameOf(block: Block): string {
  const [first = ''] = block.text.split('\n');
  return `docs: ${block.page}:${block.line}: ${first}`;
}

/** What cannot be run on this machine, with the reason. */
function skipOf(script: Script): { readonly skip: string | false } {
  const words = `${script.text} ${script.marks.get('needs') ?? ''} `;
  const programs = Object.entries(PROGRAMS).flatMap(([word, needed]) =>
    new RegExp(`(?<![\\w./:-])${word}\\s`).test(words) ? needed : [],
  );
  return requires(...programs);
}

/** What stands in a clone, as far as the pages name it, and an `npx` that runs this checkout's command. */
async function writeFolder(folder: string): Promise<void> {
  for (const name of ['docs', 'policies']) await symlink(join(ROOT, name), join(folder, name));
  await mkdir(join(folder, 'bin'));
  const npx = [
    '#!/bin/sh',
    'test "$1" = fairway || exit 127',
    'shift',
    `exec "${process.execPath}" "${join(ROOT, 'node/cli/fairway.ts')}" "$@"`,
    '',
  ];
  await writeFile(join(folder, 'bin', 'npx'), npx.join('\n'), { mode: 0o755 });
}

async function writeBelow(folder: string, name: string, text: string): Promise<void> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

/** With an image that has the name of the one that the pages take for granted. */
async function startDocker(folder: string): Promise<DockerEngine> {
  const engine = await DockerEngine.start();
  const context = join(folder, 'build');
  await writeBuildContext(context, 'hello', 300_000);
  await engine.docker('build', '--quiet', '--tag', 'alpine', context);
  return engine;
}

async function environmentFor(folder: string, engine: DockerEngine | undefined): Promise<NodeJS.ProcessEnv> {
  const path = `${join(folder, 'bin')}:${process.env['PATH']}`;
  const common = { ...process.env, PATH: path, HOME: folder, NODE_NO_WARNINGS: '1' };
  if (engine === undefined) return common;
  const { stdout } = await engine.docker('context', 'inspect', '--format', '{{.Endpoints.docker.Host}}');
  return { ...common, DOCKER_HOST: stdout.trim(), DOCKER_CONFIG: join(folder, 'docker') };
}

/** Standard output and error in the order in which a reader would see them. */
async function bash(
  script: string,
  options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<{ readonly code: number; readonly printed: string }> {
  const command = ['-euo', 'pipefail', '-c', `exec 2>&1\n${script}`];
  return await new Promise((resolve) => {
    execFile('bash', command, { ...options, timeout: BLOCK_TIMEOUT_MS }, (error, printed) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), printed });
    });
  });
}

async function metricsText(mesh: MeshUnderTest): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${mesh.region(0).management.port}/metrics`);
  assert.equal(response.status, 200);
  return await response.text();
}

type Series = {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
};

async function metricsOf(mesh: MeshUnderTest): Promise<readonly Series[]> {
  const lines = (await metricsText(mesh)).matchAll(/^(fairway_\w+)(?:\{(.*)\})? (\S+)$/gm);
  return [...lines].map(([, name = '', labels = '', value]) => ({
    name,
    labels: Object.fromEntries(
      [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((match) => [match[1], match[2]]),
    ),
    value: Number(value),
  }));
}
