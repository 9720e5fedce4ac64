/**
 * Regions: places, each with a slug that people use and a number that claims carry. A number is never reused.
 *
 * An epoch names one history of a region's database: a restore from backup begins another. In text it is 16
 * hexadecimal digits; as it exceeds 2^53 it is never a JSON number, and never a JavaScript number either.
 */
declare const regionBrand: unique symbol;
export type RegionName = string & { readonly [regionBrand]: true };
declare const numberBrand: unique symbol;
/** 1 … 65,535. */
export type RegionNumber = number & { readonly [numberBrand]: true };
declare const epochBrand: unique symbol;
/** 16 lower-case hexadecimal digits: 48 bits of wall-clock milliseconds at minting, 16 random bits. */
export type Epoch = string & { readonly [epochBrand]: true };

const REGION = /^[a-z][a-z0-9-]{0,31}$/;
const EPOCH = /^[0-9a-f]{16}$/;

/** @throws TypeError with the rule, for the caller to place (file and line, or flag). */
export function parseRegionName(text: string): RegionName {
  if (REGION.test(text)) return text as RegionName;
  throw new TypeError(
    `"${text}" is not a region name: a lower-case letter, then up to 31 of a-z, 0-9 and "-"`,
  );
}

/** @throws TypeError. */
export function parseRegionNumber(value: number): RegionNumber {
  if (Number.isInteger(value) && value >= 1 && value <= 0xffff) return value as RegionNumber;
  throw new TypeError(`${value} is not a region number: a whole number from 1 to 65535`);
}

/** @throws TypeError. */
export function parseEpoch(text: string): Epoch {
  if (EPOCH.test(text)) return text as Epoch;
  throw new TypeError(`"${text}" is not an epoch: 16 lower-case hexadecimal digits`);
}

export function mintEpoch(nowMs: number, random16: number): Epoch {
  return (nowMs.toString(16).padStart(12, '0') + random16.toString(16).padStart(4, '0')) as Epoch;
}
