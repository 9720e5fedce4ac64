/**
 * Questions between regions (Locate, Holdings) and their answers ↔ protobuf, checked field by field like the
 * messages of `wire.ts`.
 */
import { create } from '@bufbuild/protobuf';
import { isDigest } from '#domain/digest.ts';
import {
  HoldingState,
  HoldingsRequestSchema,
  type HoldingsResponse,
  HoldingsResponseSchema,
  LocateRequestSchema,
  type LocateResponse,
  LocateResponseSchema,
  type Holding as WireHolding,
  type HoldingsRequest as WireHoldingsRequest,
  type LocateRequest as WireLocateRequest,
} from '#protos/fairway/mesh/v1/mesh_pb.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import type { Holding, HoldingsReply, HoldingsRequest, LocateReply, LocateRequest } from './transport.ts';
import { claimFromWire, demand, manifestFromWire, safeFromWire, textFromWire } from './wire-fields.ts';

/** Of one Holdings request; the seam promises it. */
export const HOLDINGS_MAX = 1000;
const REQUEST_ID = /^[\x21-\x7e]{0,128}$/;
/** A repository name has at most 255 characters; names of tags, digests and policies are shorter. */
const NAME_LENGTH_MAX = 255;
/** A claim's kind is one byte. */
const KIND_MAX = 255;
/** Keys of one Locate; the seam promises it. With more, the claims of one answer could be too many. */
export const LOCATED_KEYS_MAX = 16;
/** Of one key a handful per origin, of several together no more. */
const LOCATED_CLAIMS_MAX = 1024;
/** Regions and upstreams that one image's bytes may have come from. */
const SOURCES_MAX = 1024;

export function toLocateRequest(request: LocateRequest): WireLocateRequest {
  const { requestId, kind, repository, name, also = [], claimsOnly = false } = request;
  return create(LocateRequestSchema, { requestId, kind, repository, name, also: [...also], claimsOnly });
}

/** @throws MalformedMessageError. */
export function fromLocateRequest(request: WireLocateRequest): LocateRequest {
  const { requestId, also, claimsOnly } = request;
  demand(also.length < LOCATED_KEYS_MAX, `also: ${also.length} keys, less than ${LOCATED_KEYS_MAX}`);
  return {
    requestId: requestIdFromWire(requestId),
    ...keyFromWire(request, ''),
    ...(also.length === 0
      ? {}
      : { also: also.map((key, position) => keyFromWire(key, `also[${position}].`)) }),
    ...(claimsOnly ? { claimsOnly } : {}),
  };
}

function keyFromWire({ kind, repository, name }: ClaimKey, field: string): ClaimKey {
  demand(kind >= 1 && kind <= KIND_MAX, `${field}kind: ${kind} is no kind of claim`);
  return {
    kind,
    repository: textFromWire(repository, `${field}repository`, NAME_LENGTH_MAX),
    name: textFromWire(name, `${field}name`, NAME_LENGTH_MAX),
  };
}

export function toLocateResponse({ claims, manifest }: LocateReply): LocateResponse {
  return create(LocateResponseSchema, {
    claims: [...claims],
    ...(manifest === undefined ? {} : { manifest }),
  });
}

/** @throws MalformedMessageError. */
export function fromLocateResponse({ claims, manifest }: LocateResponse): LocateReply {
  demand(claims.length <= LOCATED_CLAIMS_MAX, `claims: ${claims.length}, at most ${LOCATED_CLAIMS_MAX}`);
  const checked = claims.map((claim, position) => claimFromWire(claim, `claims[${position}]`));
  if (manifest === undefined) return { claims: checked };
  return { claims: checked, manifest: manifestFromWire(manifest, 'manifest') };
}

export function toHoldingsRequest({ requestId, digests }: HoldingsRequest): WireHoldingsRequest {
  return create(HoldingsRequestSchema, { requestId, digests: [...digests] });
}

/** @throws MalformedMessageError. */
export function fromHoldingsRequest({ requestId, digests }: WireHoldingsRequest): HoldingsRequest {
  demand(digests.length <= HOLDINGS_MAX, `digests: ${digests.length}, at most ${HOLDINGS_MAX}`);
  demand(digests.every(isDigest), 'digests: not all of them are digests');
  return { requestId: requestIdFromWire(requestId), digests };
}

export function toHoldingsResponse({ holdings }: HoldingsReply): HoldingsResponse {
  return create(HoldingsResponseSchema, { holdings: holdings.map(holdingToWire) });
}

/** @throws MalformedMessageError. */
export function fromHoldingsResponse({ holdings }: HoldingsResponse): HoldingsReply {
  demand(holdings.length <= HOLDINGS_MAX, `holdings: ${holdings.length}, at most ${HOLDINGS_MAX}`);
  return { holdings: holdings.map((holding, position) => holdingFromWire(holding, `holdings[${position}]`)) };
}

/** Where it is fit to be a header's value; every id that this project makes is. */
export function isRequestId(text: string): boolean {
  return REQUEST_ID.test(text);
}

function requestIdFromWire(text: string): string {
  demand(isRequestId(text), 'requestId: more than 128 characters, or not printable ones');
  return text;
}

const STATE_TO_WIRE: Readonly<Record<Holding['state'], HoldingState>> = {
  complete: HoldingState.COMPLETE,
  filling: HoldingState.FILLING,
  known: HoldingState.KNOWN,
};

function holdingToWire(holding: Holding) {
  const sources = Object.entries(holding.bytesBySource);
  return {
    digest: holding.digest,
    state: STATE_TO_WIRE[holding.state],
    sizeBytes: BigInt(holding.sizeBytes),
    sizeBytesHere: BigInt(holding.sizeBytesHere),
    bytesBySource: Object.fromEntries(sources.map(([source, bytes]) => [source, BigInt(bytes)])),
    storedMs: BigInt(holding.storedMs),
  };
}

function holdingFromWire(holding: WireHolding, field: string): Holding {
  demand(isDigest(holding.digest), `${field}.digest: is no digest`);
  const state = (['complete', 'filling', 'known'] as const).find(
    (name) => STATE_TO_WIRE[name] === holding.state,
  );
  demand(state !== undefined, `${field}.state: ${holding.state} is no state`);
  const sources = Object.entries(holding.bytesBySource);
  demand(sources.length <= SOURCES_MAX, `${field}.bytesBySource: ${sources.length} sources`);
  return {
    digest: holding.digest,
    state,
    sizeBytes: safeFromWire(holding.sizeBytes, `${field}.sizeBytes`),
    sizeBytesHere: safeFromWire(holding.sizeBytesHere, `${field}.sizeBytesHere`),
    bytesBySource: Object.fromEntries(
      sources.map(([source, bytes]) => [
        textFromWire(source, `${field}.bytesBySource`, NAME_LENGTH_MAX),
        safeFromWire(bytes, `${field}.bytesBySource`),
      ]),
    ),
    storedMs: safeFromWire(holding.storedMs, `${field}.storedMs`),
  };
}
