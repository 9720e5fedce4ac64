/** The peer server over mutual TLS: who is refused comes first. */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { before, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Agent, type Dispatcher, request } from 'undici';
import { type Digest, digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName, parseTag } from '#domain/name.ts';
import { parseRegionName } from '#domain/region.ts';
import { openPeerServer } from '#http/peer-server.ts';
import { createAuthority, issueCertificate, type KeyPair } from '#mesh/transport/authority.ts';
import { peerIdentity } from '#mesh/transport/peer-identity.ts';
import { systemClock } from '#runtime/clock.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import { MemoryContent } from './memory-content.ts';
import { imageManifest, type LogLine, recordingLog } from './registry-under-test.ts';

const IMAGE = Buffer.from(imageManifest());
const BYTES = Buffer.from('0123456789');
const APP = parseRepositoryName('app');

type Certificates = {
  readonly authority: KeyPair;
  readonly server: KeyPair;
  readonly asker: KeyPair;
  readonly stranger: KeyPair;
};
const made: { certificates?: Certificates } = {};

before(async () => {
  const authority = await createAuthority({ meshId: 'test' });
  const other = await createAuthority({ meshId: 'test' });
  const request = { meshId: 'test', hosts: ['127.0.0.1'], days: 1 };
  const us = { ...request, region: parseRegionName('us-east'), number: 2 };
  made.certificates = {
    authority,
    server: await issueCertificate(authority, { ...request, region: parseRegionName('eu-west'), number: 1 }),
    asker: await issueCertificate(authority, us),
    stranger: await issueCertificate(other, us),
  };
});

test('peer: a client without a certificate, or with another authority, gets no answer', async () => {
  await using peer = await PeerUnderTest.open();
  for (const client of [undefined, certificates().stranger]) {
    await assert.rejects(peer.call('GET', '/v2/app/manifests/v1', { client }));
  }
  await peer.until(() => peer.lines.filter((line) => line.event === 'TLS handshake refused').length === 2);
  assert.equal(peer.content.contexts.length, 0);
});

for (const [what, hop, identified, status] of [
  ['no hop', undefined, true, 400],
  ['the hop of another region', 'ap-south', true, 403],
  ['a certificate of no region of the roster', 'us-east', false, 403],
] as const) {
  test(`peer: ${what} is ${status}`, async () => {
    await using peer = await PeerUnderTest.open();
    peer.isKnown = identified;
    const reply = await peer.call('GET', '/v2/app/manifests/v1', { hop });
    assert.equal(reply.status, status);
    assert.equal(peer.content.contexts.length, 0);
  });
}

test('peer: a region that leaves the roster is refused on the connection that it has', async () => {
  await using peer = await PeerUnderTest.open();
  assert.equal((await peer.call('GET', '/v2/app/manifests/v1')).status, 200);
  peer.isKnown = false;
  assert.equal((await peer.call('GET', '/v2/app/manifests/v1')).status, 403);
});

for (const [method, path, status] of [
  ['PUT', '/v2/app/manifests/v1', 405],
  ['DELETE', '/v2/app/manifests/v1', 405],
  ['DELETE', `/v2/app/blobs/${digestOf(BYTES)}`, 405],
  ['POST', '/v2/app/blobs/uploads/', 404],
  ['GET', '/v2/app/tags/list', 404],
  ['GET', '/v2/_catalog', 404],
  ['GET', '/v2/', 404],
] as const) {
  test(`peer: ${method} ${path.slice(0, 30)} is ${status}`, async () => {
    await using peer = await PeerUnderTest.open();
    assert.equal((await peer.call(method, path)).status, status);
  });
}

