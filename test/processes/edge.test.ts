/**
 * Two core regions and an edge site that is stolen: its folder, keys and processes are in other hands, which run it
 * with a roster of their own. Whatever it writes or signs outside of its grant, nobody else takes.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPrivateKey, createPublicKey, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { parse, stringify } from 'yaml';
import { parseToken, type ResourceAccess, signToken, type TokenClaims } from '#access/token.ts';
import { parseRegionName } from '#domain/region.ts';
import type { Change } from '#http/views.ts';
import { managementOf, metricOf, until } from './management.ts';
import { type MeshUnderTest, startMesh } from './mesh-under-test.ts';
import { expectStatus, makeImage, pullImage, pushImage, putManifest } from './registry-calls.ts';

const run = promisify(execFile);
const FAIRWAY = join(import.meta.dirname, '..', '..', 'node', 'cli', 'fairway.ts');
const REGIONS = ['eu-west', 'us-east', 'shop'].map(parseRegionName);
const SHOP = parseRegionName('shop');
const GRANT = {
  repositories: ['shop/**'],
  policies: false,
  accounts: false,
  tokens: ['repository:shop/**:pull,push'],
};
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const POLICY = [
  'apiVersion: fairway/v1',
  'kind: ReplicationPolicy',
  'metadata: {name: everything-to-the-shop}',
  'spec: {select: {repositories: ["**"]}, to: {regions: [shop]}}',
].join('\n');

describe('edge', () => {
  let mesh: MeshUnderTest;
  const good = makeImage(1000);
  const evil = makeImage(1000);
  const cores = [0, 1];

  const status = async (position: number, path: string, init: RequestInit = {}) =>
    (await fetch(`${mesh.url(position)}${path}`, init)).status;
  const digestOfTag = async (position: number, name: string) => {
    const [repository, tag] = name.split(':');
    const reply = await fetch(`${mesh.url(position)}/v2/${repository}/manifests/${tag}`, {
      headers: { accept: MANIFEST },
    });
    await reply.arrayBuffer();
    return reply.headers.get('docker-content-digest') ?? reply.status;
  };
  /** Before a region is seen not to show something, its claim must have arrived there. */
  const untilRefused = async (position: number, kind: string, name: string) => {
    const api = await managementOf(mesh.region(position));
    await until(`${name} has arrived in region ${position}`, async () => {
      const { json } = await api.request('GET', '/api/v1/log', { query: { refused: 'true' } });
      const { changes } = json as { changes: Change[] };
      return changes.some((change) => change.kind === kind && change.name === name && change.refused);
    });
  };
  const applyAt = async (position: number) =>
    await (await managementOf(mesh.region(position))).request('POST', '/api/v1/policies', { body: POLICY });

  before(async () => {
    mesh = await startMesh({
      regions: REGIONS,
      granted: [{ name: SHOP, role: 'edge', grant: GRANT }],
    });
    await pushImage(mesh.url(0), 'prod/app', '1', good);
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
    assert.deepEqual(mesh.ended, []);
  });

  test('edge: its own door refuses what it is not granted, and says who grants what', async () => {
    const refused = await putManifest(mesh.url(2), 'prod/app:1', evil.manifest, MANIFEST);
    assert.equal(refused.status, 403);
    const { errors } = (await refused.json()) as { errors: { code: string; message: string }[] };
    assert.equal(errors[0]?.code, 'DENIED');
    assert.match(
      errors[0]?.message ?? '',
      /region shop may not write prod\/app: the roster grants it repositories shop/,
    );
    assert.equal(await status(2, '/v2/prod/app/blobs/uploads/', { method: 'POST' }), 403);
    assert.equal(await status(2, '/v2/prod/app/manifests/1', { method: 'DELETE' }), 403);
    const policy = await applyAt(2);
    assert.equal(policy.status, 403);
    assert.match(JSON.stringify(policy.json), /may not write policies/);
  });

  test('edge: what it is granted is found everywhere, and it pulls what the others have', async () => {
    const image = makeImage(2000);
    await pushImage(mesh.url(2), 'shop/till', '1', image);
    for (const core of cores) assert.equal(await pullImage(mesh.url(core), 'shop/till', '1'), image.digest);
    assert.equal(await pullImage(mesh.url(2), 'prod/app', '1'), good.digest);
  });

  test('edge: stolen, it writes what it likes, and no other region shows any of it', async () => {
    await steal(mesh);
    await pushImage(mesh.url(2), 'prod/app', '1', evil);
    await pushImage(mesh.url(2), 'prod/app', 'new', evil);
    assert.equal(await digestOfTag(2, 'prod/app:1'), evil.digest, 'at home it shows what it wants');
    await expectStatus(
      await fetch(`${mesh.url(2)}/v2/prod/app/manifests/${good.digest}`, { method: 'DELETE' }),
      202,
    );
    assert.equal((await applyAt(2)).status, 200);
    // What it is granted goes on arriving behind all that.
    const image = makeImage(3000);
    await pushImage(mesh.url(2), 'shop/till', '2', image);
    for (const core of cores) {
      await until(
        'the granted tag is here',
        async () => (await digestOfTag(core, 'shop/till:2')) === image.digest,
      );
      await untilRefused(core, 'policy', 'ReplicationPolicy/everything-to-the-shop');
      assert.equal(await digestOfTag(core, 'prod/app:1'), good.digest);
      assert.equal(await digestOfTag(core, 'prod/app:new'), 404);
      assert.equal(await status(core, `/v2/prod/app/manifests/${evil.digest}`), 404);
      const { json } = await (await managementOf(mesh.region(core))).request('GET', '/api/v1/policies');
      assert.deepEqual(json, { policies: [] });
      const series = 'fairway_claims_refused_total{region="shop"}';
      assert.ok((await metricOf(mesh.region(core), series)) >= 5);
    }
  });

  test('edge: what was refused is listed', async () => {
    const { stdout } = await run(process.execPath, [
      FAIRWAY,
      ...['log', '--refused', '--json', '--region', 'eu-west', '--data', mesh.data],
    ]);
    const { changes } = JSON.parse(stdout) as { changes: Change[] };
    assert.ok(changes.every(({ region, refused }) => region === 'shop' && refused));
    const names = changes.map(({ kind, name }) => `${kind} ${name}`);
    for (const name of ['tag 1', 'tag new', 'policy ReplicationPolicy/everything-to-the-shop']) {
      assert.ok(names.includes(name), names.join());
    }
  });

  test('edge: what it writes behind a restart of a core region is refused as well', async () => {
    await mesh.mesh.kill(REGIONS[1] ?? SHOP, 'SIGTERM');
    await pushImage(mesh.url(2), 'prod/app', 'late', evil);
    await mesh.mesh.startRegion(REGIONS[1] ?? SHOP);
    const image = makeImage(500);
    await pushImage(mesh.url(2), 'shop/till', '3', image);
    await until(
      'the granted tag is here',
      async () => (await digestOfTag(1, 'shop/till:3')) === image.digest,
    );
    await untilRefused(1, 'tag', 'late');
    assert.equal(await digestOfTag(1, 'prod/app:late'), 404);
    assert.equal(await digestOfTag(1, 'prod/app:1'), good.digest);
  });

  test('edge: accounts that it makes are no accounts elsewhere', async () => {
    const api = await managementOf(mesh.region(2));
    const made = await api.request('POST', '/api/v1/accounts', {
      body: JSON.stringify({ name: 'evil', rights: [{ repositories: ['**'], actions: ['pull', 'push'] }] }),
    });
    assert.equal(made.status, 201, JSON.stringify(made.json));
    const image = makeImage(600);
    const authorization = `Basic ${Buffer.from(`evil:${secretOf(made.json)}`).toString('base64')}`;
    await pushAs(mesh.url(2), 'shop/till:4', image, authorization);
    for (const core of cores) {
      await until(
        'the granted tag is here',
        async () => (await digestOfTag(core, 'shop/till:4')) === image.digest,
      );
      await untilRefused(core, 'account', 'evil');
      // A core region is still one without accounts.
      assert.equal(await status(core, '/v2/'), 200);
    }
  });

  test('edge: its key signs for nobody outside of its grant', async () => {
    const { stdout } = await run(process.execPath, [
      FAIRWAY,
      ...['account', 'create', 'ci', '--robot', '--push', '**', '--region', 'eu-west', '--data', mesh.data],
    ]);
    const basic = `Basic ${Buffer.from(`ci:${stdout.trim()}`).toString('base64')}`;
    for (const core of cores) {
      await until('the account is here', async () => {
        return (await status(core, '/v2/', { headers: { authorization: basic } })) === 200;
      });
    }
    // The site has the accounts on its disk: the name, and the id of the secret.
    const honest = await claimsOfToken(mesh.url(0), basic);
    const sign = await signerOf(mesh.region(2).folder);
    const forged = (access: readonly ResourceAccess[], use: TokenClaims['use'] = 'access') =>
      sign({ ...honest, iss: 'shop', jti: randomUUID(), use, access: [...access] });
    const inShop = forged([{ type: 'repository', name: 'shop/till', actions: ['pull', 'push'] }]);
    for (const core of cores) {
      const answer = async (path: string, token: string, method = 'GET') =>
        await status(core, path, { method, headers: { authorization: `Bearer ${token}`, accept: MANIFEST } });
      await until('the key is here', async () => (await answer('/v2/shop/till/manifests/1', inShop)) === 200);
      const wider: readonly ResourceAccess[][] = [
        [{ type: 'repository', name: 'prod/app', actions: ['pull'] }],
        [{ type: 'repository', name: 'shop/till', actions: ['delete'] }],
        [{ type: 'registry', name: 'catalog', actions: ['*'] }],
      ];
      for (const access of wider) assert.equal(await answer('/v2/prod/app/manifests/1', forged(access)), 401);
      const upload = forged([{ type: 'repository', name: 'prod/app', actions: ['pull', 'push'] }]);
      assert.equal(await answer('/v2/prod/app/blobs/uploads/', upload, 'POST'), 401);
      const body = new URLSearchParams({
        ...{ grant_type: 'refresh_token', service: 'fairway', client_id: 'x' },
        ...{ refresh_token: forged([], 'refresh'), scope: 'repository:prod/app:pull,push' },
      });
      const redeemed = await fetch(`${mesh.url(core)}/token`, { method: 'POST', body });
      assert.equal(redeemed.status, 401, await redeemed.text());
    }
  });
});

