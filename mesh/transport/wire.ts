/**
 * Messages between regions ↔ protobuf. A follower's messages (`follow`, `ack`) travel as FollowRequest, a source's
 * (`delta`, `summary`) as FollowResponse; `encodeMessage` puts one byte before them that says which, for places
 * without two kinds of stream (the transport in memory, the simulation).
 *
 * What comes in is either a whole message of which every field was checked, or a `MalformedMessageError`. Claims
 * stay opaque but for their fixed head: their origin and sequence must be those of the delta that carries them.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import {
  CLAIM_EPOCH_OFFSET,
  CLAIM_HEAD_BYTES,
  CLAIM_LAYOUT_VERSION,
  CLAIM_REGION_OFFSET,
  CLAIM_SEQUENCE_OFFSET,
} from '#domain/claim-layout.ts';
import type {
  AckMessage,
  DeltaMessage,
  FollowMessage,
  Message,
  OriginCursor,
  SummaryMessage,
} from '#mesh/claims/message.ts';
import {
  type Claim,
  type Cursor,
  type Delta,
  type FollowRequest,
  FollowRequestSchema,
  type FollowResponse,
  FollowResponseSchema,
} from '#protos/fairway/mesh/v1/mesh_pb.ts';
import type { StoredClaim } from '#storage/metadata.ts';
import {
  claimFromWire,
  demand,
  epochFromWire,
  epochToWire,
  MalformedMessageError,
  manifestFromWire,
  parseProto,
  regionFromWire,
  safeFromWire,
} from './wire-fields.ts';

export { MalformedMessageError };

/** What a follower sends to a source. */
export type FollowerMessage = FollowMessage | AckMessage;
/** What a source sends to a follower. */
export type SourceMessage = DeltaMessage | SummaryMessage;

/**
 * More cursors than any mesh has origins and remembered epochs; a message with more is refused whole. Cursors are
 * 30 bytes, so that the largest list still fits a message many times over.
 */
export const CURSORS_MAX = 16_384;
const FROM_FOLLOWER = 1;
const FROM_SOURCE = 2;

export function encodeMessage(message: Message): Uint8Array {
  if (isFollowerMessage(message)) {
    return prefixed(FROM_FOLLOWER, toBinary(FollowRequestSchema, toFollowRequest(message)));
  }
  return prefixed(FROM_SOURCE, toBinary(FollowResponseSchema, toFollowResponse(message)));
}

/** The claims' bytes share memory with `bytes`. @throws MalformedMessageError. */
export function decodeMessage(bytes: Uint8Array): Message {
  const body = bytes.subarray(1);
  if (bytes[0] === FROM_FOLLOWER) return fromFollowRequest(parseProto(FollowRequestSchema, body));
  if (bytes[0] === FROM_SOURCE) return fromFollowResponse(parseProto(FollowResponseSchema, body));
  throw new MalformedMessageError('the bytes begin with no known direction');
}

export function isFollowerMessage(message: Message): message is FollowerMessage {
  return message.type === 'follow' || message.type === 'ack';
}

export function toFollowRequest(message: FollowerMessage): FollowRequest {
  const cursors = message.cursors.map(cursorToWire);
  if (message.type === 'ack') {
    return create(FollowRequestSchema, { message: { case: 'ack', value: { cursors } } });
  }
  const value = { cursors, creditBytes: message.creditBytes };
  return create(FollowRequestSchema, { message: { case: 'follow', value } });
}

/** Hellos and beats are the link's own matter, and refused here. @throws MalformedMessageError. */
export function fromFollowRequest({ message }: FollowRequest): FollowerMessage {
  switch (message.case) {
    case 'follow': {
      const cursors = cursorsFromWire(message.value.cursors, 'follow');
      return { type: 'follow', cursors, creditBytes: message.value.creditBytes };
    }
    case 'ack':
      return { type: 'ack', cursors: cursorsFromWire(message.value.cursors, 'ack') };
    default:
      throw new MalformedMessageError(`a follower's message of the kind ${message.case ?? '(none)'}`);
  }
}

