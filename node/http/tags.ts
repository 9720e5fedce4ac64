/**
 * The tags of a repository, ordered by bytes: those of the replicated index, and those that this region caches of a
 * proxied registry. A repository is unknown when neither has a name and the index has no manifest of it.
 * Source: OCI distribution spec, "Listing tags".
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { RegistryError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { CachedTagRows, ViewRows } from '#storage/metadata.ts';
import { type Answer, json, methodNotAllowed } from './answer.ts';
import type { Call } from './call.ts';
import { nextLink, type Page, parsePage } from './paging.ts';

export type TagDeps = {
  readonly views: Pick<ViewRows, 'list'>;
  readonly cachedTags: Pick<CachedTagRows, 'list'>;
};

export async function answerTags(
  deps: TagDeps,
  call: Call,
  { repository }: { readonly repository: RepositoryName },
): Promise<Answer> {
  if (call.method !== 'GET' && call.method !== 'HEAD') throw methodNotAllowed(call.method, ['GET', 'HEAD']);
  const page = parsePage(call.query);
  // One more than asked for tells whether there is a next page.
  const found = await tagsAfter(deps, repository, { ...page, limit: page.limit + 1 });
  if (found.length === 0) await refuseUnknown(deps, repository);
  const tags = found.slice(0, page.limit);
  const last = tags.at(-1);
  const hasMore = last !== undefined && found.length > tags.length;
  const link = hasMore ? nextLink(`/v2/${repository}/tags/list`, { limit: page.limit, last }) : {};
  return json(200, { name: repository, tags }, link);
}

async function tagsAfter(deps: TagDeps, repository: RepositoryName, page: Page): Promise<readonly string[]> {
  const [claimed, cached] = await Promise.all([
    deps.views.list(CLAIM_KIND.tag, repository, page.after, page.limit),
    deps.cachedTags.list(repository, page.after, page.limit),
  ]);
  const tags = claimed.map((row) => row.name);
  if (cached.length === 0) return tags;
  // Tags are ASCII, so the order of code units is the order of bytes.
  return [...new Set([...tags, ...cached.map((row) => row.tag)])].sort().slice(0, page.limit);
}

async function refuseUnknown(deps: TagDeps, repository: RepositoryName): Promise<void> {
  const [tags, manifests, cached] = await Promise.all([
    deps.views.list(CLAIM_KIND.tag, repository, '', 1),
    deps.views.list(CLAIM_KIND.manifest, repository, '', 1),
    deps.cachedTags.list(repository, '', 1),
  ]);
  if (tags.length + manifests.length + cached.length > 0) return;
  throw new RegistryError('NAME_UNKNOWN', `no repository ${repository} is known here`);
}
