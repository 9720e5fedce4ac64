/**
 * Fields as they stand in protobuf ↔ words of the domain. Whatever a peer sends is checked here, once: a value that
 * no honest peer sends is refused by `MalformedMessageError`, and nothing of its message is used.
 *
 * 64-bit integers arrive as bigint. Epochs become 16 hexadecimal digits; sequence numbers, sizes and times become
 * numbers, and are refused above 2^53 − 1, where a number would silently lose its last digits.
 */
import { type DescMessage, fromBinary, type MessageShape } from '@bufbuild/protobuf';
import { messageOf } from '#domain/errors.ts';
import { type Epoch, parseEpoch, parseRegionNumber, type RegionNumber } from '#domain/region.ts';

/** What a peer sent is not what the protocol allows. It never leaves the transport: the link is closed with it. */
export class MalformedMessageError extends Error {
  constructor(what: string, options: { readonly cause?: unknown } = {}) {
    super(what, options);
    this.name = 'MalformedMessageError';
  }
}

/** A body that rides along, as both a delta and an answer to Locate carry it. */
export type RidingManifest = { readonly mediaType: string; readonly bytes: Uint8Array };

/** Bodies up to this ride along with claims; larger ones are filled like blobs. */
export const RIDING_MANIFEST_BYTES_MAX = 64 * 1024;
/** The document of a policy (64 KiB), the largest value there is, and 8 KiB for all else that a claim carries. */
export const CLAIM_BYTES_MAX = 72 * 1024;
const MEDIA_TYPE_LENGTH_MAX = 255;

/** @throws MalformedMessageError when the condition does not hold. */
export function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new MalformedMessageError(what);
}

/** The message's byte fields are plain `Uint8Array`s that share memory with `bytes`. @throws MalformedMessageError. */
export function parseProto<Schema extends DescMessage>(
  schema: Schema,
  bytes: Uint8Array,
): MessageShape<Schema> {
  try {
    return fromBinary(schema, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch (cause) {
    throw new MalformedMessageError(`the bytes are no ${schema.name}: ${messageOf(cause)}`, { cause });
  }
}

export function epochToWire(epoch: Epoch): bigint {
  return BigInt(`0x${epoch}`);
}

export function epochFromWire(value: bigint): Epoch {
  return parseEpoch(value.toString(16).padStart(16, '0'));
}

export function regionFromWire(value: number, field: string): RegionNumber {
  try {
    return parseRegionNumber(value);
  } catch (cause) {
    throw new MalformedMessageError(`${field}: ${messageOf(cause)}`, { cause });
  }
}

/** A whole number from 0 to 2^53 − 1. */
export function safeFromWire(value: bigint, field: string): number {
  demand(value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER), `${field}: ${value} is out of range`);
  return Number(value);
}

export function textFromWire(value: string, field: string, lengthMax: number): string {
  demand(value.length <= lengthMax, `${field}: ${value.length} characters, at most ${lengthMax} are allowed`);
  return value;
}

export function claimFromWire(bytes: Uint8Array, field: string): Uint8Array {
  demand(bytes.length <= CLAIM_BYTES_MAX, `${field}: ${bytes.length} bytes, at most ${CLAIM_BYTES_MAX}`);
  return bytes;
}

export function manifestFromWire(manifest: RidingManifest, field: string): RidingManifest {
  const { mediaType, bytes } = manifest;
  demand(mediaType !== '', `${field}: has no media type`);
  demand(
    bytes.length <= RIDING_MANIFEST_BYTES_MAX,
    `${field}: ${bytes.length} bytes, at most ${RIDING_MANIFEST_BYTES_MAX} ride along`,
  );
  return { mediaType: textFromWire(mediaType, `${field}: media type`, MEDIA_TYPE_LENGTH_MAX), bytes };
}
