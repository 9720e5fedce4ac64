/**
 * The headers of a registry's answers, parsed: what cannot be read is `undefined`, never a guess.
 *
 * Source: RFC 9110, sections 10.2.3 (Retry-After), 14.4 (Content-Range), 8.3 (Content-Type), 8.6 (Content-Length).
 */

/** `totalBytes` is the size of the whole blob. */
export type ContentRange = { readonly start: number; readonly end: number; readonly totalBytes: number };

const CONTENT_RANGE = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/i;
const UNSATISFIED_RANGE = /^bytes \*\/(\d{1,15})$/i;
const WHOLE_NUMBER = /^\d{1,15}$/;

/** A range of unknown total (`/*`) is `undefined`: nobody could tell when such a blob has ended. */
export function parseContentRange(value: string | undefined): ContentRange | undefined {
  const [, start, end, total] = CONTENT_RANGE.exec(value?.trim() ?? '') ?? [];
  const range = { start: Number(start), end: Number(end), totalBytes: Number(total) };
  return range.start <= range.end && range.end < range.totalBytes ? range : undefined;
}

/** The size of the blob, as a 416 says it. */
export function parseUnsatisfiedRange(value: string | undefined): number | undefined {
  const [, total] = UNSATISFIED_RANGE.exec(value?.trim() ?? '') ?? [];
  return total === undefined ? undefined : Number(total);
}

export function parseContentLength(value: string | undefined): number | undefined {
  return value !== undefined && WHOLE_NUMBER.test(value.trim()) ? Number(value) : undefined;
}

/** Without its parameters, in lower case. */
export function parseMediaType(value: string | undefined): string | undefined {
  return value?.split(';')[0]?.trim().toLowerCase() || undefined;
}

/** Seconds or a date; a date in the past is 0. */
export function parseRetryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  const text = value?.trim() ?? '';
  if (WHOLE_NUMBER.test(text)) return Number(text) * 1000;
  const dateMs = Date.parse(text);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - nowMs);
}
