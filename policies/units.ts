/**
 * Quantities with units as people write them. Durations: whole numbers with `d`, `h`, `m`, `s` or `ms`, the larger
 * unit first, each at most once: `90s`, `10m`, `1h30m`, `7d`, `500ms`.
 *
 * A bare number is no duration, because its unit would be anyone's guess. Sizes likewise: a whole number with `B`, with
 * `KiB`, `MiB`, `GiB`, `TiB`, `PiB` (powers of 1024), or with `kB`, `MB`, `GB`, `TB`, `PB` (powers of 1000).
 */
export const DURATION_PATTERN = /^(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;
export const DURATION_EXPECTED = 'a duration such as 90s, 10m, 1h30m or 7d';

export const SIZE_PATTERN = /^(\d+)(B|KiB|MiB|GiB|TiB|PiB|kB|MB|GB|TB|PB)$/;
export const SIZE_EXPECTED = 'a size such as 500GiB or 2TiB';

/** Ten years: a longer one is a mistake in its unit, and would leave the range of timers and dates. */
const DURATION_MAX_MS = 3650 * 86_400_000;
const UNIT_MS = [86_400_000, 3_600_000, 60_000, 1000, 1];

/** In ms; `undefined` when the text is no duration or one longer than ten years. */
export function parseDuration(text: string): number | undefined {
  const parts = DURATION_PATTERN.exec(text);
  if (parts === null) return undefined;
  const totalMs = UNIT_MS.reduce(
    (sum, unitMs, position) => sum + Number(parts[position + 1] ?? 0) * unitMs,
    0,
  );
  return totalMs <= DURATION_MAX_MS ? totalMs : undefined;
}

const BINARY_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const DECIMAL_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** In bytes; `undefined` when the text is no size, or one that a number does not hold exactly. */
export function parseSize(text: string): number | undefined {
  const parts = SIZE_PATTERN.exec(text);
  if (parts === null) return undefined;
  const [, amount = '', unit = ''] = parts;
  const binary = BINARY_UNITS.indexOf(unit);
  const unitBytes = binary >= 0 ? 1024 ** binary : 1000 ** DECIMAL_UNITS.indexOf(unit);
  const sizeBytes = Number(amount) * unitBytes;
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined;
}
