/**
 * The names of all repositories with a manifest in the replicated index, ordered by bytes and paged as tags are.
 * No part of the OCI spec, but of the Docker registry API that mirroring tools use. What is only cached of a proxied
 * registry is not listed: it is not this mesh's content.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { ViewRows } from '#storage/metadata.ts';
import { type Answer, json, methodNotAllowed } from './answer.ts';
import type { Call } from './call.ts';
import { nextLink, parsePage } from './paging.ts';

export type CatalogDeps = { readonly views: Pick<ViewRows, 'repositories'> };

export async function answerCatalog(deps: CatalogDeps, call: Call): Promise<Answer> {
  if (call.method !== 'GET' && call.method !== 'HEAD') throw methodNotAllowed(call.method, ['GET', 'HEAD']);
  const { limit, after } = parsePage(call.query);
  const found = await deps.views.repositories(CLAIM_KIND.manifest, after, limit + 1);
  const repositories = found.slice(0, limit);
  const last = repositories.at(-1);
  const hasMore = last !== undefined && found.length > repositories.length;
  return json(200, { repositories }, hasMore ? nextLink('/v2/_catalog', { limit, last }) : {});
}
