/**
 * A claim's canonical bytes, layout version 1. A claim is encoded once, by its origin, and stored and forwarded
 * verbatim ever after; so there is exactly one encoding of each claim, and everything else is refused. All integers
 * are big-endian. After the fixed head (`domain/claim-layout.ts`):
 *
 *   u16 count of context entries, each: region u16, epoch 8 bytes, sequence u64; by (region, epoch), ascending
 *   u16 length and repository (UTF-8)    u16 length and name    u32 length and value    u16 length and principal
 *   the extension: only when the flags are not 0, up to the end
 *
 * Kinds and flags that this version does not know are kept as they are, so that an older region can store and pass
 * on what a newer one wrote. States are closed: another one changes what a view is, and needs another version.
 *
 * Repository and name hold no control characters. Limits: 8 KiB for a claim, 64 KiB for a policy. Test vectors:
 * `test/mesh/claims/vectors.json`.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import {
  CLAIM_EPOCH_OFFSET,
  CLAIM_HEAD_BYTES,
  CLAIM_LAYOUT_VERSION,
  CLAIM_REGION_OFFSET,
  CLAIM_SEQUENCE_OFFSET,
  CLAIM_TIME_OFFSET,
} from '#domain/claim-layout.ts';
import type { Dot } from '#domain/dot.ts';
import type { HybridTime } from '#domain/hybrid-time.ts';
import type { RegionNumber } from '#domain/region.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import {
  ClaimFormatError,
  CONTEXT_ENTRY_BYTES,
  epochAt,
  FieldReader,
  FieldWriter,
  refuseIf,
  sequenceAt,
  timeAt,
  U16_MAX,
} from './claim-fields.ts';

export { ClaimFormatError };

export const CLAIM_BYTES_MAX = 8 * 1024;
export const POLICY_CLAIM_BYTES_MAX = 64 * 1024;

export type ClaimState = 'live' | 'deleted';

export type Claim = {
  /** One of `CLAIM_KIND`, or one that a later version knows. */
  readonly kind: number;
  readonly state: ClaimState;
  /** Sequence 0 and time zero until the store has stamped it. */
  readonly dot: Dot;
  readonly time: HybridTime;
  /** What the claim saw and replaces: per origin and epoch, everything up to this sequence. */
  readonly context: readonly Dot[];
  readonly repository: string;
  readonly name: string;
  readonly value: Uint8Array;
  readonly principal: string;
  /** 0 in this version. */
  readonly flags?: number;
  /** What stands behind the known fields of a claim with flags. */
  readonly extension?: Uint8Array;
};

export function claimKeyOf(claim: Claim): ClaimKey {
  return { kind: claim.kind, repository: claim.repository, name: claim.name };
}

const STATE_BYTE: Readonly<Record<ClaimState, number>> = { live: 1, deleted: 2 };
const STATE_OF_BYTE: ReadonlyMap<number, ClaimState> = new Map([
  [STATE_BYTE.live, 'live'],
  [STATE_BYTE.deleted, 'deleted'],
]);
const NO_BYTES = new Uint8Array(0);
const CONTROL_CHARACTER = /\p{Cc}/u;

const encoder = new TextEncoder();
/** @throws ClaimFormatError when a field is out of its range, or the claim is too large. */
export function encodeClaim(claim: Claim): Uint8Array<ArrayBuffer> {
  const flags = claim.flags ?? 0;
  const extension = claim.extension ?? NO_BYTES;
  refuseIf(flags === 0 && extension.length > 0, 'an extension needs a flag');
  refuseIf(!isByte(claim.kind) || !isByte(flags), 'kind and flags are one byte each');
  const repository = utf8(checkedKeyPart(claim.repository), 'repository');
  const name = utf8(checkedKeyPart(claim.name), 'name');
  const principal = utf8(claim.principal, 'principal');
  checkContext(claim.context, claim.dot);
  const variableBytes = repository.length + name.length + claim.value.length + principal.length;
  const lengthFieldBytes = 2 + 2 + 2 + 4 + 2;
  const contextBytes = claim.context.length * CONTEXT_ENTRY_BYTES;
  const sizeBytes = CLAIM_HEAD_BYTES + lengthFieldBytes + contextBytes + variableBytes + extension.length;
  checkSize(claim.kind, sizeBytes);

  const writer = new FieldWriter(new Uint8Array(sizeBytes));
  writer.u8(CLAIM_LAYOUT_VERSION);
  writer.u8(claim.kind);
  writer.u8(STATE_BYTE[claim.state]);
  writer.u8(flags);
  writer.dot(claim.dot);
  writer.u48(claim.time.ms);
  writer.u16(claim.time.counter);
  writer.u16(claim.context.length);
  for (const entry of claim.context) writer.dot(entry);
  writer.u16(repository.length);
  writer.raw(repository);
  writer.u16(name.length);
  writer.raw(name);
  writer.u32(claim.value.length);
  writer.raw(claim.value);
  writer.u16(principal.length);
  writer.raw(principal);
  writer.raw(extension);
  return writer.bytes;
}

