/**
 * The names of all repositories with a manifest in the replicated index that the caller may pull from, ordered by
 * bytes and paged as tags are; a page may be shorter than asked for, and still have a next one.
 * No part of the OCI spec, but of the Docker registry API that mirroring tools use. What is only cached of a proxied
 * registry is not listed: it is not this mesh's content.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { parseRepositoryName } from '#domain/name.ts';
import type { Permit } from '#domain/permit.ts';
import type { ViewRows } from '#storage/metadata.ts';
import { type Answer, json, methodNotAllowed } from './answer.ts';
import type { Call } from './call.ts';
import { nextLink, type Page, parsePage } from './paging.ts';

export type CatalogDeps = { readonly views: Pick<ViewRows, 'repositories'> };

/** A caller who may read next to nothing gets short pages with a link, not a request that takes for ever. */
const SCANNED_MAX = 20_000;

export async function answerCatalog(deps: CatalogDeps, call: Call): Promise<Answer> {
  if (call.method !== 'GET' && call.method !== 'HEAD') throw methodNotAllowed(call.method, ['GET', 'HEAD']);
  const page = parsePage(call.query);
  const { repositories, last } = await readablePage(deps, page, call.context.permit);
  return json(
    200,
    { repositories },
    last === undefined ? {} : nextLink('/v2/_catalog', { limit: page.limit, last }),
  );
}

/** `last`: where the next page begins; absent when there is none. */
async function readablePage(
  deps: CatalogDeps,
  { limit, after }: Page,
  permit: Permit | undefined,
): Promise<{ readonly repositories: readonly string[]; readonly last?: string }> {
  const repositories: string[] = [];
  if (limit === 0) return { repositories };
  let last = after;
  for (let scanned = 0; scanned < SCANNED_MAX; ) {
    const names = await deps.views.repositories(CLAIM_KIND.manifest, last, limit + 1);
    for (const name of names) {
      if (repositories.length === limit) return { repositories, last };
      last = name;
      if (permit?.allows(parseRepositoryName(name), 'pull')) repositories.push(name);
    }
    if (names.length <= limit) return { repositories };
    scanned += names.length;
  }
  return { repositories, last };
}
