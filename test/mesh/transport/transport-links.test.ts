/** How links of the gRPC transport live: silence, pauses, queues, windows, restarts and the end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { type Metadata, Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { UnavailableError } from '#domain/errors.ts';
import type { LocateReply } from '#mesh/transport/transport.ts';
import type { GrpcTransport } from '#mesh/transport/transport-grpc.ts';
import { FollowResponseSchema, LocateResponseSchema } from '#protos/fairway/mesh/v1/mesh_pb.ts';
import { type Clock, systemClock } from '#runtime/clock.ts';
import { delta, FOLLOW, ONE, RecordingHandlers, TWO } from '#test/suites/transport-samples.ts';
import { FAST, GrpcRig, type RigOptions } from './grpc-rig.ts';
import { dial, hello, request, response } from './raw-peers.ts';

const LIMITS = { timeout: 10_000 };
const LOCATE = { requestId: 'request-7', kind: 1, repository: 'prod/web', name: 'v1' };

/** A clock whose time passes, and whose ticks come, only when told to; sleeping stays real. */
class SteppedClock implements Clock {
  #offsetMs = 0;
  readonly #ticks = new Set<() => void>();

  nowMs(): number {
    return systemClock.nowMs() + this.#offsetMs;
  }

  monotonicMs(): number {
    return 1_000_000 + this.#offsetMs;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return systemClock.sleep(ms, signal);
  }