/** The inverse of `encodeClaim`; `value` and `extension` are copies. @throws ClaimFormatError. */
export function decodeClaim(bytes: Uint8Array): Claim {
  refuseIf(bytes.length < CLAIM_HEAD_BYTES, `${bytes.length} bytes are too few`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint8(0);
  refuseIf(version !== CLAIM_LAYOUT_VERSION, `layout version ${version} is not known`);
  const kind = view.getUint8(1);
  checkSize(kind, bytes.length);
  const state = STATE_OF_BYTE.get(view.getUint8(2));
  if (state === undefined) throw new ClaimFormatError(`state ${view.getUint8(2)} is not known`);
  const flags = view.getUint8(3);
  const dot = {
    region: view.getUint16(CLAIM_REGION_OFFSET) as RegionNumber,
    epoch: epochAt(view, CLAIM_EPOCH_OFFSET),
    sequence: sequenceAt(view, CLAIM_SEQUENCE_OFFSET),
  };
  refuseIf(dot.region === 0, 'region 0 does not exist');
  const time = timeAt(view, CLAIM_TIME_OFFSET);
  const reader = new FieldReader(bytes, view, CLAIM_HEAD_BYTES);
  const context = reader.context();
  checkContext(context, dot);
  const repository = checkedKeyPart(reader.text(reader.u16()));
  const name = checkedKeyPart(reader.text(reader.u16()));
  const value = reader.raw(reader.u32());
  const principal = reader.text(reader.u16());
  const fields = { kind, state, dot, time, context, repository, name, value, principal };
  if (flags !== 0) return { ...fields, flags, extension: reader.rest() };
  refuseIf(reader.remaining > 0, `${reader.remaining} bytes follow the claim`);
  return fields;
}

/** A draft has no number yet, and follows everything of its origin. */
function checkContext(context: readonly Dot[], dot: Dot): void {
  refuseIf(context.length > U16_MAX, `${context.length} context entries are too many`);
  for (const [position, entry] of context.entries()) {
    refuseIf(entry.region === 0 || entry.sequence === 0, 'a context entry names no claim');
    const isOwnOrigin = entry.region === dot.region && entry.epoch === dot.epoch;
    const isLater = isOwnOrigin && dot.sequence > 0 && entry.sequence >= dot.sequence;
    refuseIf(isLater, 'a context names a later claim of its own origin');
    const former = context[position - 1];
    refuseIf(former !== undefined && !isBefore(former, entry), 'the context is not sorted and unique');
  }
}

function isBefore(a: Dot, b: Dot): boolean {
  return a.region < b.region || (a.region === b.region && a.epoch < b.epoch);
}

function checkSize(kind: number, sizeBytes: number): void {
  const maxBytes = kind === CLAIM_KIND.policy ? POLICY_CLAIM_BYTES_MAX : CLAIM_BYTES_MAX;
  refuseIf(sizeBytes > maxBytes, `${sizeBytes} bytes are more than the ${maxBytes} that a claim may have`);
}

/** Keys are compared, joined and shown in many places; a line break or a zero in them would be a trap in each. */
function checkedKeyPart(text: string): string {
  refuseIf(CONTROL_CHARACTER.test(text), 'a repository or a name has a control character');
  return text;
}

function utf8(text: string, field: string): Uint8Array {
  refuseIf(!text.isWellFormed(), `${field} is not well-formed Unicode`);
  const bytes = encoder.encode(text);
  refuseIf(bytes.length > U16_MAX, `${field} is longer than ${U16_MAX} bytes`);
  return bytes;
}

function isByte(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xff;
}
