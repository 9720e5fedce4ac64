/**
 * Which blobs are here, and through which repositories they may be read. A blob is readable where it was uploaded
 * or mounted (`blob_link`), and where a manifest refers to it (`repository_reference`, see `rows-manifests.ts`).
 */
import { sql } from 'kysely';
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { BlobRows } from './metadata.ts';
import { type Place, prepare, run, type Store, writeOne } from './statement.ts';
import type { BlobTable } from './tables.ts';

type Link = { readonly repository: RepositoryName; readonly digest: Digest };

export function openBlobRows(store: Store): BlobRows {
  const { reader, writer } = store;
  const statements = prepareStatements(store.db);
  return {
    async find(digest) {
      const row = await reader.first(statements.find.bind({ digest }));
      if (row === undefined) return undefined;
      return { digest, sizeBytes: row.size_bytes, source: row.source, storedMs: row.stored_ms };
    },
    async record({ digest, sizeBytes, source, storedMs }, repository) {
      await writer.write([
        run(statements.insert.bind({ digest, size_bytes: sizeBytes, source, stored_ms: storedMs })),
        run(statements.link.bind({ repository, digest })),
      ]);
    },
    async link(repository, digest) {
      await writer.write([run(statements.link.bind({ repository, digest }))]);
    },
    async isReadable(repository, digest) {
      const link = { repository, digest };
      if ((await reader.first(statements.isLinked.bind(link))) !== undefined) return true;
      return (await reader.first(statements.isReferred.bind(link))) !== undefined;
    },
    async unlink(repository, digest) {
      return (await writeOne(writer, statements.unlink.bind({ repository, digest }))).length > 0;
    },
    async forget(digest) {
      await writer.write([run(statements.forget.bind({ digest }))]);
    },
    async totals() {
      const row = await reader.first(statements.totals.bind({}));
      return { count: row?.count ?? 0, sizeBytes: row?.size_bytes ?? 0 };
    },
  };
}

function prepareStatements(db: Store['db']) {
  return {
    find: prepare((p: Place<{ digest: Digest }>) =>
      db.selectFrom('blob').selectAll().where('digest', '=', p('digest')),
    ),
    insert: prepare((p: Place<BlobTable>) =>
      db
        .insertInto('blob')
        .values({
          digest: p('digest'),
          size_bytes: p('size_bytes'),
          source: p('source'),
          stored_ms: p('stored_ms'),
        })
        .onConflict((conflict) => conflict.doNothing()),
    ),
    forget: prepare((p: Place<{ digest: Digest }>) =>
      db.deleteFrom('blob').where('digest', '=', p('digest')),
    ),
    link: prepare((p: Place<Link>) =>
      db
        .insertInto('blob_link')
        .values({ repository: p('repository'), digest: p('digest') })
        .onConflict((conflict) => conflict.doNothing()),
    ),
    unlink: prepare((p: Place<Link>) =>
      db
        .deleteFrom('blob_link')
        .where('repository', '=', p('repository'))
        .where('digest', '=', p('digest'))
        .returning('digest'),
    ),
    isLinked: prepare((p: Place<Link>) =>
      db
        .selectFrom('blob_link')
        .select('digest')
        .where('repository', '=', p('repository'))
        .where('digest', '=', p('digest')),
    ),
    isReferred: prepare((p: Place<Link>) =>
      db
        .selectFrom('repository_reference')
        .select('manifest')
        .where('repository', '=', p('repository'))
        .where('kind', 'in', [sql.lit('blob'), sql.lit('foreign')])
        .where('digest', '=', p('digest'))
        .limit(sql.lit(1)),
    ),
    totals: prepare((_: Place<object>) =>
      db.selectFrom('tally').select(['count', 'size_bytes']).where('name', '=', 'blob'),
    ),
  };
}