  every(_ms: number, tick: () => void): Disposable {
    this.#ticks.add(tick);
    return { [Symbol.dispose]: () => this.#ticks.delete(tick) };
  }

  after(ms: number, callback: () => void): Disposable {
    return systemClock.after(ms, callback);
  }

  step(ms: number): void {
    this.#offsetMs += ms;
    for (const tick of this.#ticks) tick();
  }
}

async function pair(options: RigOptions = {}) {
  const rig = await GrpcRig.open(2, options);
  const [one, two] = [ONE, TWO].map((number) => ({
    transport: rig.transport(number),
    handlers: new RecordingHandlers(),
  }));
  assert.ok(one !== undefined && two !== undefined);
  for (const { transport, handlers } of [one, two]) await transport.start(handlers);
  for (const { handlers } of [one, two]) await handlers.until(() => handlers.ups.length === 1);
  return { rig, one, two, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() };
}

type Side = Awaited<ReturnType<typeof pair>>['one'];

/** Sends over the link that two dials, both ways, and waits until all of it is there. */
async function talkOverTwosLink(one: Side, two: Side, round: number): Promise<void> {
  assert.equal(one.transport.send(TWO, delta(ONE, round)), true);
  assert.equal(two.transport.send(ONE, FOLLOW), true);
  const count = ({ handlers }: Side, type: string) =>
    handlers.messages.filter(({ message }) => message.type === type).length;
  await two.handlers.until(() => count(two, 'delta') === round);
  await one.handlers.until(() => count(one, 'follow') === round);
}

const TRACE = { traceId: 'a1'.repeat(16), spanId: 'b2'.repeat(8), sampled: true };

test('links: a silent one is closed on both sides, and dialled again', LIMITS, async () => {
  const clock = new SteppedClock();
  const timings = { ...FAST, beatMs: 1000, silenceMs: 5000 };
  await using region = await pair({ clock, timings });
  const { rig, one, two } = region;
  rig.relay(ONE, TWO).swallows = true;
  let second = 0;
  // Frames that were on their way at first may still be heard after the first step.
  while (one.handlers.downs.length === 0 || two.transport.send(ONE, delta(TWO, 1))) {
    second += 1;
    assert.ok(second <= 8, 'nobody noticed the silence');
    clock.step(1000);
    await talkOverTwosLink(one, two, second);
  }
  assert.ok(second > 5, `closed after ${second} s`);
  assert.match(one.handlers.downs[0]?.reason ?? '', /nothing was heard from the peer for 5000 ms/);
  assert.deepEqual(two.handlers.downs, [], 'the link that talked was closed');
  rig.relay(ONE, TWO).swallows = false;
  rig.relay(ONE, TWO).cut();
  rig.relay(ONE, TWO).heal();
  await one.handlers.until(() => one.handlers.ups.length === 2);
});

test('links: a process that stood still blames nobody', LIMITS, async () => {
  const clock = new SteppedClock();
  await using region = await pair({ clock, timings: { ...FAST, beatMs: 1000, silenceMs: 5000 } });
  clock.step(60_000);
  await talkOverTwosLink(region.one, region.two, 1);
  assert.deepEqual(region.one.handlers.downs, []);
  assert.deepEqual(region.two.handlers.downs, []);
});

test('links: a peer that reads nothing fills a bounded queue, and is not waited for', LIMITS, async () => {
  await using region = await pair({ timings: { ...FAST, silenceMs: 60_000 } });
  const { rig, one } = region;
  rig.relay(TWO, ONE).swallows = true;
  let takenBytes = 0;
  while (one.transport.send(TWO, delta(ONE, 1, 60_000))) {
    takenBytes += 60_000;
    assert.ok(takenBytes < 16 * 1024 * 1024, 'the queue has no limit');
    await new Promise(setImmediate);
  }
  // What HTTP/2 lets be in flight (4 MiB), and the queue behind it (1 MiB).
  assert.ok(takenBytes < 6 * 1024 * 1024, `${takenBytes} bytes were taken`);
  assert.equal(one.transport.send(TWO, delta(ONE, 1, 60_000)), false);
  const dropped = rig.place(ONE).metrics.getSingleMetric('fairway_mesh_messages_dropped_total');
  assert.equal((await dropped?.get())?.values[0]?.value, 2);
});

test('links: a far link carries more at once than the 64 KiB of an HTTP/2 window', LIMITS, async () => {
  await using rig = await GrpcRig.open(2);
  rig.relay(TWO, ONE).delayMs = 75;
  const [one, two] = [rig.transport(ONE), rig.transport(TWO)];
  const recorded = new RecordingHandlers();
  await one.start(new RecordingHandlers());
  await two.start(recorded);
  await recorded.until(() => recorded.ups.length === 1);
  let accepted = 0;
  while (one.send(TWO, delta(ONE, accepted + 1, 8000))) {
    accepted += 1;
    assert.ok(accepted < 1000, 'the queue has no limit');
  }
  await recorded.until(() => recorded.messages.length === accepted);
  const { inFlightMax } = rig.relay(TWO, ONE).fromTarget;
  assert.ok(inFlightMax > 512 * 1024, `at most ${inFlightMax} bytes were in flight`);
  await measured(two);
  assert.ok((two.links()[0]?.roundTripMs ?? 0) >= 150, 'the round trip is shorter than the delays');
});

async function measured(transport: GrpcTransport): Promise<void> {
  while (transport.links()[0]?.roundTripMs === 0) await new Promise(setImmediate);
}

test('links: a region that dials again replaces its former link', LIMITS, async () => {
  await using rig = await GrpcRig.open(2);
  const transport = rig.transport(ONE);
  const handlers = new RecordingHandlers();
  await transport.start(handlers);
  const { tls } = rig.place(TWO);
  const value = { $typeName: 'fairway.mesh.v1.Cursors', cursors: [], creditBytes: 1 } as const;
  const requests = [
    request({ case: 'hello', value: hello(TWO) }),
    request({ case: 'follow', value: { ...value, cursors: [] } }),
  ];
  const first = dial(transport.port, tls, requests);
  await handlers.until(() => handlers.messages.length === 1);
  const controller = new AbortController();
  const second = dial(transport.port, tls, requests, controller.signal);
  assert.equal((await first).end.code, status.ABORTED);
  await handlers.until(() => handlers.messages.length === 2);
  assert.equal(transport.send(TWO, delta(ONE, 1)), true);
  controller.abort(new Error('enough'));
  assert.equal((await second).end.endedBy, 'us');
});

test('links: a stopping region says so, and lets calls end', LIMITS, async () => {
  await using region = await pair({ timings: { ...FAST, drainMs: 5000 } });
  const { one, two } = region;
  const answer = Promise.withResolvers<LocateReply>();
  one.handlers.locateReply = () => answer.promise;
  const asked = two.transport.locate(ONE, LOCATE, AbortSignal.timeout(5000));
  await one.handlers.until(() => one.handlers.asked.length === 1);
  const stopped = one.transport[Symbol.asyncDispose]();
  await two.handlers.until(() => two.handlers.downs.length === 1);
  assert.match(two.handlers.downs[0]?.reason ?? '', /region-1 is stopping/);
  answer.resolve({ claims: [new Uint8Array([1])] });
  assert.deepEqual(await asked, { claims: [new Uint8Array([1])] });
  await stopped;
});

test('links: a stopping region waits for no call that does not end', LIMITS, async () => {
  await using region = await pair({ timings: { ...FAST, drainMs: 20 } });
  const { one, two } = region;
  const never = Promise.withResolvers<LocateReply>();
  one.handlers.locateReply = () => never.promise;
  const refused = assert.rejects(
    two.transport.locate(ONE, LOCATE, AbortSignal.timeout(9000)),
    UnavailableError,
  );
  await one.handlers.until(() => one.handlers.asked.length === 1);
  await one.transport[Symbol.asyncDispose]();
  await refused;
  never.resolve({ claims: [] });
});

test(
  'links: connections that never become links are ended, and so is everything at the end',
  LIMITS,
  async () => {
    const clock = new SteppedClock();
    await using rig = await GrpcRig.open(2, { clock, timings: { ...FAST, beatMs: 1000, silenceMs: 1500 } });
    const open = new Set<Socket>();
    const changed = new RecordingHandlers();
    await using mute = await listening((socket) => {
      open.add(socket.resume());
      socket.on('error', () => undefined);
      socket.on('close', () => {
        open.delete(socket);
        changed.linkUp(ONE);
      });
      changed.linkUp(ONE);
    });
    rig.relay(ONE, TWO).redirect(mute.port);
    const transport = rig.transport(ONE);
    await transport.start(new RecordingHandlers());
    for (let dials = 1; dials <= 5; dials += 1) {
      await changed.until(() => open.size === 1);
      clock.step(1000);
      clock.step(1000);
      await changed.until(() => open.size === 0);
    }
    const stranger = connect(transport.port, '127.0.0.1');
    await once(stranger, 'connect');
    const ended = once(stranger.resume(), 'close');
    await transport[Symbol.asyncDispose]();
    await ended;
    await changed.until(() => open.size === 0);
  },
);

async function listening(accept: (socket: Socket) => void) {
  const server = createServer(accept).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const close = async () => {
    server.close();
    await once(server, 'close');
  };
  return { port: address.port, [Symbol.asyncDispose]: close };
}

test('links: a question ends at its deadline, whatever its signal allows', LIMITS, async () => {
  await using region = await pair({ timings: { ...FAST, requestMs: 50 } });
  const { one, two } = region;
  const never = Promise.withResolvers<LocateReply>();
  one.handlers.locateReply = () => never.promise;
  const asked = two.transport.locate(ONE, LOCATE, AbortSignal.timeout(9000));
  await assert.rejects(asked, /region-1 did not answer: Deadline exceeded/);
  never.resolve({ claims: [] });
});

test('links: an answer that is our own fault tells the peer nothing of it', LIMITS, async () => {
  await using region = await pair();
  region.one.handlers.locateReply = () => Promise.reject(new Error('secret'));
  const asked = region.two.transport.locate(ONE, LOCATE, AbortSignal.timeout(5000));
  await assert.rejects(asked, /did not answer: the region failed to answer/);
});

test(
  'links: the id and the trace of a request travel as metadata too, and garbage for an answer is unavailable',
  LIMITS,
  async () => {
    await using rig = await GrpcRig.open(2);
    const { tls } = rig.place(TWO);
    const seen: Metadata[] = [];
    const raw = new Server();
    const same = (bytes: Buffer) => bytes;
    const greeting = toBinary(FollowResponseSchema, response({ case: 'hello', value: hello(TWO) }));
    raw.register(
      '/fairway.mesh.v1.MeshService/Follow',
      (call: ServerDuplexStream<Buffer, Buffer>) => {
        call.on('error', () => undefined);
        call.resume();
        call.write(Buffer.from(greeting));
      },
      same,
      same,
      'bidi',
    );
    raw.register(
      '/fairway.mesh.v1.MeshService/Locate',
      (call: { readonly metadata: Metadata }, reply: (error: null, bytes: Buffer) => void) => {
        seen.push(call.metadata);
        const manifest = { mediaType: '', bytes: new Uint8Array() };
        reply(null, Buffer.from(toBinary(LocateResponseSchema, create(LocateResponseSchema, { manifest }))));
      },
      same,
      same,
      'unary',
    );
    const pairs = [{ private_key: Buffer.from(tls.keyPem), cert_chain: Buffer.from(tls.certificatePem) }];
    const credentials = ServerCredentials.createSsl(Buffer.from(tls.authorityPem), pairs, true);
    const bound = Promise.withResolvers<number>();
    raw.bindAsync('127.0.0.1:0', credentials, (_error, port) => bound.resolve(port));
    rig.relay(ONE, TWO).redirect(await bound.promise);
    const transport = rig.transport(ONE);
    const handlers = new RecordingHandlers();
    await transport.start(handlers);
    await handlers.until(() => handlers.ups.length === 1);
    const asked = transport.locate(TWO, { ...LOCATE, trace: TRACE }, AbortSignal.timeout(5000));
    await assert.rejects(asked, /region-2 answered garbage: manifest: has no media type/);
    assert.deepEqual(seen[0]?.get('fairway-request-id'), ['request-7']);
    assert.deepEqual(seen[0]?.get('traceparent'), [`00-${TRACE.traceId}-${TRACE.spanId}-01`]);
    raw.forceShutdown();
  },
);
