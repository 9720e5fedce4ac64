/** Questions and answers on the wire: what is sent arrives alike, and what cannot be is refused whole. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import {
  fromHoldingsRequest,
  fromHoldingsResponse,
  fromLocateRequest,
  fromLocateResponse,
  toHoldingsRequest,
  toHoldingsResponse,
  toLocateRequest,
  toLocateResponse,
} from '#mesh/transport/wire-requests.ts';
import {
  HoldingState,
  HoldingsRequestSchema,
  HoldingsResponseSchema,
  LocateRequestSchema,
  LocateResponseSchema,
} from '#protos/fairway/mesh/v1/mesh_pb.ts';
import { claimBytes, ONE } from '#test/suites/transport-samples.ts';
import { assertMalformed } from './assert-malformed.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;

test('wire requests: questions that cannot be are refused', () => {
  const locate = { requestId: 'r', kind: 1, repository: 'prod/web', name: 'v1' };
  for (const [change, message] of [
    [{ kind: 0 }, /0 is no kind/],
    [{ kind: 256 }, /256 is no kind/],
    [{ requestId: 'a\nb' }, /requestId/],
    [{ requestId: 'x'.repeat(129) }, /requestId/],
    [{ repository: 'x'.repeat(256) }, /repository: 256 characters/],
    [{ name: 'x'.repeat(256) }, /name: 256 characters/],
    [{ also: Array.from({ length: 16 }, () => ({ kind: 1, repository: '', name: 'v' })) }, /also: 16 keys/],
    [
      { also: Array.from({ length: 1 }, () => ({ kind: 0, repository: '', name: 'v' })) },
      /also\[0\].kind: 0 is no kind/,
    ],
  ] as const) {
    assertMalformed(() => fromLocateRequest(create(LocateRequestSchema, { ...locate, ...change })), message);
  }
  const digests = Array.from({ length: 1001 }, () => DIGEST);
  assertMalformed(
    () => fromHoldingsRequest(create(HoldingsRequestSchema, { digests })),
    /1001, at most 1000/,
  );
  assertMalformed(
    () => fromHoldingsRequest(create(HoldingsRequestSchema, { digests: ['sha256:1'] })),
    /not all/,
  );
});

test('wire requests: answers that cannot be are refused', () => {
  const claims = Array.from({ length: 1025 }, () => new Uint8Array());
  assertMalformed(() => fromLocateResponse(create(LocateResponseSchema, { claims })), /1025, at most 1024/);
  const large = [new Uint8Array(72 * 1024 + 1)];
  assertMalformed(
    () => fromLocateResponse(create(LocateResponseSchema, { claims: large })),
    /claims\[0\]: 73729/,
  );
  const held = {
    digest: DIGEST,
    state: HoldingState.COMPLETE,
    sizeBytes: 1n,
    sizeBytesHere: 1n,
    storedMs: 1n,
  };
  for (const [change, message] of [
    [{ digest: 'latest' }, /holdings\[0\]\.digest/],
    [{ state: HoldingState.UNSPECIFIED }, /holdings\[0\]\.state: 0/],
    [{ state: 9 as HoldingState }, /holdings\[0\]\.state: 9/],
    [{ sizeBytes: 2n ** 63n }, /sizeBytes: 9223372036854775808 is out of range/],
    [{ storedMs: -1n }, /storedMs: -1 is out of range/],
    [{ bytesBySource: { push: 2n ** 54n } }, /bytesBySource: 18014398509481984 is out of range/],
  ] as readonly (readonly [object, RegExp])[]) {
    const holdings = [{ ...held, ...change }];
    assertMalformed(() => fromHoldingsResponse(create(HoldingsResponseSchema, { holdings })), message);
  }
});

test('wire requests: questions and answers arrive as they were sent', () => {
  const locate = { requestId: '', kind: 255, repository: '', name: 'everywhere' };
  assert.deepEqual(fromLocateRequest(toLocateRequest(locate)), locate);
  const also = Array.from({ length: 15 }, (_, n) => ({ kind: 1, repository: 'prod/web', name: `v${n}` }));
  const look = { ...locate, also, claimsOnly: true };
  assert.deepEqual(fromLocateRequest(toLocateRequest(look)), look);
  const located = {
    claims: [claimBytes(ONE, 1)],
    manifest: { mediaType: 'x/y', bytes: new Uint8Array(65_536) },
  };
  assert.deepEqual(fromLocateResponse(toLocateResponse(located)), located);
  assert.deepEqual(fromLocateResponse(toLocateResponse({ claims: [] })), { claims: [] });
  const asked = { requestId: 'r', digests: [DIGEST] };
  assert.deepEqual(fromHoldingsRequest(toHoldingsRequest(asked)), asked);
  const states = ['complete', 'filling', 'known'] as const;
  const holdings = states.map((state) => ({
    digest: DIGEST,
    state,
    sizeBytes: Number.MAX_SAFE_INTEGER,
    sizeBytesHere: 0,
    bytesBySource: { push: 1, __proto__x: 2 },
    storedMs: 0,
  }));
  assert.deepEqual(fromHoldingsResponse(toHoldingsResponse({ holdings })), { holdings });
  assert.ok(toBinary(HoldingsResponseSchema, toHoldingsResponse({ holdings })).length < 400);
});
