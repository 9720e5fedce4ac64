/**
 * Manifests: pull, probe, push and delete, by tag and by digest. Bytes go out exactly as they came in, with the
 * media type that they were pushed with and no parameters.
 *
 * A probe (HEAD) is what a pusher begins with, so where absence cannot be proven it is answered 404 with a warning:
 * a push must not fail because another region is down. A pull (GET) is then answered 503.
 *
 * A push by digest may set several tags, which is the only way to tag a manifest by another digest than its sha256.
 * A manifest with blobs that nobody has is accepted with a warning that names them, unless configured otherwise.
 * Source: OCI distribution spec, end-3, end-7, end-9, "Pushing manifests".
 */
import type { ContentReader, ManifestRead } from '#content/reader.ts';
import type { ContentWriter } from '#content/writer.ts';
import type { Digest } from '#domain/digest.ts';
import { type Dot, versionText } from '#domain/dot.ts';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { parseReference, parseTag, type Reference, type RepositoryName, type Tag } from '#domain/name.ts';
import type { RegionName } from '#domain/region.ts';
import {
  type Answer,
  CACHE_FOREVER,
  DIGEST_HEADER,
  empty,
  methodNotAllowed,
  sourceText,
  unchanged,
} from './answer.ts';
import type { BodyBudget } from './body-budget.ts';
import type { Call } from './call.ts';
import { entityTag, isConditional, isUnchanged, refuseUnless } from './conditional.ts';
import { warningHeader } from './error-reply.ts';

export type ManifestReading = { readonly reader: Pick<ContentReader, 'manifest'> };

export type ManifestWriting = ManifestReading & {
  readonly reader: Pick<ContentReader, 'manifest' | 'warmManifest'>;
  /** What was answered for a manifest that the reader has in memory; it goes with it. */
  readonly warmAnswers: WeakMap<ManifestRead, Answer>;
  readonly writer: Pick<ContentWriter, 'putManifest' | 'deleteManifest'>;
  readonly bodies: BodyBudget;
  readonly region: RegionName;
  readonly absentBlobs: AbsentBlobs;
};

/** What becomes of a pushed manifest with blobs that nobody has. */
export type AbsentBlobs = 'record' | 'refuse';

/** Each is a claim of its own in one transaction; the spec asks for 10. One more is answered 414. */
const TAGS_MAX = 48;
/** Larger ones are sent as they are: putting a text together copies it. */
const TEXT_BYTES_MAX = 16 * 1024;
/** Absent blobs that a warning names: a line that a terminal still shows. */
const ABSENT_NAMED_MAX = 5;

type Target = { readonly repository: RepositoryName; readonly reference: string };

export function answerManifest(deps: ManifestWriting, call: Call, target: Target): Answer | Promise<Answer> {
  switch (call.method) {
    case 'GET':
    case 'HEAD':
      return warm(deps, call, target) ?? readManifest(deps, call, target);
    case 'PUT':
      return putManifest(deps, call, target);
    case 'DELETE':
      return deleteManifest(deps, call, target);
    default:
      throw methodNotAllowed(call.method, ['GET', 'HEAD', 'PUT', 'DELETE']);
  }
}

function warm(deps: ManifestWriting, call: Call, target: Target): Answer | undefined {
  const reference = parseReference(target.reference);
  if ('digest' in reference) return undefined;
  const manifest = deps.reader.warmManifest(target.repository, reference.tag);
  if (manifest === undefined) return undefined;
  if (call.headers['if-none-match'] !== undefined) return found(call, manifest, reference);
  const known = deps.warmAnswers.get(manifest);
  if (known !== undefined) return known;
  const answer = asText(found(call, manifest, reference));
  deps.warmAnswers.set(manifest, answer);
  return answer;
}

/** Node sends head and body of a text in one system call of the cheap kind, which saves about 1 of 12 µs. */
function asText(answer: Answer): Answer {
  const { body } = answer;
  if (!(body instanceof Uint8Array) || body.byteLength > TEXT_BYTES_MAX) return answer;
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return { ...answer, body: bytes.toString('latin1') };
}

/** GET and HEAD. */
export async function readManifest(deps: ManifestReading, call: Call, target: Target): Promise<Answer> {
  const reference = parseReference(target.reference);
  if (call.method === 'HEAD') return await probe(deps, call, { ...target, reference });
  return found(call, await deps.reader.manifest(target.repository, reference, call.context), reference);
}

