/** The relay between regions: bytes unchanged and counted, rates and delays kept, cuts felt at once. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { Direction, NO_SHAPE, Relay, type Shape } from '#cli/relay.ts';
import { systemClock } from '#runtime/clock.ts';

/** A server that answers everything it got, once the client has ended. */
async function rig(shape: Shape) {
  const stack = new AsyncDisposableStack();
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    const got: Buffer[] = [];
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => got.push(chunk));
    socket.on('end', () => socket.end(Buffer.concat(got)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stack.defer(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const there = new Direction(shape);
  const back = new Direction(NO_SHAPE);
  const { port } = server.address() as { port: number };
  const relay = stack.use(new Relay({ there, back, clock: systemClock }, { host: '127.0.0.1', port }));
  const address = await relay.listen(0);
  return { there, back, relay, address, server, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function roundTrip(address: { host: string; port: number }, bytes: Buffer): Promise<Buffer> {
  const socket = connect({ ...address, allowHalfOpen: true });
  const got: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => got.push(chunk));
  socket.end(bytes);
  await once(socket, 'end');
  return Buffer.concat(got);
}

for (const [name, shape] of [
  ['without a shape', NO_SHAPE],
  ['delayed and slowed', { delayMs: 20, bytesPerSecond: 50_000_000 }],
] as const) {
  test(`relay: carries bytes unchanged and counts them, ${name}`, async () => {
    await using relay = await rig(shape);
    const bytes = randomBytes(3_000_000);
    const got = await roundTrip(relay.address, bytes);
    assert.ok(got.equals(bytes));
    assert.equal(relay.there.bytes, bytes.length);
    assert.equal(relay.back.bytes, bytes.length);
  });
}

test('relay: a cut ends connections and refuses new ones until it is healed', async () => {
  await using relay = await rig(NO_SHAPE);
  const open = connect({ ...relay.address });
  const closed = new Promise((resolve) => open.once('close', resolve));
  open.on('error', () => undefined);
  await once(open, 'connect');
  relay.relay.cut();
  await closed;
  await assert.rejects(roundTrip(relay.address, Buffer.from('x')));
  relay.relay.heal();
  assert.equal((await roundTrip(relay.address, Buffer.from('x'))).toString(), 'x');
});

test('relay: a target that is not there closes the connection', async () => {
  await using relay = await rig(NO_SHAPE);
  relay.server.close();
  const socket = connect(relay.address);
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('close', resolve));
  assert.equal(relay.back.bytes, 0);
});

test('direction: a rate is shared by all that goes through it, a delay is added to each', () => {
  const direction = new Direction({ delayMs: 10, bytesPerSecond: 1000 });
  assert.equal(direction.arrivalMs(100, 0), 110);
  assert.equal(direction.arrivalMs(100, 0), 210);
  assert.equal(direction.arrivalMs(100, 1000), 1110);
});
