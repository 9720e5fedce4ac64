/** Who and what the gRPC transport refuses. Each test ends with the proof that the region still serves its peer. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { UnavailableError } from '#domain/errors.ts';
import type { GrpcTransport } from '#mesh/transport/transport-grpc.ts';
import { delta, FOLLOW, ONE, RecordingHandlers, TWO } from '#test/suites/transport-samples.ts';
import { Certificates, GrpcRig } from './grpc-rig.ts';
import { dial, dialBytes, hello, request, response, serve, writeTcp, writeTls } from './raw-peers.ts';

const LIMITS = { timeout: 10_000 };

/** Regions one and two, of which one runs and two is the test's to play. */
async function alone() {
  const rig = await GrpcRig.open(2);
  const transport = rig.transport(ONE);
  const handlers = new RecordingHandlers();
  await transport.start(handlers);
  return { rig, transport, handlers, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() };
}

async function refusals(rig: GrpcRig, code: string): Promise<number> {
  const { values } = (await rig.place(ONE).metrics.getSingleMetric('fairway_mesh_refusals_total')?.get()) ?? {
    values: [],
  };
  return values.find(({ labels }) => labels['code'] === code)?.value ?? 0;
}

/** The real second region starts, and both talk: nothing that came before did harm. */
async function stillServes({ rig, transport, handlers }: Awaited<ReturnType<typeof alone>>): Promise<void> {
  const two = rig.transport(TWO);
  const recorded = new RecordingHandlers();
  await two.start(recorded);
  await recorded.until(() => recorded.ups.length === 1);
  await handlers.until(() => handlers.ups.length === 1);
  assert.deepEqual(handlers.messages, []);
  assert.equal(two.send(ONE, FOLLOW), true);
  await handlers.until(() => handlers.messages.length === 1);
  assert.equal(transport.send(TWO, delta(ONE, 1)), true);
  await recorded.until(() => recorded.messages.length === 1);
}

test('refusals: another protocol version, with both ranges named', LIMITS, async () => {
  await using region = await alone();
  const { tls } = region.rig.place(TWO);
  const value = hello(TWO, { protocolMin: 2, protocolMax: 3 });
  const { end, responses } = await dial(region.transport.port, tls, [request({ case: 'hello', value })]);
  assert.equal(end.code, status.FAILED_PRECONDITION);
  assert.match(end.reason, /the peer speaks 2 to 3, this region 1 to 1/);
  assert.deepEqual(responses, []);
  assert.equal(await refusals(region.rig, 'FAILED_PRECONDITION'), 1);
  await stillServes(region);
});

test('refusals: a peer that answers with another version, mesh or region gets no link', LIMITS, async () => {
  const wrong = [
    { answer: hello(TWO, { protocolMin: 7, protocolMax: 9 }), reason: /the peer speaks 7 to 9/ },
    { answer: hello(TWO, { meshId: 'other' }), reason: /of mesh "other"; this is mesh "test-mesh"/ },
    { answer: hello(3), reason: /of region 3, but the certificate of region 2/ },
  ];
  for (const { answer, reason } of wrong) {
    await using region = await alone();
    const { tls } = region.rig.place(TWO);
    const greeted = Promise.withResolvers<void>();
    let dials = 0;
    await using server = await serve(tls, 0, (stream) => {
      stream.send(response({ case: 'hello', value: answer }));
      dials += 1;
      if (dials === 2) greeted.resolve();
    });
    region.rig.relay(ONE, TWO).redirect(server.port);
    await greeted.promise;
    assert.match(region.transport.links()[0]?.reason ?? '', reason);
    assert.deepEqual(region.handlers.ups, []);
  }
});

test('refusals: a hello of another mesh', LIMITS, async () => {
  await using region = await alone();
  const { tls } = region.rig.place(TWO);
  const value = hello(TWO, { meshId: 'other' });
  const { end } = await dial(region.transport.port, tls, [request({ case: 'hello', value })]);
  assert.equal(end.code, status.FAILED_PRECONDITION);
  assert.match(end.reason, /mesh "other"; this is mesh "test-mesh"/);
  await stillServes(region);
});

test(
  'refusals: a certificate of another mesh, of no region of the roster, or of oneself',
  LIMITS,
  async () => {
    await using region = await alone();
    const { certificates } = region.rig;
    const strangers = [
      await certificates.tls(TWO, 'other-mesh'),
      await certificates.tls(3),
      await certificates.tls(ONE),
    ];
    for (const tls of strangers) {
      const { end } = await dial(region.transport.port, tls, [request({ case: 'hello', value: hello(TWO) })]);
      assert.equal(end.code, status.PERMISSION_DENIED);
      assert.match(end.reason, /is not in the roster of region-1/);
    }
    assert.equal(await refusals(region.rig, 'PERMISSION_DENIED'), strangers.length);
    await stillServes(region);
  },
);

test('refusals: a hello of another region than the certificate', LIMITS, async () => {
  await using region = await alone();
  const { tls } = region.rig.place(TWO);
  const { end } = await dial(region.transport.port, tls, [request({ case: 'hello', value: hello(3) })]);
  assert.equal(end.code, status.PERMISSION_DENIED);
  assert.match(end.reason, /hello is of region 3, but the certificate of region 2/);
  await stillServes(region);
});

test('refusals: a client without a certificate, or of another authority', LIMITS, async () => {
  await using region = await alone();
  const { tls } = region.rig.place(TWO);
  const { port } = region.transport;
  const nothing = await writeTls(
    port,
    { ca: tls.authorityPem },
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  );
  assert.match(nothing, /CERTIFICATE_REQUIRED|ECONNRESET|EPIPE/);
  const forged = await (await Certificates.of()).tls(TWO);
  const { end, responses } = await dial(port, { ...forged, authorityPem: tls.authorityPem }, [
    request({ case: 'hello', value: hello(TWO) }),
  ]);
  assert.equal(end.code, status.UNAVAILABLE);
  assert.deepEqual(responses, []);
  await stillServes(region);
});

