/**
 * Referrers: the manifests of a repository whose subject is a digest, as an image index. A subject that is not here
 * has an empty list, never a 404. What clients listed under a tag belongs to it (`referrers-tag.ts`). Ordered by
 * digest; a page ends at its count or when its index would outgrow what clients accept as a manifest.
 * Source: OCI distribution spec, "Listing referrers", end-12.
 */
import type { ContentReader } from '#content/reader.ts';
import { manifestVisibility, type VisibilityDeps } from '#content/visibility.ts';
import { type Digest, parseDigest } from '#domain/digest.ts';
import { MEDIA_TYPE, parseManifest } from '#domain/manifest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { ManifestRow, ManifestRows } from '#storage/metadata.ts';
import { type Answer, type Headers, json, methodNotAllowed } from './answer.ts';
import type { Call } from './call.ts';
import { nextLink, parsePage } from './paging.ts';
import { TaggedReferrers } from './referrers-tag.ts';

export type ReferrerDeps = Pick<VisibilityDeps, 'views'> & {
  readonly manifests: Pick<ManifestRows, 'referrers' | 'isLinked' | 'find'>;
  readonly reader: Pick<ContentReader, 'manifest'>;
};

/** Clients take a list of referrers for a manifest, and those have 4 MiB; some room is left for the frame. */
const PAGE_BYTES_MAX = 3_500_000;

type Descriptor = {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
};

export async function answerReferrers(
  deps: ReferrerDeps,
  call: Call,
  target: { readonly repository: RepositoryName; readonly digest: string },
): Promise<Answer> {
  if (call.method !== 'GET' && call.method !== 'HEAD') throw methodNotAllowed(call.method, ['GET', 'HEAD']);
  const { repository } = target;
  const subject = parseDigest(target.digest);
  const artifactType = call.query.get('artifactType') ?? undefined;
  const { limit, after } = parsePage(call.query);
  const tagged = new TaggedReferrers(deps, { repository, subject }, call.context);
  const known = new Map(
    (await deps.manifests.referrers(repository, subject)).map((row) => [row.digest, row]),
  );
  const candidates = new Set([...known.keys(), ...(await tagged.digests())]);
  const found: Descriptor[] = [];
  let hasMore = false;
  let bytes = 0;
  for (const digest of [...candidates].filter((candidate) => candidate > after).sort()) {
    const row = known.get(digest) ?? (await tagged.referrer(digest));
    if (row === undefined) continue;
    const descriptor = descriptorOf(row);
    if (artifactType !== undefined && descriptor.artifactType !== artifactType) continue;
    if ((await manifestVisibility(deps, repository, digest)) === 'deleted') continue;
    bytes += JSON.stringify(descriptor).length;
    hasMore = found.length >= limit || (found.length > 0 && bytes > PAGE_BYTES_MAX);
    if (hasMore) break;
    found.push(descriptor);
  }
  const last = hasMore ? found.at(-1)?.digest : undefined;
  const filter: Readonly<Record<string, string>> = artifactType === undefined ? {} : { artifactType };
  const headers: Headers = {
    'Content-Type': MEDIA_TYPE.ociIndex,
    ...(artifactType === undefined ? {} : { 'OCI-Filters-Applied': 'artifactType' }),
    ...(last === undefined
      ? {}
      : nextLink(`/v2/${repository}/referrers/${subject}`, { limit, last, filter })),
  };
  return json(200, { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: found }, headers);
}

function descriptorOf(row: ManifestRow): Descriptor {
  const { artifactType, annotations } = parseManifest(row.bytes, row.mediaType);
  return {
    mediaType: row.mediaType,
    digest: row.digest,
    size: row.bytes.length,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}
