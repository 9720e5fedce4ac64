/**
 * What a repository shows: which digest a tag has, and whether a manifest is there. Having a manifest's bytes is
 * another matter, because claims arrive before content and stay gone when content does not.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestFromBytes, digestToBytes } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { ManifestRows, ViewRow, ViewRows } from '#storage/metadata.ts';

export type VisibilityDeps = {
  readonly views: Pick<ViewRows, 'get' | 'withValue'>;
  readonly manifests: Pick<ManifestRows, 'isLinked'>;
};

/**
 * `present`: claimed, tagged, or recorded without a claim (of a proxied registry). `deleted`: a claim says that it is
 * gone, which prevails over every copy. `unknown`: nothing here says anything.
 */
export type Visibility = 'present' | 'deleted' | 'unknown';

export async function manifestVisibility(
  deps: VisibilityDeps,
  repository: RepositoryName,
  digest: Digest,
): Promise<Visibility> {
  const view = await deps.views.get({ kind: CLAIM_KIND.manifest, repository, name: digest });
  if (view?.live === true) return 'present';
  if ((await tagsOf(deps, repository, digest)).length > 0) return 'present';
  if (view !== undefined) return 'deleted';
  return (await deps.manifests.isLinked(repository, digest)) ? 'present' : 'unknown';
}

/** Live tags of the repository that have this digest. */
export async function tagsOf(
  deps: Pick<VisibilityDeps, 'views'>,
  repository: RepositoryName,
  digest: Digest,
): Promise<readonly ViewRow[]> {
  return await deps.views.withValue(CLAIM_KIND.tag, repository, digestToBytes(digest));
}

/** The digest of a live tag; `undefined` when no claim that is known here says one. */
export async function taggedDigest(
  deps: { readonly views: Pick<ViewRows, 'get'> },
  repository: RepositoryName,
  tag: string,
): Promise<Digest | undefined> {
  const view = await deps.views.get({ kind: CLAIM_KIND.tag, repository, name: tag });
  return view?.live === true ? digestFromBytes(view.value) : undefined;
}
