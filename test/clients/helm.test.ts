/**
 * helm, which brings the library of oras: charts as OCI artifacts, and versions resolved by listing tags, where a `+`
 * of the version is a `_` of the tag.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { requires } from '#test/requirements.ts';
import { ACCOUNT, type AccountMesh, startAccountMesh } from './account-mesh.ts';

const DENIED = /unauthorized|denied|401|basic credential not found/i;
const PLAIN = '--plain-http';

describe('client helm', requires('helm'), () => {
  let mesh: AccountMesh;

  before(async () => {
    mesh = await startAccountMesh();
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
  });

  const helm = (...args: readonly string[]) => mesh.run('helm', ...args);
  const login = (position: number, secret: string) =>
    helm('registry', 'login', PLAIN, '--username', ACCOUNT, '--password', secret, mesh.host(position));
  /** The archive of a chart. */
  const packageChart = async (version: string) => {
    const chart = join(mesh.folder, 'app');
    await mkdir(join(chart, 'templates'), { recursive: true });
    await writeFile(join(chart, 'Chart.yaml'), `apiVersion: v2\nname: app\nversion: ${version}\n`);
    await writeFile(join(chart, 'values.yaml'), 'replicas: 3\n');
    await helm('package', chart, '--destination', mesh.folder);
    return join(mesh.folder, `app-${version}.tgz`);
  };

  test('helm: a wrong secret does not sign in, and without signing in nothing is pushed or pulled', async () => {
    await assert.rejects(login(0, `${mesh.secret}x`), DENIED);
    const chart = await packageChart('0.1.0');
    await assert.rejects(helm('push', PLAIN, chart, `oci://${mesh.host(0)}/charts`), DENIED);
    await assert.rejects(helm('pull', PLAIN, `oci://${mesh.host(0)}/charts/app`), DENIED);
  });

  test('helm: charts pushed here are pulled there, by version and by the newest of a range', async () => {
    for (const position of [0, 1, 2]) await login(position, mesh.secret);
    const versions = ['1.0.0', '1.2.0+build.7', '2.0.0'];
    const archives = new Map<string, Buffer>();
    for (const version of versions) {
      const chart = await packageChart(version);
      archives.set(version, await readFile(chart));
      await helm('push', PLAIN, chart, `oci://${mesh.host(0)}/charts`);
    }
    await mesh.settled();
    for (const [position, asked, expected] of [
      [1, '1.2.0+build.7', '1.2.0+build.7'],
      [1, '^1.0.0', '1.2.0+build.7'],
      [2, '>=1.0.0', '2.0.0'],
    ] as const) {
      const out = await mkdtemp(join(mesh.folder, 'out-'));
      const from = `oci://${mesh.host(position)}/charts/app`;
      await helm('pull', PLAIN, '--version', asked, '--destination', out, from);
      assert.deepEqual(await readFile(join(out, `app-${expected}.tgz`)), archives.get(expected));
    }
    const { stdout } = await helm('show', 'values', PLAIN, `oci://${mesh.host(2)}/charts/app`);
    assert.equal(stdout.trim(), 'replicas: 3');
    const tags = (await (await mesh.fetch(1, '/v2/charts/app/tags/list')).json()) as { tags: string[] };
    assert.deepEqual(tags.tags, ['1.0.0', '1.2.0_build.7', '2.0.0']);
  });
});
