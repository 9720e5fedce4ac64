/**
 * Ranges, in both directions: which bytes of a blob a reader asks for (`Range`), and which bytes of an upload a
 * writer sends (`Content-Range`, which in the distribution API is `<start>-<end>` without a unit).
 *
 * A `Range` that is malformed, of another unit, or of several ranges is ignored and the whole blob is answered, as
 * RFC 9110, 14.2 allows: a client must be able to take a 200. An empty blob has no satisfiable range, and is
 * answered whole as well, because some clients add a range to every request. A range that ends before it begins is
 * invalid too, but whoever computed it wants no gigabytes: blobs refuse it by `refuseReversed`, as other registries do.
 */
import { RegistryError } from '#domain/errors.ts';
import type { ByteRange } from '#storage/blob-store.ts';

const BYTES = /^bytes=(\d*)-(\d*)$/;
const CONTENT_RANGE = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d+|\*))?$/;

/**
 * The bytes asked for; `undefined` for all of them.
 * @throws RegistryError RANGE_INVALID (416) when no byte of the blob is in the range.
 */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | undefined {
  if (header === undefined || sizeBytes === 0) return undefined;
  const match = BYTES.exec(header.trim().toLowerCase());
  if (match === null) return undefined;
  const [first = '', last = ''] = match.slice(1);
  if (first === '') return suffix(last, sizeBytes);
  const start = Number(first);
  const end = last === '' ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  if (last !== '' && Number(last) < start) return undefined;
  if (start >= sizeBytes) throw unsatisfiable(header, sizeBytes);
  return { start, end };
}

/** @throws RegistryError RANGE_INVALID (416) when the range ends before it begins. */
export function refuseReversed(header: string | undefined, sizeBytes: number): void {
  const [, first = '', last = ''] = BYTES.exec(header?.trim().toLowerCase() ?? '') ?? [];
  if (header === undefined || first === '' || last === '' || sizeBytes === 0) return;
  if (Number(last) < Number(first)) throw unsatisfiable(header, sizeBytes);
}

function suffix(length: string, sizeBytes: number): ByteRange | undefined {
  if (length === '') return undefined;
  const count = Number(length);
  if (count === 0) throw unsatisfiable('bytes=-0', sizeBytes);
  return { start: Math.max(0, sizeBytes - count), end: sizeBytes - 1 };
}

function unsatisfiable(header: string, sizeBytes: number): RegistryError {
  return new RegistryError('RANGE_INVALID', `no byte of ${header.slice(0, 100)} is in ${sizeBytes} bytes`, {
    headers: { 'Content-Range': `bytes */${sizeBytes}` },
  });
}

export function rangeBytes(range: ByteRange): number {
  return range.end - range.start + 1;
}

/**
 * Where a chunk of an upload belongs; `undefined` when the client streams without saying.
 * @throws RegistryError BLOB_UPLOAD_INVALID when the header is malformed.
 */
export function parseContentRange(header: string | undefined): ByteRange | undefined {
  if (header === undefined) return undefined;
  const match = CONTENT_RANGE.exec(header.trim());
  const range = { start: Number(match?.[1]), end: Number(match?.[2]) };
  if (match !== null && range.end >= range.start) return range;
  throw new RegistryError(
    'BLOB_UPLOAD_INVALID',
    `Content-Range "${header.slice(0, 100)}" is malformed; expected <start>-<end>`,
  );
}
