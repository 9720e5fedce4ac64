/**
 * The fields of which a claim's bytes are made: integers big-endian, texts in strict UTF-8, dots in 18 bytes. What
 * does not fit its field is refused, on the way out as on the way in.
 */
import type { Dot } from '#domain/dot.ts';
import type { HybridTime } from '#domain/hybrid-time.ts';
import type { Epoch, RegionNumber } from '#domain/region.ts';

/** The bytes are not the canonical encoding of any claim. */
export class ClaimFormatError extends Error {
  override readonly name = 'ClaimFormatError';
}

export const CONTEXT_ENTRY_BYTES = 18;
export const U16_MAX = 0xffff;
const TWO_TO_32 = 2 ** 32;
/** A safe integer has at most 53 bits: 21 of them in the upper half. */
const HIGH_HALF_MAX = 0x1fffff;

/** A byte order mark is kept: what was dropped on the way in could not be written back. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Writes fields one after another into bytes of the right length. */
export class FieldWriter {
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
export class FieldReader {
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

export function epochAt(view: DataView, offset: number): Epoch {
  const halves = [view.getUint32(offset), view.getUint32(offset + 4)];
  return halves.map((half) => half.toString(16).padStart(8, '0')).join('') as Epoch;
}

export function sequenceAt(view: DataView, offset: number): number {
  const high = view.getUint32(offset);
  refuseIf(high > HIGH_HALF_MAX, 'a sequence number exceeds 2^53');
  return high * TWO_TO_32 + view.getUint32(offset + 4);
}

export function timeAt(view: DataView, offset: number): HybridTime {
  const ms = view.getUint16(offset) * TWO_TO_32 + view.getUint32(offset + 2);
  return { ms, counter: view.getUint16(offset + 6) };
}

export function refuseIf(wrong: boolean, reason: string): void {
  if (wrong) throw new ClaimFormatError(`malformed claim: ${reason}`);
}
