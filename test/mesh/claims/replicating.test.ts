/** How claims reach other regions, and how they get there after all when messages, links and processes fail. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DeltaMessage } from '#mesh/claims/message.ts';
import { digestNamed, type Sent, setTag, TinyMesh } from './tiny-mesh.ts';

function connected(count: number, config: ConstructorParameters<typeof TinyMesh>[1] = {}): TinyMesh {
  const mesh = new TinyMesh(count, config);
  mesh.connect();
  return mesh;
}

function isDelta(sent: Sent): sent is Sent & { readonly message: DeltaMessage } {
  return sent.message.type === 'delta';
}

test('claims: a gap is noticed and asked for at once', () => {
  const mesh = connected(2);
  mesh.pass(1000);
  mesh.region(1).write(setTag('a', 'one'));
  mesh.takeWire();
  mesh.region(1).write(setTag('b', 'two'));
  mesh.settle();
  assert.deepEqual(
    mesh.region(2).events.map(({ event }) => event),
    ['gap'],
  );
  mesh.assertEqual();
});

test('claims: a lost delta that nothing follows is asked for after a summary', () => {
  const mesh = connected(2);
  mesh.region(1).write(setTag('a', 'one'));
  mesh.takeWire();
  mesh.pass(2000);
  mesh.assertEqual();
});

test('claims: lost questions, confirmations and summaries are made up for', () => {
  for (const lost of ['follow', 'ack', 'summary'] as const) {
    const mesh = connected(3);
    let left = 4;
    mesh.passes = ({ message }) => message.type !== lost || left-- <= 0;
    for (let round = 0; round < 5; round += 1) {
      mesh.region(1).write(setTag(`a${round}`, `${round}`));
      if (round % 2 === 0) mesh.takeWire();
      mesh.pass(500);
    }
    mesh.pass(5000);
    mesh.assertEqual();
  }
});

test('claims: a repeated delta changes nothing and is confirmed again', () => {
  const mesh = connected(2);
  mesh.region(1).write(setTag('a', 'one'));
  const deltas = mesh.takeWire().filter(isDelta);
  assert.equal(deltas.length, 1);
  for (const delta of deltas) mesh.deliver(delta);
  const before = mesh.region(2).rows.fingerprint();
  mesh.region(2).changed.length = 0;
  mesh.region(2).sent.length = 0;
  for (const delta of deltas) mesh.deliver(delta);
  assert.equal(mesh.region(2).rows.fingerprint(), before);
  assert.deepEqual(mesh.region(2).changed, []);
  assert.deepEqual(
    mesh.region(2).sent.map(({ message }) => message),
    [{ type: 'ack', cursors: [{ region: 1, epoch: '0000000000000001', have: 1, safe: 1 }] }],
  );
  mesh.settle();
  mesh.assertEqual();
});

test('claims: deltas that arrive in the wrong order end in the same state', () => {
  const mesh = connected(2);
  for (const value of ['one', 'two', 'three', 'four']) mesh.region(1).write(setTag('a', value));
  const late = mesh.takeWire().toReversed();
  assert.ok(late.filter(isDelta).length > 1);
  for (const sent of late) mesh.deliver(sent);
  mesh.pass(3000);
  assert.equal(mesh.region(2).digest('a'), digestNamed('four'));
  mesh.assertEqual();
});

test('claims: a region that restarts goes on from what it stored', () => {
  const mesh = connected(3);
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.restart(2);
  mesh.region(1).write(setTag('b', 'two'));
  mesh.settle();
  mesh.region(2).write(setTag('a', 'three'));
  mesh.settle();
  mesh.pass(2000);
  mesh.assertEqual();
  assert.equal(mesh.region(2).rows.origin.sequence, 1);
  const refetched = mesh
    .region(1)
    .sent.filter(isDelta)
    .filter(({ to, message }) => to === 2 && message.from === 0);
  assert.equal(refetched.length, 1, 'what was stored before the restart is not sent again');
});

test('claims: a region that restarts in the middle of catching up becomes exact again', () => {
  const mesh = new TinyMesh(2, { deltaClaimsMax: 2 });
  for (const tag of ['a', 'b', 'c', 'd', 'e', 'a']) mesh.region(1).write(setTag(tag, tag));
  mesh.passes = ({ message }) => message.type !== 'delta' || message.to <= 3;
  mesh.connect();
  assert.deepEqual(mesh.region(2).cursor(1), { have: 3, safe: 0 });
  mesh.passes = () => true;
  mesh.restart(2);
  mesh.settle();
  mesh.pass(2000);
  mesh.assertEqual();
});

test('claims: a region that was away for long catches up with everything by itself', () => {
  const mesh = connected(3);
  mesh.cut(1, 3);
  mesh.cut(2, 3);
  for (let count = 0; count < 2500; count += 1) mesh.region(1).write(setTag(`t${count % 1200}`, `${count}`));
  mesh.region(3).write(setTag('t0', 'from the island'));
  mesh.settle();
  mesh.heal(1, 3);
  mesh.settle();
  mesh.pass(3000);
  mesh.heal(2, 3);
  mesh.settle();
  mesh.pass(3000);
  mesh.assertEqual();
});

test('claims: a third region passes on what two others cannot tell each other', () => {
  const mesh = connected(3);
  mesh.cut(1, 2);
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  assert.equal(mesh.region(2).digest('a'), undefined);
  mesh.pass(3000);
  assert.equal(mesh.region(2).digest('a'), digestNamed('one'));
  mesh.assertEqual();
});

test('claims: in a full mesh every claim crosses every link once', () => {
  const mesh = connected(5);
  mesh.pass(3000);
  for (const region of mesh.regions) region.sent.length = 0;
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.pass(5000);
  const withClaims = mesh.regions
    .flatMap((region) => region.sent.filter(isDelta))
    .filter(({ message }) => message.claims.length > 0);
  assert.deepEqual(
    withClaims.map(({ from, to }) => [from, to]),
    [2, 3, 4, 5].map((to) => [1, to]),
  );
  mesh.assertEqual();
});

test('claims: one of many relays, not all of them', () => {
  const mesh = connected(6);
  mesh.cut(1, 2);
  for (const region of mesh.regions) region.sent.length = 0;
  mesh.region(1).write(setTag('a', 'one'));
  mesh.settle();
  mesh.pass(6000);
  const relays = mesh.regions
    .flatMap((region) => region.sent.filter(isDelta))
    .filter(({ from, to, message }) => from !== 1 && to === 2 && message.claims.length > 0)
    .map(({ from }) => from);
  assert.equal(new Set(relays).size, 1, `${relays} relayed`);
  mesh.assertEqual();
});

test('claims: what is sent and not confirmed stays within the credit', () => {
  const creditBytes = 4000;
  const mesh = new TinyMesh(2, { creditBytes, deltaBytesMax: 1500 });
  for (let count = 0; count < 200; count += 1) mesh.region(1).write(setTag(`t${count}`, 'one'));
  let [inFlight, most] = [0, 0];
  const sizeOf = (delta: DeltaMessage) => delta.claims.reduce((sum, claim) => sum + claim.bytes.length, 0);
  mesh.connect();
  mesh.restart(2);
  for (let next = mesh.wire.shift(); next !== undefined; next = mesh.wire.shift()) {
    mesh.deliver(next);
    inFlight = mesh.wire.filter(isDelta).reduce((sum, { message }) => sum + sizeOf(message), 0);
    most = Math.max(most, inFlight);
  }
  mesh.pass(1000);
  mesh.assertEqual();
  const fresh = new TinyMesh(2, { creditBytes, deltaBytesMax: 1500 });
  for (let count = 0; count < 200; count += 1) fresh.region(1).write(setTag(`t${count}`, 'one'));
  fresh.passes = ({ message }) => message.type !== 'ack';
  fresh.connect();
  const unconfirmed = fresh
    .region(1)
    .sent.filter(isDelta)
    .reduce((sum, { message }) => sum + sizeOf(message), 0);
  assert.ok(
    unconfirmed > creditBytes / 2 && unconfirmed <= creditBytes,
    `${unconfirmed} bytes were sent unconfirmed`,
  );
  assert.ok(most <= creditBytes, `${most} bytes were under way`);
});

test('claims: the bytes for one more tag do not depend on the number of tags stored', () => {
  const bytesForOneMore = (count: number) => {
    const mesh = new TinyMesh(2);
    for (let stored = 0; stored < count; stored += 1) mesh.region(1).write(setTag(`t${stored}`, 'one'));
    mesh.connect();
    mesh.pass(3000);
    mesh.assertEqual();
    mesh.region(1).sent.length = 0;
    mesh.region(2).sent.length = 0;
    mesh.region(1).write(setTag('one-more', 'two'));
    mesh.settle();
    mesh.pass(1000);
    mesh.assertEqual();
    return [...mesh.region(1).sent, ...mesh.region(2).sent]
      .map(({ message }) =>
        isMessageWithClaims(message)
          ? message.claims.reduce((sum, { bytes }) => sum + bytes.length, 64)
          : cursorsOf(message) * 24,
      )
      .reduce((sum, bytes) => sum + bytes, 0);
  };
  assert.equal(bytesForOneMore(100), bytesForOneMore(2000));
});

function isMessageWithClaims(message: Sent['message']): message is DeltaMessage {
  return message.type === 'delta';
}

function cursorsOf(message: Exclude<Sent['message'], DeltaMessage>): number {
  return message.type === 'summary' ? message.heads.length : message.cursors.length;
}
