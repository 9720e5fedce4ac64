/**
 * cosign with a key pair and nothing but the registry: no transparency log, no authority of the network. A signature
 * is kept under a tag of the signed digest, or as a referrer; either is verified in another region.
 */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { requires } from '#test/requirements.ts';
import { ACCOUNT, type AccountMesh, startAccountMesh } from './account-mesh.ts';
import { writeImageLayout, writeTwoPlatformLayout } from './image-folder.ts';

const DENIED = /unauthorized|denied/i;
/** Signing without the network: no services of sigstore are looked up, and nothing is logged. */
const OFFLINE = ['--yes', '--use-signing-config=false', '--tlog-upload=false'];
const VERIFY = ['--insecure-ignore-tlog=true'];

describe('client cosign', requires('cosign', 'skopeo'), () => {
  let mesh: AccountMesh;

  before(async () => {
    mesh = await startAccountMesh();
    await cosign('generate-key-pair');
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
  });

  const cosign = (...args: readonly string[]) =>
    mesh.run('env', 'COSIGN_PASSWORD=of a test', 'COSIGN_EXPERIMENTAL=1', 'cosign', ...args);
  const signIn = async () => {
    for (const position of [0, 1, 2]) {
      const account = ['--username', ACCOUNT, '--password', mesh.secret];
      await cosign('login', ...account, mesh.host(position));
    }
  };
  /** An image in the first region; its digest. */
  const push = async (repository: string) => {
    const layout = join(mesh.folder, repository.replaceAll('/', '-'));
    const digest = await writeImageLayout(layout, 'it', 1000);
    await mesh.run(
      ...['skopeo', '--insecure-policy', 'copy', '--dest-tls-verify=false'],
      ...['--dest-creds', `${ACCOUNT}:${mesh.secret}`, `oci:${layout}:it`],
      `docker://${mesh.host(0)}/${repository}:1`,
    );
    return digest;
  };
  const sign = (name: string, ...args: readonly string[]) =>
    cosign('sign', '--key', 'cosign.key', ...OFFLINE, ...args, name);
  const verify = (name: string, ...args: readonly string[]) =>
    cosign('verify', '--key', 'cosign.pub', ...VERIFY, ...args, name);

  test('cosign: without signing in it may not sign', async () => {
    const digest = await push('team/refused');
    await assert.rejects(sign(`${mesh.host(0)}/team/refused@${digest}`), DENIED);
  });

  test('cosign: what is not signed, and what another key signed, does not verify', async () => {
    await signIn();
    const digest = await push('team/forged');
    await assert.rejects(verify(`${mesh.host(1)}/team/forged:1`), /no signatures found/);
    await cosign('generate-key-pair', '--output-key-prefix', 'other');
    await cosign('sign', '--key', 'other.key', ...OFFLINE, `${mesh.host(0)}/team/forged@${digest}`);
    await mesh.settled();
    await assert.rejects(verify(`${mesh.host(1)}/team/forged:1`), /failed to verify signature/);
  });

  test('skopeo: an index that is signed under a tag is copied with its signature', async () => {
    await signIn();
    const layout = join(mesh.folder, 'index');
    const digest = await writeTwoPlatformLayout(layout);
    const settings = join(mesh.folder, 'registries.d');
    await mkdir(settings);
    await writeFile(join(settings, 'all.yaml'), 'default-docker:\n  use-sigstore-attachments: true\n');
    const global = ['--insecure-policy', '--registries.d', settings];
    const creds = (side: 'src' | 'dest') => [
      `--${side}-tls-verify=false`,
      `--${side}-creds=${ACCOUNT}:${mesh.secret}`,
    ];
    const skopeo = (...args: readonly string[]) => mesh.run('skopeo', ...global, 'copy', '--all', ...args);
    await skopeo(...creds('dest'), `oci:${layout}:both`, `docker://${mesh.host(0)}/team/index:1`);
    await sign(`${mesh.host(0)}/team/index@${digest}`, '--new-bundle-format=false');
    const [from, to] = [`docker://${mesh.host(1)}/team/index:1`, `docker://${mesh.host(2)}/mirror/index:1`];
    await skopeo(...creds('src'), ...creds('dest'), from, to);
    await mesh.settled();
    await verify(`${mesh.host(0)}/mirror/index@${digest}`, '--new-bundle-format=false');
  });

  for (const [how, repository, args, checks, tags] of [
    ['under a tag', 'team/tagged', ['--new-bundle-format=false'], ['--new-bundle-format=false'], 2],
    [
      'as a referrer',
      'team/referred',
      ['--new-bundle-format=false', '--registry-referrers-mode=oci-1-1'],
      ['--new-bundle-format=false', '--experimental-oci11'],
      1,
    ],
    ['as a bundle', 'team/bundled', [], [], 1],
  ] as const) {
    test(`cosign: a signature ${how} is made here and verified there`, async () => {
      await signIn();
      const digest = await push(repository);
      await sign(`${mesh.host(0)}/${repository}@${digest}`, ...args);
      await mesh.settled();
      const listed = await mesh.fetch(1, `/v2/${repository}/tags/list`);
      assert.equal(((await listed.json()) as { tags: string[] }).tags.length, tags);
      const referrers = await mesh.fetch(2, `/v2/${repository}/referrers/${digest}`);
      const { manifests } = (await referrers.json()) as { manifests: unknown[] };
      assert.equal(manifests.length, 2 - tags);
      for (const position of [1, 2]) {
        const { stdout } = await verify(`${mesh.host(position)}/${repository}:1`, ...checks);
        assert.ok(stdout.includes(digest), stdout);
      }
    });
  }
});
