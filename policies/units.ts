/**
 * Quantities with units as people write them. Durations: whole numbers with `d`, `h`, `m`, `s` or `ms`, the larger
 * unit first, each at most once: `90s`, `10m`, `1h30m`, `7d`, `500ms`.
 *
 * A bare number is no duration, because its unit would be anyone's guess.
 */
export const DURATION_PATTERN = /^(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;
export const DURATION_EXPECTED = 'a duration such as 90s, 10m, 1h30m or 7d';

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
