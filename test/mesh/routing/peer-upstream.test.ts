/** A peer over real mutual TLS: who it is, who we are, and what it may not do. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { parseRegionName, parseRegionNumber } from '#domain/region.ts';
import { parseMeshId } from '#mesh/membership/roster.ts';
import { PeerUpstream } from '#mesh/routing/peer-upstream.ts';
import { createAuthority, issueCertificate, type KeyPair } from '#mesh/transport/authority.ts';
import { peerIdentity } from '#mesh/transport/peer-identity.ts';
import { systemClock } from '#runtime/clock.ts';
import {
  contextOf,
  type Handler,
  manifestBytes,
  REPOSITORY,
  readAll,
  sendManifest,
  TAG,
} from '#test/client/counterpart.ts';

const MESH = parseMeshId('test');
const [EU_WEST, US_EAST] = [parseRegionName('eu-west'), parseRegionName('us-east')];
const US_IDENTITY = { meshId: MESH, region: US_EAST, number: parseRegionNumber(2) };

function certificateOf(authority: KeyPair, region: 'eu-west' | 'us-east' | 'ap-south', number: number) {
  const hosts = ['127.0.0.1'];
  return issueCertificate(authority, {
    meshId: MESH,
    region: parseRegionName(region),
    number,
    hosts,
    days: 1,
  });
}

/** Region us-east as `serverPair` makes it appear, asked by eu-west. */
async function start(handler: Handler, pairs: { readonly authority: KeyPair; readonly server: KeyPair }) {
  const stack = new AsyncDisposableStack();
  const { authority } = pairs;
  const own = await certificateOf(authority, 'eu-west', 1);
  const server = createServer(
    {
      ca: authority.certificatePem,
      cert: pairs.server.certificatePem,
      key: pairs.server.keyPem,
      requestCert: true,
    },
    handler,
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stack.defer(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const upstream = stack.use(
    new PeerUpstream(
      { clock: systemClock },
      {
        self: EU_WEST,
        peer: US_IDENTITY,
        url,
        tls: {
          authorityPem: authority.certificatePem,
          certificatePem: own.certificatePem,
          keyPem: own.keyPem,
        },
      },
    ),
  );
  return { upstream, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const request = { repository: REPOSITORY, reference: TAG };

test('peer upstream: a valid certificate of another region is refused', async () => {
  const authority = await createAuthority({ meshId: MESH });
  let served = 0;
  const server = await certificateOf(authority, 'ap-south', 3);
  await using under = await start(() => (served += 1), { authority, server });
  await assert.rejects(under.upstream.fetchManifest(request, contextOf()), (thrown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.match(thrown.message, /not the one of region us-east/);
    return true;
  });
  assert.equal(served, 0);
});

test('peer upstream: a certificate of another authority is refused', async () => {
  const [authority, stranger] = await Promise.all([
    createAuthority({ meshId: MESH }),
    createAuthority({ meshId: MESH }),
  ]);
  const server = await certificateOf(stranger, 'us-east', 2);
  await using under = await start(() => assert.fail('nobody may get here'), { authority, server });
  await assert.rejects(under.upstream.fetchManifest(request, contextOf()), UnavailableError);
});

test('peer upstream: a redirect is not followed, as it would show our certificate to somebody else', async () => {
  const authority = await createAuthority({ meshId: MESH });
  const paths: string[] = [];
  await using under = await start(
    (incoming, response) => {
      paths.push(incoming.url ?? '');
      response.writeHead(307, { location: '/elsewhere' }).end();
    },
    { authority, server: await certificateOf(authority, 'us-east', 2) },
  );
  await assert.rejects(under.upstream.fetchManifest(request, contextOf()), /which a peer may not/);
  assert.equal(paths.length, 1);
});

test('peer upstream: shows who asks, on whose behalf and in which request, and reads blobs and manifests', async () => {
  const authority = await createAuthority({ meshId: MESH });
  const blob = Buffer.alloc(300_000, 'x');
  const bytes = manifestBytes('a');
  await using under = await start(
    (incoming, response) => {
      const identity = peerIdentity((incoming.socket as TLSSocket).getPeerCertificate());
      assert.equal(identity?.region, EU_WEST);
      assert.equal(incoming.headers['fairway-hop'], EU_WEST);
      assert.equal(incoming.headers['fairway-request-id'], 'request-1');
      if (incoming.url?.includes('/manifests/')) sendManifest(response, bytes);
      else response.writeHead(200, { 'content-length': blob.byteLength }).end(blob);
    },
    { authority, server: await certificateOf(authority, 'us-east', 2) },
  );
  assert.equal(under.upstream.name, US_EAST);
  assert.equal(under.upstream.kind, 'region');
  assert.equal((await under.upstream.fetchManifest(request, contextOf()))?.digest, digestOf(bytes));
  const digest = digestOf(blob);
  const opened = await under.upstream.openBlob({ repository: REPOSITORY, digest, offset: 0 }, contextOf());
  assert.equal(digestOf(await readAll(opened?.body ?? assert.fail())), digest);
});
