/** The wire codec: what is sent arrives alike, and whatever else arrives is refused whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { CLAIM_EPOCH_OFFSET, CLAIM_HEAD_BYTES } from '#domain/claim-layout.ts';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import type { Message, OriginCursor } from '#mesh/claims/message.ts';
import {
  CURSORS_MAX,
  decodeMessage,
  encodeMessage,
  fromFollowRequest,
  fromFollowResponse,
  MalformedMessageError,
} from '#mesh/transport/wire.ts';
import { FollowRequestSchema, FollowResponseSchema } from '#protos/fairway/mesh/v1/mesh_pb.ts';
import { claimBytes, delta, EPOCH, FOLLOW, ONE } from '#test/suites/transport-samples.ts';
import { assertMalformed } from './assert-malformed.ts';

const WIRE_EPOCH = BigInt(`0x${EPOCH}`);

test('wire: bytes of nothing known are refused, never a crash', () => {
  assertMalformed(() => decodeMessage(new Uint8Array()), /no known direction/);
  assertMalformed(() => decodeMessage(new Uint8Array([3, 1])), /no known direction/);
  assertMalformed(() => decodeMessage(new Uint8Array([1])), /of the kind \(none\)/);
  assertMalformed(() => decodeMessage(new Uint8Array([2, 0xff])), /the bytes are no FollowResponse/);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(1, 2), (tail, direction) => {
      const outcome = outcomeOf(new Uint8Array([direction, ...tail]));
      assert.ok(outcome === 'refused' || outcome.type.length > 0);
    }),
    { numRuns: 2000 },
  );
});

test('wire: a message with flipped bits is refused or whole, never a crash', () => {
  const sent = encodeMessage({ ...delta(ONE, 3), claims: [{ sequence: 3, bytes: claimBytes(ONE, 3) }] });
  fc.assert(
    fc.property(fc.nat(sent.length - 1), fc.integer({ min: 1, max: 255 }), (position, mask) => {
      const bytes = new Uint8Array(sent);
      bytes[position] = (bytes[position] ?? 0) ^ mask;
      const outcome = outcomeOf(bytes);
      if (outcome !== 'refused' && outcome.type === 'delta') {
        assert.ok(
          outcome.claims.every((claim) => claim.sequence > outcome.from && claim.sequence <= outcome.to),
        );
      }
    }),
    { numRuns: 2000 },
  );
});

function outcomeOf(bytes: Uint8Array): Message | 'refused' {
  try {
    return decodeMessage(bytes);
  } catch (thrown) {
    assert.ok(thrown instanceof MalformedMessageError, `${thrown}`);
    return 'refused';
  }
}

test('wire: cursors that cannot be are refused', () => {
  const good = { region: 1, epoch: WIRE_EPOCH, have: 2n, safe: 1n };
  const wrong = [
    { cursors: [{ ...good, region: 0 }], message: /region: 0 is not a region number/ },
    { cursors: [{ ...good, region: 65_536 }], message: /region: 65536 is not a region number/ },
    { cursors: [{ ...good, have: 2n ** 53n }], message: /have: 9007199254740992 is out of range/ },
    { cursors: [{ ...good, safe: 3n }], message: /safe 3 is beyond have 2/ },
    { cursors: [good, good], message: /origin 1\.0123456789abcdef stands twice/ },
    { cursors: Array.from({ length: CURSORS_MAX + 1 }, () => good), message: /at most 16384/ },
  ];
  for (const { cursors, message } of wrong) {
    for (const kind of ['follow', 'ack'] as const) {
      const request = create(FollowRequestSchema, { message: { case: kind, value: { cursors } } });
      assertMalformed(() => fromFollowRequest(request), message);
    }
    const summary = { case: 'summary', value: { heads: cursors } } as const;
    assertMalformed(() => fromFollowResponse(create(FollowResponseSchema, { message: summary })), message);
  }
});

test('wire: deltas that contradict themselves are refused', () => {
  const bytes = claimBytes(ONE, 5);
  const good = { region: 1, epoch: WIRE_EPOCH, from: 4n, to: 5n, head: 5n, exact: true, claims: [{ bytes }] };
  const manifest = { mediaType: 'application/json', bytes: new Uint8Array(1) };
  const wrong = [
    [{ region: 70_000 }, /delta: region: 70000/],
    [{ region: 2 }, /claims\[0\]: is not of the delta's origin/],
    [{ epoch: 7n }, /claims\[0\]: is not of the delta's origin/],
    [{ from: 6n }, /from 6, to 5, head 5 are out of order/],
    [{ to: 6n }, /from 4, to 6, head 5 are out of order/],
    [{ head: 6n }, /exact, but to 5 is not head 6/],
    [{ head: 2n ** 60n, exact: false }, /head: 1152921504606846976 is out of range/],
    [{ from: 5n }, /sequence 5 is not within \(5, 5\]/],
    [{ to: 4n, exact: false }, /sequence 5 is not within \(4, 4\]/],
    [{ claims: [{ bytes }, { bytes }] }, /claims\[1\]: sequence 5 is not within \(5, 5\]/],
    [{ claims: [{ bytes: bytes.subarray(0, CLAIM_HEAD_BYTES - 1) }] }, /shorter than a claim's head/],
    [{ claims: [{ bytes: withLayoutVersion(bytes, 2) }] }, /layout version 2/],
    [{ claims: [{ bytes: claimBytes(ONE, 5, 72 * 1024) }] }, /at most 73728/],
    [{ claims: [{ bytes, manifest: { ...manifest, mediaType: '' } }] }, /manifest: has no media type/],
    [{ claims: [{ bytes, manifest: { ...manifest, mediaType: 'x'.repeat(256) } }] }, /256 characters/],
    [{ claims: [{ bytes, manifest: { ...manifest, bytes: new Uint8Array(65_537) } }] }, /65537 bytes/],
  ] as const;
  const parse = (change: object) => {
    const value = { ...good, ...change };
    return fromFollowResponse(create(FollowResponseSchema, { message: { case: 'delta', value } }));
  };
  assert.equal(parse({}).type, 'delta');
  for (const [change, message] of wrong) assertMalformed(() => parse(change), message);
});

/** The claim with another layout version. */
function withLayoutVersion(bytes: Uint8Array, version: number): Uint8Array {
  const changed = new Uint8Array(bytes);
  changed[0] = version;
  return changed;
}

