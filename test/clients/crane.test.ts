/**
 * crane: uploads a layer by one PATCH, insists on digest, length and media type of every probe, and pages the catalog.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { requires } from '#test/requirements.ts';
import { ACCOUNT, type AccountMesh, startAccountMesh } from './account-mesh.ts';

const DENIED = /unauthorized|denied/i;

describe('client crane', requires('crane', 'tar'), () => {
  let mesh: AccountMesh;

  before(async () => {
    mesh = await startAccountMesh();
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
  });

  const crane = async (...args: readonly string[]) => (await mesh.run('crane', ...args)).stdout.trim();
  const signIn = async () => {
    for (const position of [0, 1, 2]) {
      await crane('auth', 'login', mesh.host(position), '--username', ACCOUNT, '--password', mesh.secret);
    }
  };
  const writeLayer = async (name: string) => {
    await writeFile(join(mesh.folder, name), randomBytes(400_000));
    await mesh.run('tar', '-C', mesh.folder, '-czf', join(mesh.folder, `${name}.tgz`), name);
    return join(mesh.folder, `${name}.tgz`);
  };

  test('crane: without signing in it may neither write nor read', async () => {
    const layer = await writeLayer('refused');
    const name = `${mesh.host(0)}/team/refused:1`;
    await assert.rejects(crane('append', '--new_layer', layer, '--new_tag', name), DENIED);
    await assert.rejects(crane('digest', name), DENIED);
    await assert.rejects(crane('catalog', mesh.host(0)), DENIED);
  });

  test('crane: an image is made here, and validated, changed and copied out of another region', async () => {
    await signIn();
    await crane('append', '--new_layer', await writeLayer('app'), '--new_tag', `${mesh.host(0)}/team/app:1`);
    const digest = await mesh.digestAt(0, 'team/app:1');
    assert.equal(await crane('digest', `${mesh.host(1)}/team/app:1`), digest);
    await crane('validate', '--remote', `${mesh.host(1)}/team/app:1`);
    const changed = ['--label', 'made=here', '--tag', `${mesh.host(1)}/team/app:2`];
    await crane('mutate', `${mesh.host(1)}/team/app:1`, ...changed);
    assert.match(await crane('config', `${mesh.host(2)}/team/app:2`), /"made":"here"/);
    await crane('copy', `${mesh.host(2)}/team/app:1`, `${mesh.host(0)}/mirror/app:1`);
    assert.equal(await mesh.digestAt(1, 'mirror/app:1'), digest);
    await crane('validate', '--remote', `${mesh.host(2)}/mirror/app:1`);
  });

  test('crane: it lists tags and repositories, and what it deletes is gone', async () => {
    await signIn();
    await crane('tag', `${mesh.host(2)}/team/app:1`, 'latest');
    await mesh.settled();
    assert.deepEqual((await crane('ls', `${mesh.host(2)}/team/app`)).split('\n'), ['1', '2', 'latest']);
    assert.deepEqual((await crane('catalog', mesh.host(2))).split('\n'), ['mirror/app', 'team/app']);
    await crane('delete', `${mesh.host(2)}/team/app@${await mesh.digestAt(2, 'team/app:2')}`);
    assert.deepEqual((await crane('ls', `${mesh.host(2)}/team/app`)).split('\n'), ['1', 'latest']);
    await mesh.settled();
    await assert.rejects(crane('digest', `${mesh.host(0)}/team/app:2`), /MANIFEST_UNKNOWN|404/);
  });
});
