/**
 * Uploads: whole in one POST, POST and PUT, in chunks, or streamed; their state, their end, and the mount that makes
 * one unnecessary. Source: OCI distribution spec, "Pushing blobs", end-4 to end-6, end-11, end-13, end-14.
 *
 * A chunk in the wrong place is refused before its bytes are read, and the upload lives on with what it has, also
 * after a body that was cut off or had the wrong length: `GET` of its location says where to go on. Locations are
 * paths without a host, so that they hold behind any proxy.
 */
import type { ContentWriter } from '#content/writer.ts';
import { algorithmOf, type Digest, type DigestAlgorithm, parseDigest } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import { parseRepositoryName, type RepositoryName } from '#domain/name.ts';
import type { Upload } from '#storage/blob-store.ts';
import { type Answer, DIGEST_HEADER, empty, type Headers, methodNotAllowed } from './answer.ts';
import type { Call } from './call.ts';
import { parseContentRange, rangeBytes } from './range.ts';

export type UploadDeps = {
  readonly writer: Pick<ContentWriter, 'startUpload' | 'findUpload' | 'finishUpload' | 'mount'>;
  /** The largest blob that is accepted. */
  readonly blobBytesMax: number;
};

type Start = { readonly repository: RepositoryName };
type Target = { readonly repository: RepositoryName; readonly upload: string };

/** `POST …/blobs/uploads/`, with `mount`, with `digest`, or to begin. */
export async function answerUploadStart(
  deps: UploadDeps,
  call: Call,
  { repository }: Start,
): Promise<Answer> {
  if (call.method !== 'POST') throw methodNotAllowed(call.method, ['POST']);
  const mounted = call.query.get('mount');
  const digest = call.query.get('digest');
  if (mounted !== null && (await mount(deps, call, { repository, digest: parseDigest(mounted) }))) {
    return stored(repository, parseDigest(mounted));
  }
  if (digest !== null) return await putWhole(deps, call, { repository, digest: parseDigest(digest) });
  const algorithm = announcedAlgorithm(call.query);
  const upload = await deps.writer.startUpload(repository, call.context, algorithm);
  return empty(202, headersOf(repository, upload));
}

/** What the digest will be of; a client that says nothing may still close the upload with either. */
function announcedAlgorithm(query: URLSearchParams): DigestAlgorithm {
  const name = query.get('digest-algorithm') ?? 'sha256';
  if (name === 'sha256' || name === 'sha512') return name;
  throw new RegistryError('DIGEST_INVALID', `digests of ${name.slice(0, 40)} are not supported`);
}

async function mount(
  deps: UploadDeps,
  call: Call,
  blob: { readonly repository: RepositoryName; readonly digest: Digest },
): Promise<boolean> {
  const from = call.query.get('from');
  const source = from === null || from === '' ? undefined : parseRepositoryName(from);
  return await deps.writer.mount(blob.repository, blob.digest, source, call.context);
}

/** The upload has no location that a client knows: what does not succeed is discarded. */
async function putWhole(
  deps: UploadDeps,
  call: Call,
  { repository, digest }: { readonly repository: RepositoryName; readonly digest: Digest },
): Promise<Answer> {
  const upload = await deps.writer.startUpload(repository, call.context, algorithmOf(digest));
  try {
    await append(deps, call, { repository, upload });
    await deps.writer.finishUpload(repository, upload, digest, call.context);
  } catch (thrown) {
    await upload.abort();
    throw thrown;
  }
  return stored(repository, digest);
}

/** A location that was given out: `GET`, `PATCH`, `PUT`, `DELETE`. */
export async function answerUpload(deps: UploadDeps, call: Call, target: Target): Promise<Answer> {
  const { repository } = target;
  if (!['GET', 'PATCH', 'PUT', 'DELETE'].includes(call.method)) {
    throw methodNotAllowed(call.method, ['GET', 'PATCH', 'PUT', 'DELETE']);
  }
  const digest = call.method === 'PUT' ? closingDigest(call) : undefined;
  const upload = await deps.writer.findUpload(repository, target.upload, call.context);
  if (call.method === 'GET') return empty(204, headersOf(repository, upload));
  if (call.method === 'DELETE') {
    await upload.abort();
    return empty(204);
  }
  await append(deps, call, { repository, upload });
  if (digest === undefined) return empty(202, headersOf(repository, upload));
  await deps.writer.finishUpload(repository, upload, digest, call.context);
  return stored(repository, digest);
}

function closingDigest(call: Call): Digest {
  const digest = call.query.get('digest');
  if (digest !== null) return parseDigest(digest);
  throw new RegistryError('DIGEST_INVALID', 'the query parameter digest is missing');
}

/** Appends the body, after its announced place and length were found to fit. */
async function append(
  deps: UploadDeps,
  call: Call,
  to: { readonly repository: RepositoryName; readonly upload: Upload },
): Promise<void> {
  const exactly = expectedBytes(call, to);
  if (call.body.announcedBytes === 0) return;
  await to.upload.append(call.body.pieces(exactly), {
    signal: call.context.signal,
    maxBytes: deps.blobBytesMax,
    ownsPieces: true,
  });
}

/** The length that `Content-Range` promises. @throws RegistryError RANGE_INVALID, SIZE_INVALID. */
function expectedBytes(
  call: Call,
  { repository, upload }: { readonly repository: RepositoryName; readonly upload: Upload },
): number | undefined {
  const range = parseContentRange(call.header('content-range'));
  if (range === undefined) return undefined;
  if (range.start !== upload.sizeBytes) {
    throw new RegistryError(
      'RANGE_INVALID',
      `the chunk begins at ${range.start}, and the upload has ${upload.sizeBytes} bytes`,
      { headers: headersOf(repository, upload) },
    );
  }
  const announced = call.body.announcedBytes;
  if (announced !== undefined && announced !== rangeBytes(range)) {
    throw new RegistryError(
      'SIZE_INVALID',
      `Content-Range has ${rangeBytes(range)} bytes, and Content-Length is ${announced}`,
    );
  }
  return rangeBytes(range);
}

/** `Range` of an upload without bytes is `0-0`, as the reference registry prints it and clients expect it. */
function headersOf(repository: RepositoryName, upload: Upload): Record<string, string> {
  return {
    Location: `/v2/${repository}/blobs/uploads/${upload.id}`,
    Range: `0-${Math.max(0, upload.sizeBytes - 1)}`,
    'Docker-Upload-UUID': upload.id,
  };
}

function stored(repository: RepositoryName, digest: Digest): Answer {
  const headers: Headers = { Location: `/v2/${repository}/blobs/${digest}`, [DIGEST_HEADER]: digest };
  return empty(201, headers);
}
