/**
 * The law of `Transport`: what every implementation keeps, whatever carries the bytes. A rig runs regions whose
 * dialled links can be cut one by one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnavailableError } from '#domain/errors.ts';
import type { RegionNumber } from '#domain/region.ts';
import type { Message } from '#mesh/claims/message.ts';
import type {
  HoldingsReply,
  HoldingsRequest,
  LocateReply,
  LocateRequest,
  Transport,
} from '#mesh/transport/transport.ts';
import { claimBytes, delta, EPOCH, FOLLOW, ONE, RecordingHandlers, THREE, TWO } from './transport-samples.ts';

/** A few regions, numbered from 1, of which none has started. */
export interface TransportRig extends AsyncDisposable {
  /** Of one region. After it was disposed, the next call gives that region's restart. */
  transport(number: RegionNumber): Transport;
  /** Cuts the link that `dialler` holds to `peer`, and no other. */
  cut(dialler: RegionNumber, peer: RegionNumber): void;
  heal(dialler: RegionNumber, peer: RegionNumber): void;
}

export type OpenRig = (regions: number) => Promise<TransportRig>;

const LIMITS = { timeout: 10_000 };

const LOCATE: LocateRequest = { requestId: 'request-1', kind: 1, repository: 'prod/web', name: 'v1' };

/** Regions that run, each with its handlers. */
async function running(rig: TransportRig, numbers: readonly RegionNumber[]) {
  const regions = numbers.map((number) => ({
    number,
    transport: rig.transport(number),
    handlers: new RecordingHandlers(),
  }));
  await Promise.all(regions.map(({ transport, handlers }) => transport.start(handlers)));
  await Promise.all(
    regions.map(({ handlers }) => handlers.until(() => handlers.ups.length === numbers.length - 1)),
  );
  return regions;
}

async function pair(rig: TransportRig) {
  const [one, two] = await running(rig, [ONE, TWO]);
  assert.ok(one !== undefined && two !== undefined);
  return { one, two };
}

export function transportSuite(name: string, openRig: OpenRig): void {
  linkFailures(name, openRig);
  questionFailures(name, openRig);
  conversations(name, openRig);
}

