/**
 * Accounts over three regions as processes: made by the command in one region, in force in all; disabled in all
 * within seconds, also where one was down meanwhile; and no secret in any log or file.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { AccountEntry } from '#access/account-editor.ts';
import type { Change } from '#http/views.ts';
import { until } from './management.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';
import { makeImage, type TestImage } from './registry-calls.ts';

const run = promisify(execFile);
const FAIRWAY = join(import.meta.dirname, '..', '..', 'node', 'cli', 'fairway.ts');
const [EU, , AP] = REGIONS as [(typeof REGIONS)[0], (typeof REGIONS)[0], (typeof REGIONS)[0]];
const WITHIN_MS = 5000;

describe('accounts', () => {
  let mesh: MeshUnderTest;
  let secret: string;

  const fairway = async (...args: readonly string[]) => {
    const all = [FAIRWAY, ...args, '--data', mesh.data];
    return (await run(process.execPath, all, { maxBuffer: 16 * 1024 * 1024 })).stdout;
  };
  const basic = (name: string, word: string) => `Basic ${Buffer.from(`${name}:${word}`).toString('base64')}`;
  const status = async (position: number, path: string, authorization: string, method = 'GET') =>
    (await fetch(`${mesh.url(position)}${path}`, { method, headers: { authorization } })).status;
  const token = async (position: number, scope: string, authorization: string) => {
    const query = new URLSearchParams({ service: 'fairway', scope, offline_token: 'true' });
    const reply = await fetch(`${mesh.url(position)}/token?${query}`, { headers: { authorization } });
    assert.equal(reply.status, 200);
    const { access_token, refresh_token } = (await reply.json()) as Record<string, string>;
    return { access: `Bearer ${access_token}`, refresh: refresh_token ?? '' };
  };
  const push = async (position: number, repository: string, image: TestImage, authorization: string) => {
    const url = `${mesh.url(position)}/v2/${repository}`;
    const headers = { authorization };
    for (const { digest, bytes } of image.blobs) {
      const body = new Uint8Array(bytes);
      const reply = await fetch(`${url}/blobs/uploads/?digest=${digest}`, { method: 'POST', headers, body });
      if (reply.status !== 201) return reply.status;
    }
    const reply = await fetch(`${url}/manifests/v1`, {
      method: 'PUT',
      headers: { ...headers, 'content-type': 'application/vnd.oci.image.manifest.v1+json' },
      body: new Uint8Array(image.manifest),
    });
    return reply.status;
  };

  before(async () => {
    mesh = await startMesh();
    secret = (
      await fairway('account', 'create', 'ci', '--robot', '--push', 'prod/**', '--region', EU)
    ).trim();
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
    assert.deepEqual(mesh.ended, []);
  });

  test('accounts: made in one region, every region lets it in, and nobody else', async () => {
    for (const position of [0, 1, 2]) {
      await until(
        'the account is there',
        async () => (await status(position, '/v2/', basic('ci', secret))) === 200,
      );
      assert.equal((await fetch(`${mesh.url(position)}/v2/`)).status, 401);
      assert.equal(await status(position, '/v2/', basic('ci', `${secret}x`)), 401);
    }
  });

  test('accounts: a token of one region pushes in another and pulls from the third', async () => {
    const image = makeImage(300_000);
    const { access } = await token(0, 'repository:prod/app:pull,push', basic('ci', secret));
    await until('the key is there', async () => (await status(1, '/v2/', access)) === 200);
    assert.equal(await push(1, 'prod/app', image, access), 201);
    assert.equal(await push(1, 'team/app', image, access), 403);
    assert.equal(await status(2, '/v2/prod/app/manifests/v1', access), 200);
    for (const { digest } of image.blobs) {
      assert.equal(await status(2, `/v2/prod/app/blobs/${digest}`, access), 200);
    }
    assert.equal(await status(2, '/v2/team/app/manifests/v1', access), 403);
  });

  test('accounts: the log says who pushed where, and who made the account', async () => {
    const read = async (...args: readonly string[]) =>
      (JSON.parse(await fairway('log', '--json', ...args)) as { changes: Change[] }).changes;
    const pushed = await read('--repository', 'prod/**');
    assert.deepEqual(
      pushed.map(({ who, region, kind, change }) => [who, region, kind, change]),
      [
        ['ci', 'us-east', 'tag', 'set'],
        ['ci', 'us-east', 'manifest', 'set'],
      ],
    );
    const made = (await read('--who', 'administrator')).map(({ kind, name, region }) => [kind, name, region]);
    assert.deepEqual(made, [['account', 'ci', 'eu-west']]);
    assert.match(await fairway('log', '--since', '1h'), /ci +tag set +prod\/app:v1/);
  });

  test('accounts: a disable ends passwords, tokens and refresh tokens in all regions within seconds', async () => {
    const { access, refresh } = await token(2, 'repository:prod/app:pull', basic('ci', secret));
    const uses = async (position: number) => [
      await status(position, '/v2/prod/app/manifests/v1', access),
      await status(position, '/v2/prod/app/manifests/v1', basic('ci', secret)),
      (
        await fetch(`${mesh.url(position)}/token`, {
          method: 'POST',
          body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refresh }),
        })
      ).status,
    ];
    for (const position of [0, 1, 2]) assert.deepEqual(await uses(position), [200, 200, 200]);
    const started = performance.now();
    await fairway('account', 'disable', 'ci', '--region', AP);
    for (const position of [0, 1, 2]) {
      await until('it is refused', async () => (await uses(position)).every((answer) => answer === 401));
    }
    assert.ok(performance.now() - started < WITHIN_MS, `it took ${performance.now() - started} ms`);
    await fairway('account', 'enable', 'ci', '--region', AP);
    for (const position of [0, 1, 2]) {
      await until('it is let in', async () => (await uses(position)).every((answer) => answer === 200));
    }
  });

  test('accounts: a region that was down refuses what was disabled meanwhile, as soon as it hears', async () => {
    const other = (await fairway('account', 'create', 'temp', '--pull', '**', '--region', EU)).trim();
    await until('it is everywhere', async () => (await status(2, '/v2/', basic('temp', other))) === 200);
    await mesh.mesh.kill(AP, 'SIGKILL');
    await fairway('account', 'disable', 'temp', '--region', EU);
    await mesh.mesh.startRegion(AP);
    await until('it is refused', async () => (await status(2, '/v2/', basic('temp', other))) === 401);
    const { accounts } = JSON.parse(await fairway('account', 'ls', '--json', '--region', AP)) as {
      accounts: AccountEntry[];
    };
    assert.deepEqual(
      accounts.map(({ name, state }) => [name, state]),
      [
        ['ci', 'in-force'],
        ['temp', 'disabled'],
      ],
    );
  });

  test('accounts: no secret and no token is in any log or file of any region', async () => {
    const { access, refresh } = await token(0, 'repository:prod/app:pull', basic('ci', secret));
    assert.equal(await status(0, '/v2/', basic('ci', `${secret}-wrong`)), 401);
    const words = [secret.slice(4), access.slice(-60), refresh.slice(-60)];
    const looked: string[] = [];
    for (const { folder } of mesh.mesh.regions) {
      for (const name of readdirSync(folder)) {
        const path = join(folder, name);
        if (!statSync(path).isFile()) continue;
        looked.push(name);
        const text = readFileSync(path, 'latin1');
        for (const word of words) assert.ok(!text.includes(word), `${path} holds a secret`);
      }
      assert.equal(statSync(join(folder, 'signing-key.json')).mode & 0o777, 0o600);
    }
    assert.equal(looked.filter((name) => name === 'node.log').length, 3);
    assert.match(readFileSync(join(mesh.region(0).folder, 'node.log'), 'utf8'), /sign-in refused/);
  });
});