test('peer: manifests and blobs are read, and the reader is told who asks', async () => {
  await using peer = await PeerUnderTest.open();
  const manifest = await peer.call('GET', '/v2/app/manifests/v1');
  assert.deepEqual([manifest.status, manifest.bytes], [200, IMAGE]);
  const part = await peer.call('GET', `/v2/app/blobs/${peer.blob}`, { range: 'bytes=4-' });
  assert.deepEqual([part.status, part.bytes.toString()], [206, '456789']);
  assert.equal((await peer.call('HEAD', `/v2/app/blobs/${peer.blob}`)).status, 200);
  for (const context of peer.content.contexts) {
    assert.deepEqual([context.from, context.principal], ['us-east', 'region:us-east']);
    assert.equal(context.requestId, 'hop-1');
  }
  assert.equal(peer.content.contexts.length, 2);
});

class PeerUnderTest implements AsyncDisposable {
  readonly content = new MemoryContent(openMemoryBlobStore({ random: systemRandom }));
  readonly lines: LogLine[] = [];
  readonly blob: Digest = digestOf(BYTES);
  isKnown = true;
  readonly #stack = new AsyncDisposableStack();
  readonly #agents = new Map<KeyPair | undefined, Agent>();
  port = 0;

  static async open(): Promise<PeerUnderTest> {
    const peer = new PeerUnderTest();
    await peer.#fill();
    const { authority, server } = certificates();
    const listening = await openPeerServer(
      {
        reader: peer.content.reader,
        identify: (certificate) => (peer.isKnown ? peerIdentity(certificate)?.region : undefined),
        clock: systemClock,
        random: systemRandom,
        log: recordingLog(peer.lines),
        metrics: new Registry(),
      },
      {
        host: '127.0.0.1',
        port: 0,
        tls: { key: server.keyPem, cert: server.certificatePem, ca: authority.certificatePem },
        limits: { drainMs: 50 },
      },
    );
    peer.#stack.use(listening);
    peer.port = listening.port;
    return peer;
  }

  async #fill(): Promise<void> {
    const { writer } = this.content;
    const context = { requestId: 'r', principal: 'p', signal: new AbortController().signal };
    const upload = await writer.startUpload(APP, context);
    await upload.append(Readable.from([BYTES]), { signal: context.signal });
    await writer.finishUpload(APP, upload, this.blob, context);
    const push = { repository: APP, reference: { tag: parseTag('v1') }, bytes: IMAGE };
    await writer.putManifest({ ...push, contentType: MEDIA_TYPE.ociManifest }, context);
  }

  async call(
    method: Dispatcher.HttpMethod,
    path: string,
    options: {
      readonly client?: KeyPair | undefined;
      readonly hop?: string | undefined;
      readonly range?: string;
    } = {},
  ): Promise<{ readonly status: number; readonly bytes: Buffer }> {
    const hop = 'hop' in options ? options.hop : 'us-east';
    const client = 'client' in options ? options.client : certificates().asker;
    const reply = await request(`https://127.0.0.1:${this.port}${path}`, {
      method,
      dispatcher: this.#agent(client),
      headers: {
        'fairway-request-id': 'hop-1',
        ...(hop === undefined ? {} : { 'fairway-hop': hop }),
        ...(options.range === undefined ? {} : { range: options.range }),
      },
    });
    return { status: reply.statusCode, bytes: Buffer.from(await reply.body.arrayBuffer()) };
  }

  async until(condition: () => boolean): Promise<void> {
    for (let turn = 0; turn < 100_000 && !condition(); turn += 1) await setImmediate();
    assert.ok(condition());
  }

  #agent(client: KeyPair | undefined): Agent {
    const pair = client === undefined ? {} : { key: client.keyPem, cert: client.certificatePem };
    const agent =
      this.#agents.get(client) ??
      new Agent({ connect: { ca: certificates().authority.certificatePem, ...pair }, connections: 1 });
    this.#agents.set(client, agent);
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.#agents.values()) await agent.destroy();
    await this.#stack.disposeAsync();
  }
}

function certificates(): Certificates {
  assert.ok(made.certificates !== undefined);
  return made.certificates;
}