async function probe(
  deps: ManifestReading,
  call: Call,
  target: { readonly repository: RepositoryName; readonly reference: Reference },
): Promise<Answer> {
  try {
    const manifest = await deps.reader.manifest(target.repository, target.reference, call.context);
    return found(call, manifest, target.reference);
  } catch (thrown) {
    if (!(thrown instanceof UnavailableError)) throw thrown;
    const tried = thrown.tried.length === 0 ? '' : ` (${thrown.tried.join('; ')})`;
    throw new RegistryError('MANIFEST_UNKNOWN', thrown.message, {
      headers: { Warning: warningHeader(`absence is not proven: ${thrown.message}${tried}`) },
      cause: thrown,
    });
  }
}

function found(call: Call, manifest: ManifestRead, reference: Reference): Answer {
  const { bytes, digest } = manifest;
  refuseUnless(call.headers, digest, 'read');
  if (isUnchanged(call.headers['if-none-match'], digest)) return unchanged(digest, manifest.source);
  return {
    status: 200,
    headers: {
      'Content-Type': manifest.mediaType,
      'Content-Length': bytes.length,
      [DIGEST_HEADER]: digest,
      ETag: entityTag(digest),
      // A tag moves: whoever kept an answer must ask again.
      'Cache-Control': 'digest' in reference ? CACHE_FOREVER : 'no-cache',
      'Fairway-Source': sourceText(manifest.source),
    },
    body: bytes,
  };
}

async function putManifest(deps: ManifestWriting, call: Call, target: Target): Promise<Answer> {
  const { repository } = target;
  const reference = parseReference(target.reference);
  const tags = 'digest' in reference ? tagsOf(call.query) : [];
  const contentType = call.headers['content-type'];
  using body = await deps.bodies.read(call.body);
  await refuseChanged(deps, call, { repository, reference });
  const put = await deps.writer.putManifest(
    { repository, reference, bytes: body.bytes, contentType, tags, absentBlobs: deps.absentBlobs },
    call.context,
  );
  return empty(201, {
    Location: `/v2/${repository}/manifests/${put.digest}`,
    [DIGEST_HEADER]: put.digest,
    ...(put.subject === undefined ? {} : { 'OCI-Subject': put.subject }),
    ...(tags.length === 0 ? {} : { 'OCI-Tag': tags }),
    ...(put.absent === undefined ? {} : { Warning: absentWarning(put.absent) }),
    ...versionHeader(deps.region, put.dot),
  });
}

/**
 * A write on condition. It is looked at before the write and not with it: of two writers at one moment both may
 * pass, and they are settled as any two pushes are.
 */
async function refuseChanged(
  deps: ManifestReading,
  call: Call,
  { repository, reference }: { readonly repository: RepositoryName; readonly reference: Reference },
): Promise<void> {
  if (!isConditional(call.headers)) return;
  const present = await deps.reader.manifest(repository, reference, call.context).catch((thrown: unknown) => {
    if (thrown instanceof RegistryError && thrown.status === 404) return undefined;
    throw thrown;
  });
  refuseUnless(call.headers, present?.digest, 'write');
}

/** The `tag` parameters, each once. @throws RegistryError TAG_INVALID, UNSUPPORTED (414). */
function tagsOf(query: URLSearchParams): readonly Tag[] {
  const tags = [...new Set(query.getAll('tag').map(parseTag))];
  if (tags.length <= TAGS_MAX) return tags;
  const message = `${tags.length} tags in one push; at most ${TAGS_MAX} are taken`;
  throw new RegistryError('UNSUPPORTED', message, { status: 414 });
}

function absentWarning(absent: readonly Digest[]): string {
  const named = absent.slice(0, ABSENT_NAMED_MAX).join(', ');
  const more = absent.length > ABSENT_NAMED_MAX ? ' and others' : '';
  return warningHeader(
    `nobody has ${absent.length} of the blobs that the manifest refers to, and it cannot be pulled whole: ${named}${more}`,
  );
}

async function deleteManifest(deps: ManifestWriting, call: Call, target: Target): Promise<Answer> {
  const reference = parseReference(target.reference);
  await refuseChanged(deps, call, { repository: target.repository, reference });
  const dot = await deps.writer.deleteManifest(target.repository, reference, call.context);
  return empty(202, versionHeader(deps.region, dot));
}

/** A write's dot is of our own region: it names the number, and clients are told the name. */
function versionHeader(region: RegionName, dot: Dot): { readonly 'Fairway-Version': string } {
  return { 'Fairway-Version': versionText(region, dot) };
}