function linkFailures(name: string, openRig: OpenRig): void {
  test(`${name}: a region whose peer does not run has no link, and sends nothing`, LIMITS, async () => {
    await using rig = await openRig(2);
    const transport = rig.transport(ONE);
    await transport.start(new RecordingHandlers());
    assert.equal(transport.send(TWO, FOLLOW), false);
    assert.equal(transport.send(TWO, delta(ONE, 1)), false);
    const [link] = transport.links();
    assert.equal(link?.up, false);
    assert.notEqual(link?.reason, '');
    await assert.rejects(transport.locate(TWO, LOCATE, AbortSignal.timeout(5000)), UnavailableError);
  });

  test(`${name}: one that never started can be disposed`, LIMITS, async () => {
    await using rig = await openRig(2);
    const transport = rig.transport(ONE);
    assert.equal(transport.send(TWO, FOLLOW), false);
    await transport[Symbol.asyncDispose]();
    await transport[Symbol.asyncDispose]();
    assert.equal(transport.links()[0]?.up, false);
  });

  test(`${name}: a cut link is reported with a reason, and returns when it is healed`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one } = await pair(rig);
    rig.cut(ONE, TWO);
    await one.handlers.until(() => one.handlers.downs.length === 1);
    assert.equal(one.handlers.downs[0]?.peer, TWO);
    assert.notEqual(one.handlers.downs[0]?.reason, '');
    assert.equal(one.transport.links()[0]?.up, false);
    assert.equal(one.transport.send(TWO, FOLLOW), false);
    rig.heal(ONE, TWO);
    await one.handlers.until(() => one.handlers.ups.length === 2);
    assert.equal(one.transport.links()[0]?.up, true);
    assert.equal(one.transport.links()[0]?.reason, '');
  });

  test(`${name}: cutting one dialled link leaves the other direction's`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one, two } = await pair(rig);
    rig.cut(ONE, TWO);
    await one.handlers.until(() => one.handlers.downs.length === 1);
    assert.equal(one.transport.send(TWO, delta(ONE, 1)), true);
    assert.equal(two.transport.send(ONE, FOLLOW), true);
    await two.handlers.until(() => two.handlers.messages.length === 1);
    await one.handlers.until(() => one.handlers.messages.length === 1);
    assert.deepEqual(two.handlers.downs, []);
  });

  test(`${name}: a region that stopped is noticed, and its restart is found again`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one, two } = await pair(rig);
    await two.transport[Symbol.asyncDispose]();
    await one.handlers.until(() => one.handlers.downs.length === 1);
    const again = new RecordingHandlers();
    const restarted = rig.transport(TWO);
    await restarted.start(again);
    await one.handlers.until(() => one.handlers.ups.length === 2);
    await again.until(() => again.ups.length === 1);
    assert.equal(one.transport.send(TWO, FOLLOW), true);
    await again.until(() => again.messages.length === 1);
  });

  test(`${name}: a disposed transport calls nobody and sends nothing`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one, two } = await pair(rig);
    await one.transport[Symbol.asyncDispose]();
    await two.handlers.until(() => two.handlers.downs.length === 1);
    assert.equal(one.transport.send(TWO, FOLLOW), false);
    assert.equal(one.transport.send(TWO, delta(ONE, 1)), false);
    assert.deepEqual(one.handlers.downs, []);
    assert.deepEqual(one.handlers.messages, []);
  });

  test(`${name}: a full queue refuses, and what it took arrives in order`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one, two } = await pair(rig);
    let accepted = 0;
    while (one.transport.send(TWO, delta(ONE, accepted + 1, 8000))) {
      accepted += 1;
      assert.ok(accepted < 1000, 'the queue has no limit');
    }
    assert.ok(accepted > 50, `only ${accepted} messages of 8 kB were taken`);
    await two.handlers.until(() => two.handlers.messages.length === accepted);
    const sequences = two.handlers.messages.map(({ message }) => message.type === 'delta' && message.to);
    assert.deepEqual(
      sequences,
      Array.from({ length: accepted }, (_, position) => position + 1),
    );
    assert.equal(one.transport.send(TWO, delta(ONE, accepted + 1)), true);
    await two.handlers.until(() => two.handlers.messages.length === accepted + 1);
  });
}

function questionFailures(name: string, openRig: OpenRig): void {
  test(`${name}: a question whose peer cannot answer is unavailable`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one, two } = await pair(rig);
    two.handlers.locateReply = () => Promise.reject(new UnavailableError('the disk is away'));
    await assert.rejects(one.transport.locate(TWO, LOCATE, AbortSignal.timeout(5000)), (thrown) => {
      assert.ok(thrown instanceof UnavailableError);
      assert.match(thrown.message, /did not answer: the disk is away/);
      return true;
    });
  });

  test(`${name}: a question ends with its signal`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one, two } = await pair(rig);
    const never = Promise.withResolvers<LocateReply>();
    two.handlers.locateReply = () => never.promise;
    const controller = new AbortController();
    const asked = one.transport.locate(TWO, LOCATE, controller.signal);
    const refused = assert.rejects(asked, (thrown) => {
      assert.ok(thrown instanceof UnavailableError);
      assert.match(thrown.message, /the client went away/);
      return true;
    });
    await two.handlers.until(() => two.handlers.asked.length === 1);
    controller.abort(new Error('the client went away'));
    await refused;
    never.resolve({ claims: [] });
  });

  test(`${name}: a question ends with its link`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one, two } = await pair(rig);
    const never = Promise.withResolvers<LocateReply>();
    two.handlers.locateReply = () => never.promise;
    const refused = assert.rejects(
      one.transport.locate(TWO, LOCATE, AbortSignal.timeout(9000)),
      UnavailableError,
    );
    await two.handlers.until(() => two.handlers.asked.length === 1);
    rig.cut(ONE, TWO);
    await refused;
    never.resolve({ claims: [] });
  });

  test(`${name}: an aborted signal asks nobody`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one } = await pair(rig);
    const signal = AbortSignal.abort(new Error('too late'));
    await assert.rejects(
      one.transport.holdings(TWO, { requestId: '', digests: [] }, signal),
      UnavailableError,
    );
  });
}

