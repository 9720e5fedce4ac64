/**
 * Which blobs only a proxy cache needs: they were filled, manifests of the cache's repositories refer to them, and no
 * repository outside has them or a manifest that does. The same condition finds them, and is looked at once more in the
 * transaction that removes one.
 *
 * References are followed to the repositories of their manifests (`manifest_link`), because those have an index by
 * digest. Of each blob at most `REFERRERS_MAX` are followed, so that a page stays a short statement; a blob that more
 * refer to is left alone, as one that is worth keeping.
 */
import { type ExpressionBuilder, sql } from 'kysely';
import type { Digest } from '#domain/digest.ts';
import { type Place, prepare, type Store } from './statement.ts';
import type { Tables } from './tables.ts';

const REFERRERS_MAX = 100;

/**
 * Foreign layers and blobs that were absent count too: where they are here after all, the manifest is the better for
 * it.
 */
export const BLOB_KINDS = [sql.lit('blob'), sql.lit('foreign'), sql.lit('absent')];

/** A cache's repositories: the one that has the name of its prefix, and all in between `from` and `to`. */
export type CacheRange = { readonly prefix: string; readonly from: string; readonly to: string };

/** Text is ordered by bytes, and `0` is next to `/`. */
export function cacheRange(prefix: string): CacheRange {
  return { prefix, from: `${prefix}/`, to: `${prefix}0` };
}

type PageArgs = CacheRange & { readonly after: string; readonly limit: number };
type DropArgs = CacheRange & { readonly digest: Digest; readonly usedBeforeMs: number };

export function prepareCachedBlobs(db: Store['db']) {
  return {
    page: prepare((p: Place<PageArgs>) =>
      db
        .selectFrom('blob')
        .select(['digest', 'size_bytes', 'used_ms'])
        .select((eb) =>
          eb.case().when(isOnlyOfCache(eb, p)).then(sql.lit(1)).else(sql.lit(0)).end().as('only_of_cache'),
        )
        .where('digest', '>', p('after'))
        .orderBy('digest')
        .limit(p('limit')),
    ),
    drop: prepare((p: Place<DropArgs>) =>
      db
        .deleteFrom('blob')
        .where('digest', '=', p('digest'))
        .where('used_ms', '<', p('usedBeforeMs'))
        .where((eb) => isOnlyOfCache(eb, p)),
    ),
  };
}

function isOnlyOfCache(eb: ExpressionBuilder<Tables, 'blob'>, p: Place<CacheRange>) {
  const isInside = sql<boolean>`(repository = ${p('prefix')} or (repository >= ${p('from')} and repository < ${p('to')}))`;
  const referrers = (limit: number) =>
    eb
      .selectFrom('manifest_reference as reference')
      .select('reference.manifest')
      .whereRef('reference.digest', '=', 'blob.digest')
      .where('reference.kind', 'in', BLOB_KINDS)
      .limit(sql.lit(limit));
  const links = () =>
    eb
      .selectFrom(referrers(REFERRERS_MAX).as('referrer'))
      .innerJoin('manifest_link as link', 'link.digest', 'referrer.manifest')
      .select('link.repository');
  const ownLinks = eb
    .selectFrom('blob_link')
    .select('blob_link.repository')
    .whereRef('blob_link.digest', '=', 'blob.digest');
  const next = referrers(1).offset(sql.lit(REFERRERS_MAX - 1));
  return eb.and([
    eb('blob.source', '<>', sql.lit('push')),
    eb.exists(links().where(isInside)),
    eb.not(eb.exists(next)),
    eb.not(eb.exists(ownLinks.where(eb.not(isInside)))),
    eb.not(eb.exists(links().where(eb.not(isInside)))),
  ]);
}