test('wire: a sequence number beyond 2^53 inside a claim is refused', () => {
  const bytes = claimBytes(ONE, 5);
  new DataView(bytes.buffer).setBigUint64(CLAIM_EPOCH_OFFSET + 8, 2n ** 53n);
  const value = {
    region: 1,
    epoch: WIRE_EPOCH,
    from: 0n,
    to: 9n,
    head: 9n,
    exact: true,
    claims: [{ bytes }],
  };
  const response = create(FollowResponseSchema, { message: { case: 'delta', value } });
  assertMalformed(
    () => fromFollowResponse(response),
    /claims\[0\]: sequence: 9007199254740992 is out of range/,
  );
});

test('wire: hellos and beats are no messages of the index', () => {
  for (const kind of ['hello', 'beat'] as const) {
    assertMalformed(
      () => fromFollowRequest(create(FollowRequestSchema, { message: { case: kind, value: {} } })),
      /kind/,
    );
    assertMalformed(
      () => fromFollowResponse(create(FollowResponseSchema, { message: { case: kind, value: {} } })),
      /kind/,
    );
  }
});

const PLAIN = { noNullPrototype: true };
const cursor: fc.Arbitrary<OriginCursor> = fc
  .record({
    region: fc.integer({ min: 1, max: 65_535 }).map(parseRegionNumber),
    epoch: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    safe: fc.maxSafeNat(),
    ahead: fc.maxSafeNat(),
  })
  .map(({ region, epoch, safe, ahead }) => ({
    region,
    epoch: parseEpoch(epoch.toString(16).padStart(16, '0')),
    safe,
    have: Math.min(safe + ahead, Number.MAX_SAFE_INTEGER),
  }));
const cursors = fc.uniqueArray(cursor, {
  selector: ({ region, epoch }) => `${region}.${epoch}`,
  maxLength: 20,
});
const manifest = fc.record(
  {
    mediaType: fc.string({ minLength: 1, maxLength: 80 }),
    bytes: fc.uint8Array({ maxLength: 100 }),
  },
  PLAIN,
);
const deltas = fc
  .record({
    sequences: fc.uniqueArray(fc.integer({ min: 1, max: 1000 }), { maxLength: 20 }),
    beyond: fc.nat(1000),
    exact: fc.boolean(),
    riding: fc.option(manifest, { nil: undefined }),
  })
  .map(({ sequences, beyond, exact, riding }): Message => {
    const claims = sequences
      .sort((a, b) => a - b)
      .map((sequence) => ({
        sequence,
        bytes: claimBytes(ONE, sequence, sequence),
        ...(riding === undefined ? {} : { manifest: riding }),
      }));
    const to = (claims.at(-1)?.sequence ?? 0) + beyond;
    const head = exact ? to : to + beyond;
    return { type: 'delta', region: ONE, epoch: EPOCH, from: 0, to, head, exact, claims };
  });
const messages: fc.Arbitrary<Message> = fc.oneof(
  deltas,
  fc.record(
    {
      type: fc.constant('follow' as const),
      cursors,
      creditBytes: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    },
    PLAIN,
  ),
  fc.record({ type: fc.constant('ack' as const), cursors }, PLAIN),
  fc.record({ type: fc.constant('summary' as const), heads: cursors }, PLAIN),
);

test('wire: every message arrives as it was sent, and is encoded alike each time', () => {
  fc.assert(
    fc.property(messages, (message) => {
      const bytes = encodeMessage(message);
      assert.deepEqual(decodeMessage(bytes), message);
      assert.deepEqual(encodeMessage(decodeMessage(bytes)), bytes);
    }),
    { numRuns: 300 },
  );
});

test('wire: a Buffer is read like any bytes, wherever it begins', () => {
  const pooled = Buffer.concat([Buffer.alloc(13), encodeMessage(delta(ONE, 4))]).subarray(13);
  assert.deepEqual(decodeMessage(pooled), delta(ONE, 4));
  assert.deepEqual(decodeMessage(Buffer.from(encodeMessage(FOLLOW))), FOLLOW);
});

test('wire: the bytes of one more claim do not depend on what else there is', () => {
  const one = encodeMessage(delta(ONE, 100)).length;
  const late = encodeMessage(delta(ONE, 100_000)).length;
  assert.ok(late - one <= 6, `${late} bytes instead of ${one}`);
});
