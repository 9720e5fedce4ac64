/** `fairway up` as its user meets it: starts, stops, starts again, and says in one line why it cannot. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { freeBasePort } from './mesh-under-test.ts';
import { makeImage, pullImage, pushImage } from './registry-calls.ts';

const FAIRWAY = join(import.meta.dirname, '..', '..', 'node', 'cli', 'fairway.ts');

type Up = {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
};

function fairway(...args: readonly string[]): Up {
  const child = spawn(process.execPath, [FAIRWAY, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  return { child, output: () => chunks.join(''), ended };
}

async function untilServing(up: Up): Promise<void> {
  while (!up.output().includes('Ctrl-C stops')) {
    const ended = await Promise.race([
      up.ended,
      once(up.child.stdout ?? process.stdin, 'data').then(() => 'data'),
    ]);
    if (ended !== 'data') throw new Error(`fairway up ended:\n${up.output()}`);
  }
}

async function temporary() {
  const folder = await mkdtemp(join(tmpdir(), 'fairway-up-'));
  return { folder, [Symbol.asyncDispose]: async () => await rm(folder, { recursive: true, force: true }) };
}

test('up: serves three regions, ends within 5 s of one Ctrl-C, and finds everything again', async () => {
  await using data = await temporary();
  const base = await freeBasePort(3);
  const args = ['up', '--data', data.folder, '--base-port', String(base)];
  const first = fairway(...args);
  await untilServing(first);
  for (const region of ['eu-west', 'us-east', 'ap-south'])
    assert.match(first.output(), new RegExp(`${region} +127`));
  const image = makeImage(1000, 50_000);
  await pushImage(`http://127.0.0.1:${base + 1}`, 'demo/app', '1', image);

  const status = fairway('status', '--data', data.folder, '--json');
  await status.ended;
  const answers = JSON.parse(status.output()) as { region: string; status?: { mesh: string } }[];
  assert.deepEqual(
    answers.map((answer) => answer.region),
    ['eu-west', 'us-east', 'ap-south'],
  );

  const askedMs = performance.now();
  first.child.kill('SIGINT');
  assert.equal(await first.ended, 0, first.output());
  assert.ok(performance.now() - askedMs < 5000, 'it ended within 5 s');

  const second = fairway(...args);
  await untilServing(second);
  for (const position of [1, 2, 3]) {
    assert.equal(await pullImage(`http://127.0.0.1:${base + position}`, 'demo/app', '1'), image.digest);
  }
  second.child.kill('SIGINT');
  assert.equal(await second.ended, 0, second.output());
});

test('up: a port in use is one clear line and exit code 1', async () => {
  await using data = await temporary();
  const base = await freeBasePort(3);
  const squatter = createServer().listen(base + 2, '127.0.0.1');
  await once(squatter, 'listening');
  const up = fairway('up', '--data', data.folder, '--base-port', String(base));
  assert.equal(await up.ended, 1);
  squatter.close();
  const lines = up.output().trim().split('\n');
  assert.equal(lines.length, 1, up.output());
  assert.match(lines[0] ?? '', new RegExp(`us-east.*127\\.0\\.0\\.1:${base + 2}.*in use`));
});

test('up: a data folder that cannot be made is one clear line and exit code 1', async () => {
  await using data = await temporary();
  const file = join(data.folder, 'file');
  await writeFile(file, '');
  const up = fairway('up', '--data', join(file, 'below'), '--base-port', String(await freeBasePort(3)));
  assert.equal(await up.ended, 1);
  assert.equal(up.output().trim().split('\n').length, 1, up.output());
  assert.match(up.output(), /data folder .*below/);
});

test('up: a second instance on the same folder is refused, and the first goes on', async () => {
  await using data = await temporary();
  const base = await freeBasePort(3);
  const first = fairway('up', '--data', data.folder, '--base-port', String(base));
  await untilServing(first);
  const second = fairway('up', '--data', data.folder, '--base-port', String(await freeBasePort(3)));
  assert.equal(await second.ended, 1);
  assert.equal(second.output().trim().split('\n').length, 1, second.output());
  assert.match(second.output(), /another fairway process uses/);
  assert.equal((await fetch(`http://127.0.0.1:${base + 1}/v2/`)).status, 200);
  first.child.kill('SIGINT');
  assert.equal(await first.ended, 0);
});

test('up: called wrongly is exit code 2', async () => {
  for (const args of [
    ['up', '--regions', 'three'],
    ['up', '--base-port', '99999'],
    ['up', '--unknown'],
    ['nonsense'],
  ]) {
    const up = fairway(...args);
    assert.equal(await up.ended, 2, `${args.join(' ')}: ${up.output()}`);
  }
});

test('up: a MeshConfig with a mistake names file, line and column', async () => {
  await using data = await temporary();
  const file = join(data.folder, 'mesh.yaml');
  await writeFile(
    file,
    'apiVersion: fairway/v1\nkind: MeshConfig\nmetadata: {name: x}\nspec:\n  regions: [{name: EU}]\n',
  );
  const up = fairway('up', file, '--data', data.folder);
  assert.equal(await up.ended, 1);
  assert.match(up.output(), /mesh\.yaml:5:20: .*EU/);
});

test('up: region folders hold their own keys, readable by the owner only', async () => {
  await using data = await temporary();
  const up = fairway(
    'up',
    '--data',
    data.folder,
    '--regions',
    '1',
    '--base-port',
    String(await freeBasePort(1)),
  );
  await untilServing(up);
  const key = await readFile(join(data.folder, 'eu-west', 'tls', 'key.pem'), 'utf8');
  assert.match(key, /PRIVATE KEY/);
  up.child.kill('SIGINT');
  assert.equal(await up.ended, 0);
});

test('node: an address that others may reach is refused, unless plain HTTP there is asked for', async () => {
  await using data = await temporary();
  const up = fairway(
    'up',
    '--data',
    data.folder,
    '--regions',
    '1',
    '--base-port',
    String(await freeBasePort(1)),
  );
  await untilServing(up);
  up.child.kill('SIGINT');
  assert.equal(await up.ended, 0);
  const file = join(data.folder, 'eu-west', 'node.yaml');
  const open = (await readFile(file, 'utf8')).replace(/registry: 127\.0\.0\.1/, 'registry: 0.0.0.0');
  await writeFile(file, open);
  const node = fairway('node', '--config', file);
  assert.equal(await node.ended, 1);
  assert.match(node.output(), /spec\.listen\.registry is 0\.0\.0\.0.*insecurePlainHttp/);
});
