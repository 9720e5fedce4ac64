/**
 * Accounts as real clients use them: docker signs in (and keeps a refresh token instead of the secret), pushes where
 * it may, is refused where it may not; skopeo brings its secret along with each call, or none.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { AccountWithSecret } from '#access/account-editor.ts';
import { managementOf, metricOf, until } from '#test/processes/management.ts';
import { type MeshUnderTest, startMesh } from '#test/processes/mesh-under-test.ts';
import { requires } from '#test/requirements.ts';
import { DockerEngine } from './docker-engine.ts';
import { writeBuildContext, writeTwoPlatformLayout } from './image-folder.ts';

const run = promisify(execFile);
const DENIED = /denied|unauthorized|authentication required|forbidden/i;

describe('client accounts', requires('root', 'docker', 'dockerd', 'skopeo', 'busybox'), () => {
  let folder: string;
  let mesh: MeshUnderTest;
  let engine: DockerEngine;
  let secret: string;

  const host = (position: number) => `127.0.0.1:${mesh.region(position).registry.port}`;
  const account = async (name: string, ...rights: readonly object[]) => {
    const { status, json } = await (await managementOf(mesh.region(0))).request('POST', '/api/v1/accounts', {
      body: { name, rights },
    });
    assert.equal(status, 201, JSON.stringify(json));
    return (json as AccountWithSecret).secret ?? '';
  };
  const change = async (name: string, body: object) => {
    const { status } = await (await managementOf(mesh.region(0))).request(
      'PATCH',
      `/api/v1/accounts/${name}`,
      {
        body,
      },
    );
    assert.equal(status, 200);
  };
  const login = (position: number, password: string) =>
    engine.docker('login', '--username', 'ci', '--password', password, host(position));
  const skopeo = async (...args: readonly string[]) => await run('skopeo', ['--insecure-policy', ...args]);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fairway-auth-'));
    mesh = await startMesh();
    engine = await DockerEngine.start();
    secret = await account('ci', { repositories: ['prod/**'], actions: ['pull', 'push'] });
    await account('anonymous', { repositories: ['prod/public/**'], actions: ['pull'] });
    const authorization = `Basic ${Buffer.from(`ci:${secret}`).toString('base64')}`;
    for (const position of [0, 1, 2]) {
      const ping = () => fetch(`${mesh.url(position)}/v2/`, { headers: { authorization } });
      await until('the account is there', async () => (await ping()).status === 200);
    }
    await writeBuildContext(join(folder, 'app'), 'signed in', 1_000_000);
    await engine.docker('build', '--quiet', '--tag', 'app', join(folder, 'app'));
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await mesh?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
    assert.deepEqual(mesh.ended, []);
  });

  test('docker: a wrong secret does not sign in, and without signing in nothing is pushed', async () => {
    await assert.rejects(login(0, `${secret}x`), DENIED);
    await engine.docker('tag', 'app', `${host(0)}/prod/app:1`);
    await assert.rejects(engine.docker('push', `${host(0)}/prod/app:1`), DENIED);
    await assert.rejects(engine.docker('pull', `${host(0)}/prod/app:1`), DENIED);
  });

  test('docker: signed in, it pushes where it may and mounts, and is denied where it may not', async () => {
    await login(0, secret);
    await engine.docker('push', `${host(0)}/prod/app:1`);
    await engine.docker('tag', 'app', `${host(0)}/prod/public/app:1`);
    await engine.docker('push', `${host(0)}/prod/public/app:1`);
    await engine.docker('tag', 'app', `${host(0)}/team/app:1`);
    await assert.rejects(engine.docker('push', `${host(0)}/team/app:1`), DENIED);
  });

  test('docker: with the same account it pulls from another region and runs', async () => {
    await login(1, secret);
    await engine.docker('rmi', '--force', `${host(0)}/prod/app:1`);
    await engine.docker('pull', `${host(1)}/prod/app:1`);
    const { stdout } = await engine.docker('run', '--rm', '--network', 'none', `${host(1)}/prod/app:1`);
    assert.equal(stdout, 'signed in\n');
  });

  test('docker: it goes on with its refresh token, and not after the account was disabled', async () => {
    const series = 'fairway_http_requests_total{server="registry",route="token",method="POST",status="2xx"}';
    const before = await metricOf(mesh.region(1), series);
    await engine.docker('pull', `${host(1)}/prod/app:1`);
    assert.ok((await metricOf(mesh.region(1), series)) > before, 'docker posts a refresh token');
    await change('ci', { disabled: true });
    await until('it is refused', async () =>
      engine.docker('pull', `${host(1)}/prod/app:1`).then(
        () => false,
        (thrown: Error) => DENIED.test(thrown.message),
      ),
    );
    await change('ci', { disabled: false });
    await until('it is let in', async () =>
      engine.docker('pull', `${host(1)}/prod/app:1`).then(
        () => true,
        () => false,
      ),
    );
  });

  test('skopeo: copies with its secret, and without one what is public', async () => {
    const layout = join(folder, 'layout');
    await writeTwoPlatformLayout(layout);
    const plain = '--dest-tls-verify=false';
    const to = (name: string) => [
      'copy',
      '--all',
      plain,
      `oci:${layout}:both`,
      `docker://${host(2)}/${name}`,
    ];
    await assert.rejects(skopeo(...to('prod/multi:1')), DENIED);
    await skopeo(...to('prod/multi:1'), '--dest-creds', `ci:${secret}`);
    await assert.rejects(skopeo(...to('team/multi:1'), '--dest-creds', `ci:${secret}`), DENIED);
    const inspect = (name: string) =>
      skopeo('inspect', '--raw', '--tls-verify=false', `docker://${host(2)}/${name}`);
    await inspect('prod/public/app:1');
    await assert.rejects(inspect('prod/app:1'), DENIED);
  });
});
