/**
 * A real containerd: signs in by the challenge of each request (it never goes to `/v2/`), pushes an index here, pulls
 * it there, goes on at the same byte after a connection that ended early, and takes the next host of a hosts.toml.
 */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { requires } from '#test/requirements.ts';
import { ACCOUNT, type AccountMesh, startAccountMesh } from './account-mesh.ts';
import { ContainerdEngine } from './containerd-engine.ts';
import { openCuttingRelay } from './cutting-relay.ts';
import { writeImageLayout, writeTwoPlatformLayout } from './image-folder.ts';

describe('client containerd', requires('root', 'containerd', 'ctr', 'tar'), () => {
  let mesh: AccountMesh;
  let engine: ContainerdEngine;
  let user: readonly string[];

  before(async () => {
    mesh = await startAccountMesh();
    engine = await ContainerdEngine.start(mesh);
    user = ['--plain-http', '--user', `${ACCOUNT}:${mesh.secret}`];
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await mesh?.[Symbol.asyncDispose]();
  });

  /** Imports a layout as `<host>/<repository>:<its name>`. */
  const importLayout = async (layout: string, base: string) => {
    const archive = `${layout}.tar`;
    await mesh.run('tar', '-C', layout, '-cf', archive, '.');
    await engine.ctr('images', 'import', '--no-unpack', '--all-platforms', '--base-name', base, archive);
  };
  const pull = (...args: readonly string[]) =>
    engine.ctr('images', 'pull', '--snapshotter', 'native', ...args);
  /** Removes an image with its content, so that the next pull fetches everything. */
  const forget = (name: string) => engine.ctr('images', 'rm', '--sync', name);

  test('containerd: without an account it may neither push nor pull, and is told at once', async () => {
    const name = `${mesh.host(0)}/team/refused:both`;
    const layout = join(mesh.folder, 'refused');
    await writeTwoPlatformLayout(layout);
    await importLayout(layout, `${mesh.host(0)}/team/refused`);
    const refused = /authorization failed|unauthorized|401/i;
    await assert.rejects(engine.ctr('images', 'push', '--plain-http', name), refused);
    await assert.rejects(pull('--plain-http', name), refused);
    const wrong = ['--plain-http', '--user', `${ACCOUNT}:x${mesh.secret}`];
    await assert.rejects(engine.ctr('images', 'push', ...wrong, name), refused);
    await forget(name);
  });

  test('containerd: an index pushed to one region keeps its digest when it is pulled from another', async () => {
    const layout = join(mesh.folder, 'both');
    const digest = await writeTwoPlatformLayout(layout);
    await importLayout(layout, `${mesh.host(0)}/team/both`);
    await engine.ctr('images', 'push', ...user, `${mesh.host(0)}/team/both:both`);
    await forget(`${mesh.host(0)}/team/both:both`);
    const name = `${mesh.host(1)}/team/both:both`;
    await pull(...user, '--all-platforms', name);
    const { stdout } = await engine.ctr('images', 'ls', `name==${name}`);
    assert.ok(stdout.includes(digest), stdout);
    assert.match(stdout, /linux\/amd64/);
    assert.match(stdout, /linux\/arm64/);
    await pull(...user, `${mesh.host(2)}/team/both@${digest}`);
  });

  test('containerd: after an end in the middle of a layer it goes on at the same byte', async () => {
    const layout = join(mesh.folder, 'large');
    const digest = await writeImageLayout(layout, 'large', 20_000_000);
    await importLayout(layout, `${mesh.host(0)}/team/large`);
    await engine.ctr('images', 'push', ...user, `${mesh.host(0)}/team/large:large`);
    await forget(`${mesh.host(0)}/team/large:large`);
    await using relay = await openCuttingRelay(mesh.mesh.region(2).registry.port);
    relay.cutAfter(8_000_000);
    const name = `127.0.0.1:${relay.port}/team/large:large`;
    await pull(...user, name);
    assert.equal(relay.cuts, 1);
    const start = Number(/^bytes=(\d+)-$/.exec(relay.ranges[0] ?? '')?.[1]);
    assert.ok(start > 1_000_000 && start <= 8_000_000, `it went on at ${relay.ranges}`);
    const { stdout } = await engine.ctr('images', 'ls', `name==${name}`);
    assert.ok(stdout.includes(digest), stdout);
  });

  test('containerd: with a hosts.toml it takes the next region when the first one is down', async () => {
    const folder = join(mesh.folder, 'hosts', 'fairway.example');
    await mkdir(folder, { recursive: true });
    const host = (port: number) => [
      `[host."http://127.0.0.1:${port}"]`,
      '  capabilities = ["pull", "resolve"]',
    ];
    // Port 1 is closed.
    const file = [...host(1), ...host(mesh.mesh.region(1).registry.port), ''].join('\n');
    await writeFile(join(folder, 'hosts.toml'), file);
    const hosts = ['--hosts-dir', join(mesh.folder, 'hosts'), '--user', `${ACCOUNT}:${mesh.secret}`];
    const name = 'fairway.example/team/both:both';
    await pull(...hosts, '--platform', 'linux/arm64', name);
    const { stdout } = await engine.ctr('images', 'ls', `name==${name}`);
    assert.ok(stdout.includes(String(await mesh.digestAt(0, 'team/both:both'))), stdout);
  });
});
