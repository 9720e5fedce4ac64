/**
 * podman, buildah and skopeo, which share a library: they take the challenge from `/v2/`, send several `Accept`
 * lines, mount without naming a source and end the uploads that they did not need.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { requires } from '#test/requirements.ts';
import { ACCOUNT, type AccountMesh, startAccountMesh } from './account-mesh.ts';
import { writeImageLayout, writeTwoPlatformLayout } from './image-folder.ts';

const DENIED = /unauthorized|authentication required|invalid username\/password|denied/i;
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const INSECURE = '--tls-verify=false';

type Manifest = {
  readonly mediaType?: string;
  readonly layers: readonly { readonly digest: string; readonly mediaType: string }[];
};

describe('client podman, buildah and skopeo', requires('root', 'podman', 'buildah', 'skopeo'), () => {
  let mesh: AccountMesh;

  before(async () => {
    mesh = await startAccountMesh();
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
  });

  /** One store of images for both, without mounts. */
  const store = () => [
    ...['--root', join(mesh.folder, 'images'), '--runroot', join(mesh.folder, 'runroot')],
    ...['--storage-driver', 'vfs'],
  ];
  const podman = (...args: readonly string[]) =>
    mesh.run('podman', ...store(), '--cgroup-manager', 'cgroupfs', '--events-backend', 'none', ...args);
  const buildah = (...args: readonly string[]) => mesh.run('buildah', ...store(), ...args);
  const skopeo = (...args: readonly string[]) => mesh.run('skopeo', '--insecure-policy', ...args);
  const signIn = (position: number, secret = mesh.secret) =>
    podman('login', INSECURE, '--username', ACCOUNT, '--password', secret, mesh.host(position));
  const manifestAt = async (position: number, name: string): Promise<Manifest> => {
    const [repository = '', tag = ''] = name.split(':');
    return (await (await mesh.fetch(position, `/v2/${repository}/manifests/${tag}`)).json()) as Manifest;
  };
  /** An image out of one file, committed under `name`. */
  const build = async (name: string, format: 'oci' | 'docker') => {
    const data = join(mesh.folder, `${name}.data`);
    await writeFile(data, randomBytes(300_000));
    const container = (await buildah('from', 'scratch')).stdout.trim();
    await buildah('copy', container, data, '/data');
    await buildah('commit', '--quiet', '--rm', '--format', format, container, name);
  };

  test('podman: a wrong secret does not sign in, and without signing in nothing is pulled or pushed', async () => {
    await assert.rejects(signIn(0, `${mesh.secret}x`), DENIED);
    await build('refused', 'oci');
    await assert.rejects(podman('push', INSECURE, 'refused', `${mesh.host(0)}/team/refused:1`), DENIED);
    await assert.rejects(podman('pull', INSECURE, `${mesh.host(0)}/team/refused:1`), DENIED);
  });

  for (const [format, mediaType] of [
    ['oci', MEDIA_TYPE.ociManifest],
    ['docker', DOCKER_MANIFEST],
  ] as const) {
    test(`buildah and podman: an image in ${format} format, built and pushed here, is pulled there`, async () => {
      for (const position of [0, 1]) await signIn(position);
      const name = `team/${format}:1`;
      await build(format, format);
      await buildah('push', '--quiet', INSECURE, format, `docker://${mesh.host(0)}/${name}`);
      assert.equal((await manifestAt(1, name)).mediaType, mediaType);
      await podman('rmi', '--force', format);
      await podman('pull', '--quiet', INSECURE, `${mesh.host(1)}/${name}`);
      const inspected = await podman('inspect', '--format', '{{.Digest}}', `${mesh.host(1)}/${name}`);
      assert.equal(inspected.stdout.trim(), await mesh.digestAt(0, name));
    });
  }

  test('podman: layers compressed by zstd are pushed here and pulled there', async () => {
    for (const position of [0, 2]) await signIn(position);
    await build('zstd', 'oci');
    const name = 'team/zstd:1';
    const push = ['push', '--quiet', INSECURE, '--compression-format', 'zstd', '--format', 'oci'];
    await podman(...push, 'zstd', `${mesh.host(0)}/${name}`);
    const [layer] = (await manifestAt(2, name)).layers;
    assert.equal(layer?.mediaType, 'application/vnd.oci.image.layer.v1.tar+zstd');
    await podman('rmi', '--force', 'zstd');
    await podman('pull', '--quiet', INSECURE, `${mesh.host(2)}/${name}`);
  });

  test('buildah: a container begins from an image of another region', async () => {
    await signIn(2);
    const { stdout } = await buildah('from', '--quiet', INSECURE, `${mesh.host(2)}/team/oci:1`);
    await buildah('rm', stdout.trim());
  });

  const creds = (side: '' | 'src-' | 'dest-') => [
    `--${side}tls-verify=false`,
    `--${side}creds`,
    `${ACCOUNT}:${mesh.secret}`,
  ];

  test('skopeo: an index is copied whole, and inspected elsewhere', async () => {
    const layout = join(mesh.folder, 'both');
    const digest = await writeTwoPlatformLayout(layout);
    const to = `docker://${mesh.host(0)}/team/both:1`;
    await skopeo('copy', '--all', '--preserve-digests', ...creds('dest-'), `oci:${layout}:both`, to);
    const copied = `docker://${mesh.host(2)}/mirror/both:1`;
    const from = `docker://${mesh.host(1)}/team/both:1`;
    await skopeo('copy', '--all', '--preserve-digests', ...creds('src-'), ...creds('dest-'), from, copied);
    assert.equal(await mesh.digestAt(0, 'mirror/both:1'), digest);
    const inspected = await skopeo('inspect', '--format', '{{.Digest}}', ...creds(''), copied);
    assert.equal(inspected.stdout.trim(), digest);
  });

  test('skopeo: list-tags follows the pages, and sync copies a repository out of another region', async () => {
    const image = join(mesh.folder, 'many');
    await writeImageLayout(image, 'many', 1000);
    const first = `docker://${mesh.host(0)}/team/many:t0000`;
    await skopeo('copy', ...creds('dest-'), `oci:${image}:many`, first);
    const manifest = await mesh.fetch(0, '/v2/team/many/manifests/t0000');
    const mediaType = manifest.headers.get('content-type') ?? '';
    const body = new Uint8Array(await manifest.arrayBuffer());
    const tags = Array.from({ length: 1003 }, (_, number) => `t${String(number).padStart(4, '0')}`);
    for (let at = 1; at < tags.length; at += 40) {
      const query = tags.slice(at, at + 40).map((tag) => `tag=${tag}`);
      const path = `/v2/team/many/manifests/${manifest.headers.get('docker-content-digest')}?${query.join('&')}`;
      const put = await mesh.fetch(0, path, { method: 'PUT', body, headers: { 'content-type': mediaType } });
      assert.equal(put.status, 201);
    }
    const listed = await skopeo('list-tags', ...creds(''), `docker://${mesh.host(0)}/team/many`);
    assert.deepEqual((JSON.parse(listed.stdout) as { Tags: string[] }).Tags, tags);
    await mesh.settled();
    const out = join(mesh.folder, 'synced');
    const sync = ['sync', '--all', '--src', 'docker', '--dest', 'dir', ...creds('src-')];
    await skopeo(...sync, `${mesh.host(1)}/team/both`, out);
    assert.deepEqual(await readdir(out), ['both:1']);
    assert.ok((await readFile(join(out, 'both:1', 'manifest.json'), 'utf8')).includes('manifests'));
  });

  test('skopeo: what it deletes in one region is gone in the others', async () => {
    const name = 'mirror/both:1';
    await skopeo('delete', ...creds(''), `docker://${mesh.host(0)}/${name}`);
    await mesh.settled();
    for (const position of [0, 1, 2]) assert.equal(await mesh.digestAt(position, name), undefined);
  });
});
