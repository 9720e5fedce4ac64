/**
 * regctl: announces digest algorithms, follows referrers by the API, deletes single tags, and asks for blobs by HEAD.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { requires } from '#test/requirements.ts';
import { ACCOUNT, type AccountMesh, startAccountMesh } from './account-mesh.ts';
import { writeImageLayout, writeTwoPlatformLayout } from './image-folder.ts';

const DENIED = /unauthorized|denied/i;

describe('client regctl', requires('regctl'), () => {
  let mesh: AccountMesh;

  before(async () => {
    mesh = await startAccountMesh();
    for (const position of [0, 1, 2]) {
      await regctl('registry', 'set', mesh.host(position), '--tls', 'disabled');
    }
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
  });

  const regctl = async (...args: readonly string[]) => (await mesh.run('regctl', ...args)).stdout.trim();
  const signIn = async () => {
    for (const position of [0, 1, 2]) {
      const account = ['--user', ACCOUNT, '--pass', mesh.secret];
      await regctl('registry', 'login', mesh.host(position), ...account);
    }
  };
  const put = async (position: number, name: string) => {
    const layout = join(mesh.folder, name.replaceAll(/\W/g, '-'));
    const digest = await writeImageLayout(layout, 'it', 5000);
    await regctl('image', 'copy', `ocidir://${layout}:it`, `${mesh.host(position)}/${name}`);
    return digest;
  };

  test('regctl: without signing in it may neither write nor read', async () => {
    await assert.rejects(put(0, 'team/refused:1'), DENIED);
    await assert.rejects(regctl('tag', 'ls', `${mesh.host(0)}/team/refused`), DENIED);
    await assert.rejects(regctl('repo', 'ls', mesh.host(0)), DENIED);
  });

  test('regctl: an index keeps its digest, and another one is made out of two images', async () => {
    await signIn();
    const layout = join(mesh.folder, 'both');
    const digest = await writeTwoPlatformLayout(layout);
    await regctl('image', 'copy', `ocidir://${layout}:both`, `${mesh.host(0)}/team/both:1`);
    const head = ['manifest', 'head', '--require-digest'];
    assert.equal(await regctl(...head, `${mesh.host(1)}/team/both:1`), digest);
    await put(0, 'team/made:a');
    await put(0, 'team/made:b');
    const refs = ['a', 'b'].flatMap((tag) => ['--ref', `${mesh.host(1)}/team/made:${tag}`]);
    await regctl('index', 'create', `${mesh.host(1)}/team/made:both`, ...refs);
    const index = JSON.parse(
      await regctl('manifest', 'get', '--format', 'raw-body', `${mesh.host(2)}/team/made:both`),
    ) as { manifests: { digest: string }[] };
    assert.deepEqual(
      index.manifests.map((child) => child.digest),
      [await mesh.digestAt(0, 'team/made:a'), await mesh.digestAt(0, 'team/made:b')],
    );
  });

  test('regctl: a blob is put by either algorithm and found by a probe', async () => {
    await signIn();
    const bytes = Buffer.from('a blob of its own');
    const file = join(mesh.folder, 'blob');
    await writeFile(file, bytes);
    for (const algorithm of ['sha256', 'sha512'] as const) {
      const digest = digestOf(bytes, algorithm);
      const repository = `${mesh.host(0)}/team/blobs`;
      await assert.rejects(regctl('blob', 'head', repository, digest), /not found/i);
      const { stdout } = await withInput(['blob', 'put', '--digest', digest, repository], file);
      assert.equal(stdout.trim(), digest);
      assert.match(await regctl('blob', 'head', repository, digest), new RegExp(`${bytes.length}`));
    }
  });

  /** regctl reads a blob from its standard input. */
  const withInput = (args: readonly string[], file: string) =>
    mesh.run('sh', '-c', 'input=$1; shift; exec regctl "$@" < "$input"', 'sh', file, ...args);

  test('regctl: an artifact of a subject is listed, filtered, and copied with its image', async () => {
    await signIn();
    await put(0, 'team/app:1');
    const file = join(mesh.folder, 'report');
    await writeFile(file, 'nothing found');
    for (const type of ['application/vnd.example.report', 'application/vnd.example.other']) {
      const artifact = ['--artifact-type', type, '--file', file, '--subject', `${mesh.host(0)}/team/app:1`];
      await regctl('artifact', 'put', ...artifact);
    }
    await mesh.settled();
    const list = async (position: number, repository: string, ...filter: readonly string[]) => {
      const format = ['--format', '{{range .Descriptors}}{{println .ArtifactType}}{{end}}'];
      const name = `${mesh.host(position)}/${repository}:1`;
      return (await regctl('artifact', 'list', ...format, ...filter, name)).split('\n').sort();
    };
    const types = ['application/vnd.example.other', 'application/vnd.example.report'];
    assert.deepEqual(await list(1, 'team/app'), types);
    const one = ['--filter-artifact-type', 'application/vnd.example.report'];
    assert.deepEqual(await list(2, 'team/app', ...one), ['application/vnd.example.report']);
    const copy = ['image', 'copy', '--referrers'];
    await regctl(...copy, `${mesh.host(1)}/team/app:1`, `${mesh.host(2)}/mirror/app:1`);
    await mesh.settled();
    assert.deepEqual(await list(0, 'mirror/app'), types);
    const fallback = await mesh.fetch(0, '/v2/mirror/app/tags/list');
    assert.deepEqual(((await fallback.json()) as { tags: string[] }).tags, ['1'], 'no fallback tag was made');
  });

  test('regctl: a tag that it removes is gone, and only that tag', async () => {
    await signIn();
    const digest = await put(0, 'team/tags:1');
    await regctl('image', 'copy', `${mesh.host(0)}/team/tags:1`, `${mesh.host(0)}/team/tags:2`);
    await mesh.settled();
    await regctl('tag', 'rm', `${mesh.host(1)}/team/tags:1`);
    assert.equal(await regctl('tag', 'ls', `${mesh.host(1)}/team/tags`), '2');
    await mesh.settled();
    assert.equal(await mesh.digestAt(0, 'team/tags:2'), digest);
    assert.equal(await mesh.digestAt(2, 'team/tags:1'), undefined);
    assert.ok((await regctl('repo', 'ls', mesh.host(2))).split('\n').includes('team/tags'));
  });
});
