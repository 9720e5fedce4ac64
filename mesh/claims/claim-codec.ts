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
 * Repository and name hold no control characters. Limits: 8 KiB for a claim, 64 KiB for a policy. Test vectors: `test/mesh/claims/vectors.json`.
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
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { ClaimKey } from '#storage/metadata.ts';

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

/** The bytes are not the canonical encoding of any claim. */
export class ClaimFormatError extends Error {
  override readonly name = 'ClaimFormatError';
}

export function claimKeyOf(claim: Claim): ClaimKey {
  return { kind: claim.kind, repository: claim.repository, name: claim.name };
}

const STATE_BYTE: Readonly<Record<ClaimState, number>> = { live: 1, deleted: 2 };
const STATE_OF_BYTE: ReadonlyMap<number, ClaimState> = new Map([
  [STATE_BYTE.live, 'live'],
  [STATE_BYTE.deleted, 'deleted'],
]);
const CONTEXT_ENTRY_BYTES = 18;
const NO_BYTES = new Uint8Array(0);
const TWO_TO_32 = 2 ** 32;
const U16_MAX = 0xffff;
/** A safe integer has at most 53 bits: 21 of them in the upper half. */
const HIGH_HALF_MAX = 0x1fffff;

const CONTROL_CHARACTER = /\p{Cc}/u;

const encoder = new TextEncoder();
/** A byte order mark is kept: what was dropped on the way in could not be written back. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

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

  const writer = new Writer(new Uint8Array(sizeBytes));
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
  const time = {
    ms: view.getUint16(CLAIM_TIME_OFFSET) * TWO_TO_32 + view.getUint32(CLAIM_TIME_OFFSET + 2),
    counter: view.getUint16(CLAIM_TIME_OFFSET + 6),
  };
  const reader = new Reader(bytes, view, CLAIM_HEAD_BYTES);
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

function epochAt(view: DataView, offset: number): Epoch {
  const high = view.getUint32(offset).toString(16).padStart(8, '0');
  return (high +
    view
      .getUint32(offset + 4)
      .toString(16)
      .padStart(8, '0')) as Epoch;
}

function sequenceAt(view: DataView, offset: number): number {
  const high = view.getUint32(offset);
  refuseIf(high > HIGH_HALF_MAX, 'a sequence number exceeds 2^53');
  return high * TWO_TO_32 + view.getUint32(offset + 4);
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

function refuseIf(wrong: boolean, reason: string): void {
  if (wrong) throw new ClaimFormatError(`malformed claim: ${reason}`);
}

/** Writes fields one after another into bytes of the right length. */
class Writer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #offset = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }

  u8(value: number): void {
    this.#view.setUint8(this.#offset, value);
    this.#offset += 1;
  }

  u16(value: number): void {
    refuseIf(!Number.isInteger(value) || value < 0 || value > U16_MAX, `${value} does not fit 16 bits`);
    this.#view.setUint16(this.#offset, value);
    this.#offset += 2;
  }

  u32(value: number): void {
    this.#view.setUint32(this.#offset, value);
    this.#offset += 4;
  }

  u48(value: number): void {
    refuseIf(!Number.isSafeInteger(value) || value < 0 || value >= 2 ** 48, `${value} does not fit 48 bits`);
    this.u16(Math.floor(value / TWO_TO_32));
    this.u32(value % TWO_TO_32);
  }

  dot(dot: Dot): void {
    refuseIf(
      !Number.isSafeInteger(dot.sequence) || dot.sequence < 0,
      `${dot.sequence} is no sequence number`,
    );
    this.u16(dot.region);
    this.u32(Number.parseInt(dot.epoch.slice(0, 8), 16));
    this.u32(Number.parseInt(dot.epoch.slice(8), 16));
    this.u32(Math.floor(dot.sequence / TWO_TO_32));
    this.u32(dot.sequence % TWO_TO_32);
  }

  raw(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.#offset);
    this.#offset += bytes.length;
  }
}

/** Reads fields one after another; running over the end is a format error. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset: number;

  constructor(bytes: Uint8Array, view: DataView, offset: number) {
    this.#bytes = bytes;
    this.#view = view;
    this.#offset = offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  raw(length: number): Uint8Array {
    const offset = this.#take(length);
    // Not `slice`, which a Buffer answers with a view of the whole delta.
    return new Uint8Array(this.#bytes.subarray(offset, offset + length));
  }

  rest(): Uint8Array {
    return this.raw(this.remaining);
  }

  text(length: number): string {
    const offset = this.#take(length);
    try {
      return decoder.decode(this.#bytes.subarray(offset, offset + length));
    } catch (cause) {
      throw new ClaimFormatError('malformed claim: a text is not UTF-8', { cause });
    }
  }

  context(): readonly Dot[] {
    const count = this.u16();
    const start = this.#take(count * CONTEXT_ENTRY_BYTES);
    const context: Dot[] = [];
    for (let offset = start; offset < this.#offset; offset += CONTEXT_ENTRY_BYTES) {
      const region = this.#view.getUint16(offset) as RegionNumber;
      const epoch = epochAt(this.#view, offset + 2);
      context.push({ region, epoch, sequence: sequenceAt(this.#view, offset + 10) });
    }
    return context;
  }

  #take(length: number): number {
    const offset = this.#offset;
    refuseIf(length > this.remaining, 'it ends in the middle of a field');
    this.#offset = offset + length;
    return offset;
  }
}
