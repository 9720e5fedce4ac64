/**
 * A delta as it came from another region, checked as a whole before anything of it is used: one malformed claim, or
 * one that does not belong, and nothing of the delta is stored. Unknown kinds of claims belong.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { algorithmOf, digestOf, isDigest } from '#domain/digest.ts';
import { messageOf } from '#domain/errors.ts';
import { parseManifest } from '#domain/manifest.ts';
import type { ManifestRow, StoredClaim } from '#storage/metadata.ts';
import { type Claim, ClaimFormatError, decodeClaim } from './claim-codec.ts';
import type { DeltaMessage } from './message.ts';

/** What no honest source exceeds: its targets are a quarter of this, plus one claim. */
export const DELTA_BYTES_MAX = 1024 * 1024;
export const DELTA_CLAIMS_MAX = 4000;
/** Bodies up to this size ride along with their claims. */
export const RIDING_MANIFEST_BYTES_MAX = 64 * 1024;

/** Field numbers and lengths around a claim and its manifest; a queue that overflows would drop the delta. */
const FRAME_BYTES = 32;

export type CheckedClaim = {
  readonly claim: Claim;
  readonly bytes: Uint8Array;
  readonly manifest?: ManifestRow & { readonly repository: string };
};

export type DeltaCheck = { readonly claims: readonly CheckedClaim[] } | { readonly refused: string };

export function checkDelta(delta: DeltaMessage): DeltaCheck {
  const refused = wrongBounds(delta);
  if (refused !== undefined) return { refused };
  try {
    return { claims: delta.claims.map((stored) => checkClaim(delta, stored)) };
  } catch (thrown) {
    if (thrown instanceof ClaimFormatError) return { refused: messageOf(thrown) };
    throw thrown;
  }
}

/** What a claim takes of a delta and of a link's queue: a little more than its encoding on the wire. */
export function sizeOfStored({ bytes, manifest }: StoredClaim): number {
  const manifestBytes = manifest === undefined ? 0 : manifest.bytes.length + manifest.mediaType.length;
  return bytes.length + manifestBytes + FRAME_BYTES;
}

function wrongBounds({ from, to, head, exact, claims }: DeltaMessage): string | undefined {
  const whole = [from, to, head].every((value) => Number.isSafeInteger(value) && value >= 0);
  if (!whole || from > to || to > head) return `its bounds ${from}, ${to}, ${head} are no range`;
  if (exact && to !== head) return `it claims to be exact at ${to}, but its head is ${head}`;
  if (claims.length > DELTA_CLAIMS_MAX) return `${claims.length} claims are too many`;
  const sizeBytes = claims.reduce((sum, stored) => sum + sizeOfStored(stored), 0);
  if (sizeBytes > DELTA_BYTES_MAX) return `${sizeBytes} bytes are too many`;
  const sequences = claims.map((stored) => stored.sequence);
  const ascending = sequences.every((sequence, position) => sequence > (sequences[position - 1] ?? from));
  const last = sequences.at(-1) ?? to;
  return ascending && last <= to ? undefined : 'its claims are not in order within its bounds';
}

function checkClaim(delta: DeltaMessage, stored: StoredClaim): CheckedClaim {
  const claim = decodeClaim(stored.bytes);
  const { region, epoch, sequence } = claim.dot;
  if (region !== delta.region || epoch !== delta.epoch || sequence !== stored.sequence) {
    throw new ClaimFormatError(`claim ${region}.${epoch}.${sequence} is not of the delta's origin and place`);
  }
  const manifest = ridingManifest(claim, stored);
  return manifest === undefined ? { claim, bytes: stored.bytes } : { claim, bytes: stored.bytes, manifest };
}

/**
 * A manifest must have the digest that its claim names. One that this version cannot read is left out, and its claim
 * kept: another version may read it, and one odd manifest must not stop all that follows.
 */
function ridingManifest(claim: Claim, { manifest }: StoredClaim): CheckedClaim['manifest'] {
  if (manifest === undefined) return undefined;
  const { name, repository } = claim;
  if (claim.kind !== CLAIM_KIND.manifest || !isDigest(name)) {
    throw new ClaimFormatError('a manifest rides with a claim that announces none');
  }
  if (manifest.bytes.length > RIDING_MANIFEST_BYTES_MAX) {
    throw new ClaimFormatError(`a riding manifest has ${manifest.bytes.length} bytes`);
  }
  if (digestOf(manifest.bytes, algorithmOf(name)) !== name) {
    throw new ClaimFormatError(`the manifest that rides with ${name} has another digest`);
  }
  if (!isReadable(manifest)) return undefined;
  return { digest: name, mediaType: manifest.mediaType, bytes: manifest.bytes, repository };
}

function isReadable(manifest: { readonly bytes: Uint8Array; readonly mediaType: string }): boolean {
  try {
    parseManifest(manifest.bytes, manifest.mediaType);
    return true;
  } catch {
    return false;
  }
}
