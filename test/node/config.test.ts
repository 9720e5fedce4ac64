/** Configuration of TLS and of grants: every mistake names its place and what to write instead. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { readMeshConfig, readNodeConfig } from '#node/config.ts';

const SPEC = {
  ...{ meshId: 'test', number: 1, data: '.' },
  listen: { registry: '0.0.0.0:1', management: '127.0.0.1:2', mesh: '127.0.0.1:3', peer: '127.0.0.1:4' },
  tls: { authority: 'a', certificate: 'b', key: 'c' },
};
const HTTPS = { registry: { certificate: 'tls/tls.crt', key: 'tls/tls.key' } };

async function inFile(document: unknown, read: (file: string, folder: string) => void): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'fairway-config-'));
  try {
    const file = join(folder, 'config.yaml');
    await writeFile(file, stringify(document));
    read(file, folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function nodeConfig(spec: object, read: (file: string, folder: string) => void): Promise<void> {
  const about = { apiVersion: 'fairway/v1', kind: 'NodeConfig', metadata: { name: 'eu-west' } };
  await inFile({ ...about, spec: { ...SPEC, ...spec } }, read);
}

async function meshConfig(regions: readonly object[], read: (file: string) => void): Promise<void> {
  const about = { apiVersion: 'fairway/v1', kind: 'MeshConfig', metadata: { name: 'x' } };
  await inFile({ ...about, spec: { regions } }, read);
}

test('config: an address that others may reach needs a certificate, of that very port', async () => {
  const management = { management: HTTPS.registry };
  for (const https of [{}, management]) {
    await nodeConfig({ https }, (file) => {
      assert.throws(
        () => readNodeConfig(file),
        /spec\.listen\.registry is 0\.0\.0\.0.*spec\.https\.registry/,
      );
    });
  }
  await nodeConfig({ https: HTTPS }, (file, folder) => {
    const { https } = readNodeConfig(file);
    assert.deepEqual(https.registry, {
      certificate: join(folder, 'tls/tls.crt'),
      key: join(folder, 'tls/tls.key'),
    });
    assert.equal(https.management, undefined);
  });
});

test('config: a certificate without its key is refused with its place', async () => {
  await nodeConfig({ https: { registry: { certificate: 'x' } } }, (file) => {
    assert.throws(() => readNodeConfig(file), /config\.yaml:\d+:\d+: "spec\.https\.registry\.key"/);
  });
});

test('config: roles and grants that are none are refused with their place', async () => {
  for (const [region, says] of [
    [{ role: 'leaf' }, /"spec\.regions\.0\.role"/],
    [
      { grant: { repositories: ['/x/'] } },
      /"spec\.regions\.0\.grant\.repositories\.0": it looks like a regular/,
    ],
    [{ grant: { tokens: ['shop/**'] } }, /"spec\.regions\.0\.grant\.tokens\.0": expected repository:/],
    [{ grant: { policy: true } }, /unknown key "spec\.regions\.0\.grant\.policy"/],
  ] as const) {
    await meshConfig([{ name: 'shop', ...region }], (file) =>
      assert.throws(() => readMeshConfig(file), says),
    );
  }
});

test('config: a grant grants what it names and nothing else, and without one the role decides', async () => {
  const grant = { repositories: ['shop/**'] };
  await meshConfig([{ name: 'eu-west' }, { name: 'shop', role: 'edge', grant }], (file) => {
    const nothing = { policies: false, accounts: false, tokens: [] };
    assert.deepEqual(
      readMeshConfig(file).regions.map(({ role, grant: given }) => [role, given]),
      [
        ['core', undefined],
        ['edge', { ...grant, ...nothing }],
      ],
    );
  });
});
