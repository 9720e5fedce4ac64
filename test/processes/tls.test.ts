/**
 * TLS to clients, on a region as a process: curl and skopeo believe in the authority that they are given and in nothing
 * else, and a certificate that was replaced counts without a restart.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { parse, stringify } from 'yaml';
import { digestOf } from '#domain/digest.ts';
import { createAuthority, issueCertificate, type KeyPair } from '#mesh/transport/authority.ts';
import { requires } from '#test/requirements.ts';
import { until } from './management.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';

const run = promisify(execFile);
const FAIRWAY = join(import.meta.dirname, '..', '..', 'node', 'cli', 'fairway.ts');
const [EU] = REGIONS as [(typeof REGIONS)[0]];
const HOST = '127.0.0.1';
const WRITTEN_OUT = { aliasDuplicateObjects: false };

/** A file that is a link, switched in one step, as a secret that Kubernetes mounts. */
async function place(folder: string, name: string, text: string): Promise<void> {
  const version = join(folder, `${name}.${process.hrtime.bigint()}`);
  await writeFile(version, text, { mode: 0o600 });
  await symlink(version, join(folder, `${name}.next`));
  await rename(join(folder, `${name}.next`), join(folder, name));
}

async function placePair(folder: string, { certificatePem, keyPem }: KeyPair): Promise<void> {
  await place(folder, 'tls.crt', certificatePem);
  await place(folder, 'tls.key', keyPem);
}

/** Changes the region's NodeConfig, and starts it again. */
async function restartWith(mesh: MeshUnderTest, spec: Readonly<Record<string, unknown>>): Promise<void> {
  const { folder } = mesh.region(0);
  await mesh.mesh.kill(EU, 'SIGTERM');
  const file = join(folder, 'node.yaml');
  const document = parse(await readFile(file, 'utf8')) as { spec: Record<string, unknown> };
  await writeFile(file, stringify({ ...document, spec: { ...document.spec, ...spec } }, WRITTEN_OUT));
  await mesh.mesh.startRegion(EU);
}

async function fingerprint(port: number, ca: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({ host: HOST, port, ca }, () => resolve(socket.getPeerCertificate().fingerprint256));
  socket.once('error', reject);
  return await promise.finally(() => socket.destroy());
}

describe('tls', requires('curl', 'skopeo'), () => {
  test('tls: clients that know the authority get in, and a certificate is replaced without a restart', async () => {
    await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
    const { folder, registry, management } = mesh.region(0);
    const authority = await createAuthority({ meshId: 'clients' });
    const request = { meshId: 'clients', region: EU, number: 1, hosts: [HOST, 'localhost'], days: 1 };
    // As docker's certs.d: a folder with the authority and nothing else.
    const trusted = join(folder, 'trusted');
    await mkdir(trusted);
    const ca = join(trusted, 'ca.crt');
    await writeFile(ca, authority.certificatePem);
    await placePair(folder, await issueCertificate(authority, request));
    const files = { certificate: 'tls.crt', key: 'tls.key' };
    await restartWith(mesh, { https: { registry: files, management: files } });
    const pid = mesh.mesh.pid(EU);

    const curl = async (...args: readonly string[]) =>
      (await run('curl', ['--silent', '--show-error', '--fail', ...args])).stdout;
    const url = `https://${HOST}:${registry.port}/v2/`;
    await assert.rejects(curl(url), 'an authority that nobody named is not believed');
    await assert.rejects(curl(`http://${HOST}:${registry.port}/v2/`));
    assert.equal(await curl('--cacert', ca, url), '{}');
    assert.match(await curl('--cacert', ca, `https://${HOST}:${management.port}/readyz`), /"ok":true/);

    const image = join(folder, 'image');
    const target = `docker://${HOST}:${registry.port}/demo/scratch:1`;
    await writeImageFolder(image);
    await run('skopeo', ['--insecure-policy', 'copy', '--dest-cert-dir', trusted, `dir:${image}`, target]);
    await assert.rejects(run('skopeo', ['inspect', '--raw', target]), 'without the authority');

    const environment = { ...process.env, NODE_EXTRA_CA_CERTS: ca };
    const status = await run(process.execPath, [FAIRWAY, 'status', '--data', mesh.data], {
      env: environment,
    });
    assert.match(status.stdout, /eu-west/);

    const before = await fingerprint(registry.port, authority.certificatePem);
    await placePair(folder, await issueCertificate(authority, request));
    await until('the new certificate is shown', async () => {
      return (await fingerprint(registry.port, authority.certificatePem)) !== before;
    });
    assert.equal(mesh.mesh.pid(EU), pid);
    assert.deepEqual(mesh.ended, []);
  });

  test('tls: with a certificate the registry may listen anywhere; a broken pair ends the start with its file', async () => {
    await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
    const { folder, registry } = mesh.region(0);
    const authority = await createAuthority({ meshId: 'clients' });
    const request = { meshId: 'clients', region: EU, number: 1, hosts: [HOST], days: 1 };
    await placePair(folder, await issueCertificate(authority, request));
    const files = { certificate: 'tls.crt', key: 'tls.key' };
    const listen = {
      registry: `0.0.0.0:${registry.port}`,
      ...Object.fromEntries(
        (['management', 'mesh', 'peer'] as const).map((name) => [
          name,
          `${HOST}:${mesh.region(0)[name].port}`,
        ]),
      ),
    };
    await restartWith(mesh, { listen, https: { registry: files } });
    assert.match(await fingerprint(registry.port, authority.certificatePem), /^[0-9A-F:]+$/);

    await place(folder, 'tls.key', (await issueCertificate(authority, request)).keyPem);
    await assert.rejects(
      restartWith(mesh, {}),
      /tls\.key is not the key of the certificate in .*tls\.crt: give both from one issue/,
    );
  });
});

/** An image without layers, as skopeo's `dir:` has it. */
async function writeImageFolder(folder: string): Promise<void> {
  await mkdir(folder);
  const config = Buffer.from(
    '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
  );
  const digest = digestOf(config);
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: config.length },
    layers: [],
  };
  await writeFile(join(folder, 'version'), 'Directory Transport Version: 1.1\n');
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
  await writeFile(join(folder, digest.slice('sha256:'.length)), config);
}