function conversations(name: string, openRig: OpenRig): void {
  test(
    `${name}: all four kinds of messages arrive as they were sent, and say from whom`,
    LIMITS,
    async () => {
      await using rig = await openRig(3);
      const [one, two, three] = await running(rig, [ONE, TWO, THREE]);
      assert.ok(one !== undefined && two !== undefined && three !== undefined);
      const cursors = [{ region: THREE, epoch: EPOCH, have: Number.MAX_SAFE_INTEGER, safe: 0 }];
      const manifest = {
        mediaType: 'application/vnd.oci.image.index.v1+json',
        bytes: new Uint8Array([1, 2]),
      };
      const messages: readonly Message[] = [
        FOLLOW,
        { type: 'ack', cursors },
        { type: 'summary', heads: cursors },
        { ...delta(TWO, 9), claims: [{ sequence: 9, bytes: claimBytes(TWO, 9), manifest }] },
      ];
      for (const message of messages) {
        assert.equal(two.transport.send(ONE, message), true);
        assert.equal(three.transport.send(ONE, message), true);
      }
      await one.handlers.until(() => one.handlers.messages.length === 2 * messages.length);
      const { messages: arrived } = one.handlers;
      for (const from of [TWO, THREE]) {
        const fromIt = arrived.filter((entry) => entry.from === from).map((entry) => entry.message);
        assert.deepEqual(byType(fromIt), byType(messages));
      }
    },
  );

  test(`${name}: messages of one kind keep their order`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one, two } = await pair(rig);
    for (let sequence = 1; sequence <= 500; sequence += 1) {
      assert.equal(one.transport.send(TWO, delta(ONE, sequence)), true);
      assert.equal(two.transport.send(ONE, { type: 'ack', cursors: cursorsAt(sequence) }), true);
    }
    await two.handlers.until(() => two.handlers.messages.length === 500);
    await one.handlers.until(() => one.handlers.messages.length === 500);
    for (const [position, { message }] of two.handlers.messages.entries()) {
      assert.equal(message.type === 'delta' && message.to, position + 1);
    }
    for (const [position, { message }] of one.handlers.messages.entries()) {
      assert.deepEqual(message, { type: 'ack', cursors: cursorsAt(position + 1) });
    }
  });

  test(`${name}: questions are answered`, LIMITS, async () => {
    await using rig = await openRig(2);
    const { one, two } = await pair(rig);
    const located: LocateReply = {
      claims: [claimBytes(ONE, 1), claimBytes(TWO, 2)],
      manifest: { mediaType: 'application/vnd.oci.image.manifest.v1+json', bytes: new Uint8Array([7]) },
    };
    two.handlers.locateReply = async () => located;
    assert.deepEqual(await one.transport.locate(TWO, LOCATE, AbortSignal.timeout(5000)), located);
    const digest = `sha256:${'ab'.repeat(32)}`;
    const held: HoldingsReply = {
      holdings: [
        {
          digest,
          state: 'filling',
          sizeBytes: 2 ** 40,
          sizeBytesHere: 7,
          bytesBySource: { push: 3, 'eu-west': 4 },
          storedMs: 1_700_000_000_000,
        },
      ],
    };
    two.handlers.holdingsReply = async () => held;
    const request: HoldingsRequest = { requestId: 'request-2', digests: [digest] };
    assert.deepEqual(await one.transport.holdings(TWO, request, AbortSignal.timeout(5000)), held);
    assert.deepEqual(two.handlers.asked, [
      { from: ONE, request: LOCATE },
      { from: ONE, request },
    ]);
  });

  test(`${name}: links name every peer, and since when they are up`, LIMITS, async () => {
    await using rig = await openRig(3);
    const [one] = await running(rig, [ONE, TWO, THREE]);
    const links = one?.transport.links() ?? [];
    assert.deepEqual(
      links.map(({ peer, up }) => ({ peer, up })),
      [
        { peer: TWO, up: true },
        { peer: THREE, up: true },
      ],
    );
    assert.ok(links.every(({ sinceMs }) => sinceMs > 1_600_000_000_000));
  });
}

/** The two links of a pair may overtake each other: only the order on each is kept. */
function byType(messages: readonly Message[]): ReadonlyMap<string, Message> {
  return new Map(messages.map((message) => [message.type, message]));
}

function cursorsAt(have: number) {
  return [{ region: ONE, epoch: EPOCH, have, safe: have }];
}
