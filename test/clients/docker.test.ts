/**
 * A real dockerd and skopeo against three regions as processes: what was pushed in one is pulled and run out of the
 * others, and a region that is killed in the middle of things has lost nothing that it acknowledged.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { statusOf, until } from '#test/processes/management.ts';
import { type MeshUnderTest, REGIONS, startMesh } from '#test/processes/mesh-under-test.ts';
import { expectStatus } from '#test/processes/registry-calls.ts';
import { requires } from '#test/requirements.ts';
import { DockerEngine } from './docker-engine.ts';
import { writeBuildContext, writeTwoPlatformLayout } from './image-folder.ts';

const run = promisify(execFile);
const [EU, US, AP] = REGIONS as [(typeof REGIONS)[0], (typeof REGIONS)[0], (typeof REGIONS)[0]];
const NO_SHAPE = { delayMs: 0, bytesPerSecond: 0 };

describe('clients', requires('root', 'docker', 'dockerd', 'skopeo', 'busybox'), () => {
  let folder: string;
  let mesh: MeshUnderTest;
  let engine: DockerEngine;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fairway-clients-'));
    mesh = await startMesh();
    engine = await DockerEngine.start();
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await mesh?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
    assert.deepEqual(mesh.ended, []);
  });

  const host = (position: number) => `127.0.0.1:${mesh.region(position).registry.port}`;
  const build = async (name: string, message: string, dataBytes: number) => {
    const context = join(folder, name);
    await writeBuildContext(context, message, dataBytes);
    await engine.docker('build', '--quiet', '--tag', name, context);
    await engine.docker('tag', name, `${host(0)}/team/${name}:1`);
  };
  /** The digest that a registry answers for a tag. */
  const digestAt = async (position: number, repository: string, reference: string) => {
    const response = await fetch(`${mesh.url(position)}/v2/${repository}/manifests/${reference}`);
    await expectStatus(response, 200);
    await response.arrayBuffer();
    return response.headers.get('docker-content-digest') ?? 'none';
  };
  /** Removes what the engine has of it, so that the next pull fetches everything. */
  const forget = async (...names: readonly string[]) => {
    await engine.docker('rmi', '--force', ...names);
    await engine.docker('image', 'prune', '--all', '--force');
  };

  test('docker: pushed to one region, pulled by tag and by digest from the others, and run', async () => {
    await build('app', 'hello from every region', 8_000_000);
    await engine.docker('push', `${host(0)}/team/app:1`);
    const digest = await digestAt(0, 'team/app', '1');
    for (const position of [1, 2]) {
      await forget('app', `${host(0)}/team/app:1`).catch(() => undefined);
      await engine.docker('pull', `${host(position)}/team/app:1`);
      const { stdout } = await engine.docker(
        'run',
        '--rm',
        '--network',
        'none',
        `${host(position)}/team/app:1`,
      );
      assert.equal(stdout, 'hello from every region\n');
      assert.equal(await digestAt(position, 'team/app', '1'), digest);
      await engine.docker('pull', `${host(position)}/team/app@${digest}`);
      await forget(`${host(position)}/team/app:1`);
    }
  });

  test('skopeo: an index of two platforms keeps its digest in every region', async () => {
    const layout = join(folder, 'layout');
    const digest = await writeTwoPlatformLayout(layout);
    const copy = ['copy', '--all', '--insecure-policy'];
    await run('skopeo', [
      ...copy,
      '--dest-tls-verify=false',
      `oci:${layout}:both`,
      `docker://${host(1)}/team/multi:both`,
    ]);
    for (const position of [0, 1, 2]) {
      assert.equal(await digestAt(position, 'team/multi', 'both'), digest);
      const out = join(folder, `out-${position}`);
      await run('skopeo', [
        ...copy,
        '--src-tls-verify=false',
        `docker://${host(position)}/team/multi:both`,
        `oci:${out}:both`,
      ]);
      const index = JSON.parse(await readFile(join(out, 'index.json'), 'utf8')) as {
        manifests: { digest: string }[];
      };
      assert.equal(index.manifests[0]?.digest, digest);
    }
  });

  test('docker: a region killed in the middle of a push has lost nothing that it acknowledged', async () => {
    await build('first', 'acknowledged', 1_000_000);
    await engine.docker('push', `${host(0)}/team/first:1`);
    const digest = await digestAt(0, 'team/first', '1');
    await build('second', 'interrupted', 60_000_000);
    const push = engine.start('push', `${host(0)}/team/second:1`);
    const pushed = new Promise<number | null>((resolve) => push.once('exit', resolve));
    await sleep(400);
    await mesh.mesh.kill(EU, 'SIGKILL');
    await sleep(300);
    await mesh.mesh.startRegion(EU);
    const code = await pushed;
    assert.equal(await digestAt(0, 'team/first', '1'), digest);
    if (code !== 0) {
      const absent = await fetch(`${mesh.url(0)}/v2/team/second/manifests/1`);
      assert.equal(absent.status, 404, 'an unacknowledged push is not served');
      await engine.docker('push', `${host(0)}/team/second:1`);
    }
    const second = await digestAt(0, 'team/second', '1');
    // A region that has just started again is not reached by the others at once; until then they say so by 503.
    await until('us-east reaches eu-west again', async () => {
      const { peers } = await statusOf(mesh.region(1));
      return peers.find(({ region }) => region === EU)?.up === true;
    });
    assert.equal(await digestAt(1, 'team/second', '1'), second);
    await forget('first', 'second', `${host(0)}/team/first:1`, `${host(0)}/team/second:1`);
    await engine.docker('pull', `${host(1)}/team/second:1`);
    await engine.docker('pull', `${host(1)}/team/first:1`);
  });

  test('docker: a pull goes on from the third region when its source is killed in the middle of a blob', async () => {
    await build('large', 'from two sources', 40_000_000);
    await engine.docker('push', `${host(0)}/team/large:1`);
    await forget('large', `${host(0)}/team/large:1`);
    await engine.docker('pull', `${host(2)}/team/large:1`);
    await forget(`${host(2)}/team/large:1`);
    const before = mesh.mesh.bytes(EU, US);
    mesh.mesh.shape(EU, US, { delayMs: 0, bytesPerSecond: 10_000_000 });
    mesh.mesh.shape(AP, US, { delayMs: 200, bytesPerSecond: 0 });
    const pull = engine.docker('pull', `${host(1)}/team/large:1`);
    while (mesh.mesh.bytes(EU, US) < before + 10_000_000) await sleep(20);
    await mesh.mesh.kill(EU, 'SIGKILL');
    await pull;
    const { stdout } = await engine.docker('run', '--rm', '--network', 'none', `${host(1)}/team/large:1`);
    assert.equal(stdout, 'from two sources\n');
    assert.ok(mesh.mesh.bytes(AP, US) < 45_000_000, 'what had arrived was not sent again');
    mesh.mesh.shape(EU, US, NO_SHAPE);
    mesh.mesh.shape(AP, US, NO_SHAPE);
    await mesh.mesh.startRegion(EU);
    for (const position of [0, 1, 2]) await digestAt(position, 'team/large', '1');
  });
});
