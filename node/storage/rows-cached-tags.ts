/** Tags of proxied registries, as their upstream last confirmed them. */
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { CachedTagRow, CachedTagRows } from './metadata.ts';
import { type Place, prepare, run, type Store } from './statement.ts';
import type { CachedTagTable } from './tables.ts';

export function openCachedTagRows(store: Store): CachedTagRows {
  const { reader, writer } = store;
  const statements = prepareStatements(store.db);
  return {
    async get(repository, tag) {
      const row = await reader.first(statements.get.bind({ repository, tag }));
      return row === undefined ? undefined : cachedTagRow(row);
    },
    async put({ repository, tag, digest, checkedMs }) {
      await writer.write([run(statements.put.bind({ repository, tag, digest, checked_ms: checkedMs }))]);
    },
    async remove(repository, tag) {
      await writer.write([run(statements.remove.bind({ repository, tag }))]);
    },
    async list(repository, after, limit) {
      return (await reader.all(statements.list.bind({ repository, after, limit }))).map(cachedTagRow);
    },
  };
}

function cachedTagRow(row: CachedTagTable): CachedTagRow {
  return {
    repository: row.repository as RepositoryName,
    tag: row.tag,
    digest: row.digest as Digest,
    checkedMs: row.checked_ms,
  };
}

function prepareStatements(db: Store['db']) {
  return {
    get: prepare((p: Place<{ repository: string; tag: string }>) =>
      db
        .selectFrom('cached_tag')
        .selectAll()
        .where('repository', '=', p('repository'))
        .where('tag', '=', p('tag')),
    ),
    put: prepare((p: Place<CachedTagTable>) =>
      db
        .insertInto('cached_tag')
        .values({
          repository: p('repository'),
          tag: p('tag'),
          digest: p('digest'),
          checked_ms: p('checked_ms'),
        })
        .onConflict((conflict) =>
          conflict.columns(['repository', 'tag']).doUpdateSet((eb) => ({
            digest: eb.ref('excluded.digest'),
            checked_ms: eb.ref('excluded.checked_ms'),
          })),
        ),
    ),
    remove: prepare((p: Place<{ repository: string; tag: string }>) =>
      db.deleteFrom('cached_tag').where('repository', '=', p('repository')).where('tag', '=', p('tag')),
    ),
    list: prepare((p: Place<{ repository: string; after: string; limit: number }>) =>
      db
        .selectFrom('cached_tag')
        .selectAll()
        .where('repository', '=', p('repository'))
        .where('tag', '>', p('after'))
        .orderBy('tag')
        .limit(p('limit')),
    ),
  };
}
