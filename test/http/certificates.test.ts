/**
 * Certificates from files, on real sockets: what cannot be used is refused at the start and passed over later; a new
 * pair is shown to new handshakes, while an open connection goes on.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import type http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { parseRegionName } from '#domain/region.ts';
import { Certificates } from '#http/certificates.ts';
import { createServer } from '#http/listener.ts';
import { createAuthority, issueCertificate, type KeyPair } from '#mesh/transport/authority.ts';
import { Registry } from '#runtime/metrics.ts';
import { ManualClock } from '#test/client/manual-clock.ts';
import { type LogLine, recordingLog } from './registry-under-test.ts';

const LOOK_MS = 5000;
const made: { authority?: KeyPair; readonly pairs: KeyPair[] } = { pairs: [] };

before(async () => {
  const authority = await createAuthority({ meshId: 'test' });
  made.authority = authority;
  const request = { meshId: 'test', hosts: ['127.0.0.1', 'localhost'], days: 1 };
  for (const number of [1, 2, 3]) {
    made.pairs.push(
      await issueCertificate(authority, { ...request, region: parseRegionName('one'), number }),
    );
  }
});

const pair = (position: number): KeyPair => {
  const found = made.pairs[position];
  assert.ok(found !== undefined);
  return found;
};

const authority = (): string => {
  assert.ok(made.authority !== undefined);
  return made.authority.certificatePem;
};

/** A folder as Kubernetes mounts a secret: names that lead through `..data` to one version or another. */
class Secret implements AsyncDisposable {
  readonly files: { readonly certificate: string; readonly key: string };
  readonly #folder: string;
  #versions = 0;

  static async open(first: KeyPair): Promise<Secret> {
    const secret = new Secret(await mkdtemp(join(tmpdir(), 'fairway-tls-')));
    await secret.put(first.certificatePem, first.keyPem);
    await symlink('..data/tls.crt', secret.files.certificate);
    await symlink('..data/tls.key', secret.files.key);
    return secret;
  }

  constructor(folder: string) {
    this.#folder = folder;
    this.files = { certificate: join(folder, 'tls.crt'), key: join(folder, 'tls.key') };
  }