/** Whoever has the folder writes the roster that the process believes. */
async function steal(mesh: MeshUnderTest): Promise<void> {
  await mesh.mesh.kill(SHOP, 'SIGKILL');
  const file = join(mesh.region(2).folder, 'node.yaml');
  const { spec, ...document } = parse(await readFile(file, 'utf8')) as { spec: Record<string, unknown> };
  const { grant: _grant, ...others } = spec;
  await writeFile(file, stringify({ ...document, spec: { ...others, role: 'core' } }));
  await mesh.mesh.startRegion(SHOP);
}

async function signerOf(folder: string): Promise<(claims: TokenClaims) => string> {
  const { id, key } = JSON.parse(await readFile(join(folder, 'signing-key.json'), 'utf8'));
  const privateKey = createPrivateKey({ key, format: 'jwk' });
  return (claims) => signToken(claims, { id, privateKey, publicKey: createPublicKey(privateKey) });
}

async function claimsOfToken(url: string, authorization: string): Promise<TokenClaims> {
  const reply = await fetch(`${url}/token?service=fairway`, { headers: { authorization } });
  const { token } = (await reply.json()) as { token: string };
  const parsed = parseToken(token);
  assert.ok(parsed !== undefined);
  return parsed.claims;
}

function secretOf(json: unknown): string {
  const { secret } = json as { secret?: string };
  assert.ok(secret !== undefined);
  return secret;
}

async function pushAs(
  url: string,
  name: string,
  image: ReturnType<typeof makeImage>,
  authorization: string,
): Promise<void> {
  const [repository, tag] = name.split(':');
  const headers = { authorization };
  for (const { digest, bytes } of image.blobs) {
    const body = new Uint8Array(bytes);
    const query = `?digest=${digest}`;
    await expectStatus(
      await fetch(`${url}/v2/${repository}/blobs/uploads/${query}`, { method: 'POST', headers, body }),
      201,
    );
  }
  await expectStatus(
    await fetch(`${url}/v2/${repository}/manifests/${tag}`, {
      method: 'PUT',
      headers: { ...headers, 'content-type': MANIFEST },
      body: new Uint8Array(image.manifest),
    }),
    201,
  );
}