export function toFollowResponse(message: SourceMessage): FollowResponse {
  if (message.type === 'summary') {
    const value = { heads: message.heads.map(cursorToWire) };
    return create(FollowResponseSchema, { message: { case: 'summary', value } });
  }
  const value = {
    region: message.region,
    epoch: epochToWire(message.epoch),
    from: BigInt(message.from),
    to: BigInt(message.to),
    head: BigInt(message.head),
    exact: message.exact,
    claims: message.claims.map(claimToWire),
  };
  return create(FollowResponseSchema, { message: { case: 'delta', value } });
}

/** Hellos and beats are the link's own matter, and refused here. @throws MalformedMessageError. */
export function fromFollowResponse({ message }: FollowResponse): SourceMessage {
  switch (message.case) {
    case 'delta':
      return deltaFromWire(message.value);
    case 'summary':
      return { type: 'summary', heads: cursorsFromWire(message.value.heads, 'summary') };
    default:
      throw new MalformedMessageError(`a source's message of the kind ${message.case ?? '(none)'}`);
  }
}

function prefixed(direction: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(body.length + 1);
  bytes[0] = direction;
  bytes.set(body, 1);
  return bytes;
}

function cursorToWire(cursor: OriginCursor) {
  return {
    region: cursor.region,
    epoch: epochToWire(cursor.epoch),
    have: BigInt(cursor.have),
    safe: BigInt(cursor.safe),
  };
}

function cursorsFromWire(cursors: readonly Cursor[], field: string): readonly OriginCursor[] {
  demand(cursors.length <= CURSORS_MAX, `${field}: ${cursors.length} cursors, at most ${CURSORS_MAX}`);
  const seen = new Set<string>();
  return cursors.map((cursor) => {
    const region = regionFromWire(cursor.region, `${field}: region`);
    const epoch = epochFromWire(cursor.epoch);
    const have = safeFromWire(cursor.have, `${field}: have`);
    const safe = safeFromWire(cursor.safe, `${field}: safe`);
    demand(safe <= have, `${field}: safe ${safe} is beyond have ${have}`);
    const origin = `${region}.${epoch}`;
    demand(!seen.has(origin), `${field}: origin ${origin} stands twice`);
    seen.add(origin);
    return { region, epoch, have, safe };
  });
}

function claimToWire({ bytes, manifest }: StoredClaim) {
  return manifest === undefined ? { bytes } : { bytes, manifest };
}

function deltaFromWire(delta: Delta): DeltaMessage {
  const region = regionFromWire(delta.region, 'delta: region');
  const epoch = epochFromWire(delta.epoch);
  const from = safeFromWire(delta.from, 'delta: from');
  const to = safeFromWire(delta.to, 'delta: to');
  const head = safeFromWire(delta.head, 'delta: head');
  demand(from <= to && to <= head, `delta: from ${from}, to ${to}, head ${head} are out of order`);
  demand(!delta.exact || to === head, `delta: exact, but to ${to} is not head ${head}`);
  const claims = delta.claims.map((claim, position) => storedClaim(claim, delta, `claims[${position}]`));
  for (const [position, { sequence }] of claims.entries()) {
    const after = claims[position - 1]?.sequence ?? from;
    demand(
      sequence > after && sequence <= to,
      `claims[${position}]: sequence ${sequence} is not within (${after}, ${to}]`,
    );
  }
  return { type: 'delta', region, epoch, from, to, head, exact: delta.exact, claims };
}

function storedClaim(claim: Claim, delta: Delta, field: string): StoredClaim {
  const bytes = claimFromWire(claim.bytes, field);
  demand(bytes.length >= CLAIM_HEAD_BYTES, `${field}: ${bytes.length} bytes are shorter than a claim's head`);
  const head = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  demand(head.getUint8(0) === CLAIM_LAYOUT_VERSION, `${field}: layout version ${head.getUint8(0)}`);
  const ofOrigin =
    head.getUint16(CLAIM_REGION_OFFSET) === delta.region &&
    head.getBigUint64(CLAIM_EPOCH_OFFSET) === delta.epoch;
  demand(ofOrigin, `${field}: is not of the delta's origin`);
  const sequence = safeFromWire(head.getBigUint64(CLAIM_SEQUENCE_OFFSET), `${field}: sequence`);
  if (claim.manifest === undefined) return { sequence, bytes };
  return { sequence, bytes, manifest: manifestFromWire(claim.manifest, `${field}.manifest`) };
}
