/**
 * Blobs: pull whole or by ranges, probe, delete. A probe asks nobody: it says what this region has, and a client
 * that is told 404 uploads. Source: OCI distribution spec, end-2 and end-10; RFC 9110, 14.
 */
import type { BlobRead, ContentReader } from '#content/reader.ts';
import type { ContentWriter } from '#content/writer.ts';
import { type Digest, parseDigest } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { ByteRange } from '#storage/blob-store.ts';
import {
  type Answer,
  CACHE_FOREVER,
  DIGEST_HEADER,
  empty,
  type Headers,
  methodNotAllowed,
  sourceText,
  unchanged,
} from './answer.ts';
import type { Call } from './call.ts';
import { allowsRange, entityTag, isUnchanged, refuseUnless } from './conditional.ts';
import { parseRange, rangeBytes, refuseReversed } from './range.ts';

export type BlobReading = {
  readonly reader: Pick<ContentReader, 'blob' | 'blobStat'>;
  /** Where an nginx in front finds the blob's file; absent where it is not configured to send files. */
  readonly accelRedirect?: (digest: Digest) => string;
};
export type BlobWriting = BlobReading & { readonly writer: Pick<ContentWriter, 'deleteBlob'> };

type Target = { readonly repository: RepositoryName; readonly digest: string };

export async function answerBlob(deps: BlobWriting, call: Call, target: Target): Promise<Answer> {
  if (call.method === 'GET' || call.method === 'HEAD') return await readBlob(deps, call, target);
  if (call.method !== 'DELETE') throw methodNotAllowed(call.method, ['GET', 'HEAD', 'DELETE']);
  await deps.writer.deleteBlob(target.repository, parseDigest(target.digest), call.context);
  return empty(202);
}

/** GET and HEAD. */
export async function readBlob(deps: BlobReading, call: Call, target: Target): Promise<Answer> {
  const digest = parseDigest(target.digest);
  if (call.method === 'HEAD') return await probe(deps, call, { repository: target.repository, digest });
  const blob = await deps.reader.blob(target.repository, digest, call.context);
  refuseUnless(call.headers, digest, 'read');
  if (isUnchanged(call.headers['if-none-match'], digest)) return unchanged(digest, blob.source);
  const elsewhere = redirect(deps, call, blob);
  if (elsewhere !== undefined) return elsewhere;
  const asked = allowsRange(call.header('if-range'), digest) ? call.headers.range : undefined;
  refuseReversed(asked, blob.sizeBytes);
  const range = parseRange(asked, blob.sizeBytes);
  const stream = await blob.open(range, call.context.signal);
  return { ...(range === undefined ? whole(blob) : part(blob, range)), stream };
}

/** Set by the nginx that knows what to do with the answer: whoever comes without it wants the bytes from us. */
const ACCEL_HEADER = 'fairway-accel-redirect';

/**
 * Has the nginx in front send the file, ranges included, as `sendfile` does it: a blob costs us no copy then. Only of
 * what is whole and verified; what is still arriving is sent by us. A client that sends the header itself gets the
 * path of a file instead of the bytes that it may read, which is of no use to it.
 */
function redirect(deps: BlobReading, call: Call, blob: BlobRead): Answer | undefined {
  if (deps.accelRedirect === undefined || blob.isStored !== true) return undefined;
  if (call.header(ACCEL_HEADER) !== 'on') return undefined;
  // nginx says by itself that it takes ranges.
  const { 'Accept-Ranges': _ranges, ...headers } = headersOf(blob);
  return empty(200, { ...headers, 'X-Accel-Redirect': deps.accelRedirect(blob.digest) });
}

function whole(blob: BlobRead): Answer {
  return { status: 200, headers: { ...headersOf(blob), 'Content-Length': blob.sizeBytes } };
}

function part(blob: BlobRead, range: ByteRange): Answer {
  return {
    status: 206,
    headers: {
      ...headersOf(blob),
      'Content-Length': rangeBytes(range),
      'Content-Range': `bytes ${range.start}-${range.end}/${blob.sizeBytes}`,
    },
  };
}

async function probe(
  deps: BlobReading,
  call: Call,
  target: { readonly repository: RepositoryName; readonly digest: Digest },
): Promise<Answer> {
  const { repository, digest } = target;
  const stat = await deps.reader.blobStat(repository, digest, call.context);
  if (stat === undefined) throw new RegistryError('BLOB_UNKNOWN', `${digest} is not in ${repository}`);
  return { status: 200, headers: { ...headersOf(stat), 'Content-Length': stat.sizeBytes } };
}

function headersOf(blob: Pick<BlobRead, 'digest' | 'source'>): Headers {
  return {
    'Content-Type': 'application/octet-stream',
    [DIGEST_HEADER]: blob.digest,
    ETag: entityTag(blob.digest),
    'Accept-Ranges': 'bytes',
    'Cache-Control': CACHE_FOREVER,
    'Fairway-Source': sourceText(blob.source),
  };
}