  async put(certificate: string, key: string): Promise<void> {
    this.#versions += 1;
    const version = `..${this.#versions}`;
    await mkdir(join(this.#folder, version));
    await writeFile(join(this.#folder, version, 'tls.crt'), certificate);
    await writeFile(join(this.#folder, version, 'tls.key'), key);
    await symlink(version, join(this.#folder, '..data_tmp'));
    await rename(join(this.#folder, '..data_tmp'), join(this.#folder, '..data'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true });
  }
}

class ServerUnderTest implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly lines: LogLine[] = [];
  readonly metrics = new Registry();
  readonly #certificates: Certificates;
  readonly #log = recordingLog(this.lines);
  #server: http.Server | undefined;

  constructor() {
    this.#certificates = new Certificates({ clock: this.clock, log: this.#log, metrics: this.metrics });
  }

  async open(secret: Secret): Promise<this> {
    const tls = await this.#certificates.open('registry', secret.files);
    assert.ok(tls !== undefined);
    const config = { host: '127.0.0.1', port: 0, tls };
    this.#server = createServer((_request, response) => response.end('here'), config, this.#log);
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  get port(): number {
    const address = this.#server?.address();
    assert.ok(typeof address === 'object' && address !== null);
    return address.port;
  }

  /** Lets the files be looked at, until a line of the log or the metrics say what came of it. */
  async look(until: () => boolean | Promise<boolean>): Promise<void> {
    do {
      this.clock.advance(LOOK_MS);
      await setImmediate();
    } while (!(await until()));
  }

  count(event: string): number {
    return this.lines.filter((line) => line.event === event).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#certificates[Symbol.dispose]();
    this.#server?.closeAllConnections();
    this.#server?.close();
  }
}

/** The serial number that a new handshake is shown. */
async function shown(port: number): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, ca: authority() });
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

async function get(port: number, agent: https.Agent): Promise<{ body: string; socket: TLSSocket }> {
  const request = https.get({ host: '127.0.0.1', port, agent, ca: authority() });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const socket = response.socket as TLSSocket;
  const chunks = await response.toArray();
  return { body: Buffer.concat(chunks).toString(), socket };
}

const half = (text: string) => text.slice(0, text.length / 2);

for (const [what, certificate, key, says] of [
  [
    'a certificate that is half written',
    () => half(pair(0).certificatePem),
    () => pair(0).keyPem,
    /tls\.crt/,
  ],
  ['a key that is half written', () => pair(0).certificatePem, () => half(pair(0).keyPem), /tls\.key/],
  [
    'the key of another certificate',
    () => pair(0).certificatePem,
    () => pair(1).keyPem,
    /tls\.key is not the key of the certificate in .*tls\.crt/,
  ],
  ['nothing at all', () => '', () => '', /tls\.crt.*must hold the server certificate in PEM/],
] as const) {
  test(`certificates: ${what} ends the start, and is passed over later`, async () => {
    await using secret = await Secret.open(pair(0));
    await using server = await new ServerUnderTest().open(secret);
    const first = await shown(server.port);
    await secret.put(certificate(), key());
    await server.look(() => server.count('certificate not reloaded, the one in use stays') === 1);
    assert.equal(await shown(server.port), first);
    // Once is enough for one fault.
    await server.look(() => true);
    await secret.put(pair(2).certificatePem, pair(2).keyPem);
    await server.look(() => server.count('certificate reloaded') === 1);
    assert.equal(server.count('certificate not reloaded, the one in use stays'), 1);
    assert.notEqual(await shown(server.port), first);

    await secret.put(certificate(), key());
    await using another = new ServerUnderTest();
    await assert.rejects(another.open(secret), (thrown: Error) => {
      assert.match(thrown.message, says);
      assert.equal(thrown.message.split('\n').length, 1);
      return true;
    });
  });
}

test('certificates: a file that is missing is named, with what to do', async () => {
  await using secret = await Secret.open(pair(0));
  await rm(secret.files.key);
  await using server = new ServerUnderTest();
  await assert.rejects(
    server.open(secret),
    /private key: .*tls\.key.*name a file that this process may read/,
  );
});

test('certificates: a new pair is for new handshakes, and no connection is dropped', async () => {
  await using secret = await Secret.open(pair(0));
  await using server = await new ServerUnderTest().open(secret);
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  const before = await get(server.port, agent);
  const first = await shown(server.port);
  await secret.put(pair(1).certificatePem, pair(1).keyPem);
  await chmod(secret.files.key, 0o600);
  await server.look(() => server.count('certificate reloaded') === 1);
  const after = await get(server.port, agent);
  assert.equal(after.body, 'here');
  assert.equal(after.socket, before.socket, 'the open connection goes on');
  assert.notEqual(await shown(server.port), first);
  agent.destroy();
});

test('certificates: the metrics tell when the one in use ends, and what became of changes', async () => {
  await using secret = await Secret.open(pair(0));
  await using server = await new ServerUnderTest().open(secret);
  await secret.put(pair(1).certificatePem, pair(1).keyPem);
  await server.look(() => server.count('certificate reloaded') === 1);
  const text = await server.metrics.metrics();
  const [, expiry] = /^fairway_tls_certificate_expiry_seconds\{server="registry"\} (\d+)$/m.exec(text) ?? [];
  assert.ok(Number(expiry) > Date.now() / 1000);
  assert.match(text, /^fairway_tls_reloads_total\{server="registry",outcome="taken"\} 1$/m);
  assert.match(text, /^fairway_tls_reloads_total\{server="registry",outcome="refused"\} 0$/m);
});
