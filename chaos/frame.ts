/**
 * Messages on a simulated wire: the production codec's bytes under a checksum, which stands for what TLS does to a
 * record that was changed on its way. A forged message is one that a faulty peer could send under good TLS: only
 * its contents are wrong, and decoding it or applying it must refuse it.
 */
import { CLAIM_HEAD_BYTES } from '#domain/claim-layout.ts';
import type { DeltaMessage, Message } from '#mesh/claims/message.ts';
import { decodeMessage, encodeMessage, MalformedMessageError } from '#mesh/transport/wire.ts';
import type { StoredClaim } from '#storage/metadata.ts';
import type { Prng } from './prng.ts';
import { hashBytes } from './trace.ts';

export type Frame = { readonly bytes: Uint8Array; readonly checksum: number };

export function toFrame(message: Message): Frame {
  const bytes = encodeMessage(message);
  return { bytes, checksum: hashBytes(bytes) };
}

/** `undefined`: refused. Anything else that goes wrong in decoding is a fault of the codec, and thrown. */
export function fromFrame(frame: Frame): Message | undefined {
  if (hashBytes(frame.bytes) !== frame.checksum) return undefined;
  try {
    return decodeMessage(frame.bytes);
  } catch (thrown) {
    if (thrown instanceof MalformedMessageError) return undefined;
    throw thrown;
  }
}

/** The frame with one byte changed, or cut short. */
export function corrupted(frame: Frame, prng: Prng): Frame {
  const at = prng.below(frame.bytes.length);
  if (prng.chance(0.3)) return { ...frame, bytes: frame.bytes.slice(0, at) };
  const bytes = new Uint8Array(frame.bytes);
  bytes[at] = (bytes[at] ?? 0) ^ prng.between(1, 255);
  return { ...frame, bytes };
}

/** What a faulty peer makes of a message; always something that must be refused. */
export function forged(message: Message, prng: Prng): Frame {
  if (message.type !== 'delta' || message.claims.length === 0) return sealed(garbage(prng));
  const at = prng.below(message.claims.length);
  const claim = message.claims[at];
  if (claim === undefined || prng.chance(0.2)) return sealed(garbage(prng));
  const claims = message.claims.with(at, { ...claim, bytes: spoiled(claim, prng) });
  return toFrame({ ...message, claims } satisfies DeltaMessage);
}

function sealed(bytes: Uint8Array): Frame {
  return { bytes, checksum: hashBytes(bytes) };
}

/** Begins with no direction that exists. */
function garbage(prng: Prng): Uint8Array {
  return Uint8Array.from({ length: prng.between(1, 40) }, (_, at) =>
    at === 0 ? prng.between(3, 255) : prng.below(256),
  );
}

function spoiled({ bytes }: StoredClaim, prng: Prng): Uint8Array {
  const spoil = prng.below(6);
  const copy = new Uint8Array(bytes);
  if (spoil === 0) return copy.slice(0, prng.below(CLAIM_HEAD_BYTES));
  if (spoil === 1) return copy.slice(0, prng.between(CLAIM_HEAD_BYTES, bytes.length - 1));
  if (spoil === 2) return Uint8Array.from([...copy, prng.below(256)]);
  // The layout's version, the state, the region of the origin; the high bits make a value that none of them has.
  const at = prng.pick([0, 2, 4]);
  copy[at] = (copy[at] ?? 0) ^ (prng.between(1, 15) << 4);
  return copy;
}