test('refusals: a server that is not the peer dialled, or of another authority', LIMITS, async () => {
  const forged = await Certificates.of();
  for (const kind of ['another region', 'another authority'] as const) {
    await using region = await alone();
    const own = region.rig.certificates;
    const tls = kind === 'another region' ? await own.tls(3) : await forged.tls(TWO);
    await using server = await serve(tls, 0, (stream) =>
      stream.send(response({ case: 'hello', value: hello(TWO) })),
    );
    region.rig.relay(ONE, TWO).redirect(server.port);
    const expected =
      kind === 'another region' ? /certificate is of region-3 \(3\)/ : /certificate|signature/i;
    await reasonBecomes(region.transport, expected);
    assert.deepEqual(region.handlers.ups, []);
  }
});

test('refusals: a region whose own certificate is of another does not start', LIMITS, async () => {
  await using rig = await GrpcRig.open(2);
  rig.place(ONE).tls = await rig.certificates.tls(3);
  assert.throws(() => rig.transport(ONE), /certificate is of .*region-3.*not of region region-1 \(1\)/);
});

test('refusals: an address in use is named', LIMITS, async () => {
  await using region = await alone();
  const { port } = region.transport;
  await using other = await GrpcRig.open(2);
  await assert.rejects(other.transport(ONE, port).start(new RecordingHandlers()), (thrown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.match(thrown.message, new RegExp(`cannot listen on 127.0.0.1:${port}: .*EADDRINUSE`));
    return true;
  });
});

test('refusals: garbage on the port, and inside a TLS session', LIMITS, async () => {
  await using region = await alone();
  const { authorityPem: ca, certificatePem: cert, keyPem: key } = region.rig.place(TWO).tls;
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  for (let round = 0; round < 5; round += 1) {
    await writeTcp(region.transport.port, randomBytes(4096));
    await writeTls(region.transport.port, { ca, cert, key }, Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    await writeTls(region.transport.port, { ca, cert, key }, Buffer.concat([preface, oversizedFrame()]));
  }
  await stillServes(region);
});

/** Two frames of 16 MiB − 1 bytes that are announced, and random bytes: beyond what HTTP/2 allows. */
function oversizedFrame(): Buffer {
  return Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]), randomBytes(1024)]);
}

test('refusals: bytes that are no message, and messages over 4 MiB', LIMITS, async () => {
  await using region = await alone();
  const { tls } = region.rig.place(TWO);
  const garbage = await dialBytes(region.transport.port, tls, Buffer.from([0xff, 0xff, 0xff, 0xff]));
  assert.equal(garbage.code, status.INVALID_ARGUMENT);
  assert.match(garbage.details, /the bytes are no FollowRequest/);
  assert.equal(await refusals(region.rig, 'INVALID_ARGUMENT'), 1);
  const large = await dialBytes(region.transport.port, tls, Buffer.alloc(4 * 1024 * 1024 + 1));
  assert.equal(large.code, status.RESOURCE_EXHAUSTED);
  await stillServes(region);
});

test('refusals: messages before the hello, a second hello, and values that cannot be', LIMITS, async () => {
  await using region = await alone();
  const { tls } = region.rig.place(TWO);
  const first = request({ case: 'hello', value: hello(TWO) });
  const cursor = { $typeName: 'fairway.mesh.v1.Cursor', region: 0, epoch: 1n, have: 1n, safe: 1n } as const;
  const value = { $typeName: 'fairway.mesh.v1.Cursors', cursors: [cursor], creditBytes: 1 } as const;
  const follow = request({ case: 'follow', value: { ...value, cursors: [...value.cursors] } });
  const wrong = [
    { messages: [follow], reason: /the first message is no hello/ },
    { messages: [first, first], reason: /of the kind hello/ },
    { messages: [first, follow], reason: /follow: region: 0 is not a region number/ },
    { messages: [first, request({ case: undefined })], reason: /of the kind \(none\)/ },
  ];
  for (const { messages, reason } of wrong) {
    const { end } = await dial(region.transport.port, tls, messages);
    assert.equal(end.code, status.INVALID_ARGUMENT);
    assert.match(end.reason, reason);
  }
  assert.equal(await refusals(region.rig, 'INVALID_ARGUMENT'), wrong.length);
  await stillServes(region);
});

test('refusals: a source that sends garbage loses its link, and is dialled again', LIMITS, async () => {
  await using region = await alone();
  const { tls } = region.rig.place(TWO);
  await using server = await serve(tls, 0, (stream) => {
    stream.send(response({ case: 'hello', value: hello(TWO) }));
    const heads = [
      { $typeName: 'fairway.mesh.v1.Cursor', region: 2, epoch: 1n, have: 1n, safe: 2n } as const,
    ];
    stream.send(response({ case: 'summary', value: { $typeName: 'fairway.mesh.v1.Summary', heads } }));
  });
  region.rig.relay(ONE, TWO).redirect(server.port);
  await region.handlers.until(() => region.handlers.downs.length === 2);
  assert.match(region.handlers.downs[0]?.reason ?? '', /summary: safe 2 is beyond have 1/);
  assert.deepEqual(region.handlers.messages, []);
  assert.ok((await refusals(region.rig, 'INVALID_ARGUMENT')) >= 2);
});

async function reasonBecomes(transport: GrpcTransport, expected: RegExp): Promise<void> {
  while (!expected.test(transport.links()[0]?.reason ?? '')) {
    await new Promise(setImmediate);
  }
}
