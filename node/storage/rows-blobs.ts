/**
 * Which blobs are here, and through which repositories they may be read. A blob is readable where it was uploaded
 * or mounted (`blob_link`), and where a manifest that is shown refers to it (`repository_reference`, see
 * `rows-manifests.ts`).
 */
import { sql } from 'kysely';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { BlobRows } from './metadata.ts';
import { INDEXED_VALUE_BYTES } from './rows-views.ts';
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
        run(
          statements.insert.bind({
            ...{ digest, size_bytes: sizeBytes, source },
            ...{ stored_ms: storedMs, used_ms: storedMs },
          }),
        ),
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
    async repositoriesOf(digest, limit) {
      const rows = await reader.all(statements.repositoriesOf.bind({ digest, limit }));
      return rows.map((row) => row.repository as RepositoryName);
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
          used_ms: p('used_ms'),
        })
        // Whoever brings it once more relies on it from then on.
        .onConflict((conflict) =>
          conflict.column('digest').doUpdateSet({
            used_ms: sql<number>`case when blob.used_ms < excluded.used_ms then excluded.used_ms else blob.used_ms + 1 end`,
          }),
        ),
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
    isReferred: prepare((p: Place<Link>) => referringManifest(db, p)),
    repositoriesOf: prepare((p: Place<{ digest: Digest; limit: number }>) =>
      db
        .selectFrom('blob_link')
        .select('repository')
        .where('digest', '=', p('digest'))
        .orderBy('repository')
        .limit(p('limit')),
    ),
    totals: prepare((_: Place<object>) =>
      db.selectFrom('tally').select(['count', 'size_bytes']).where('name', '=', 'blob'),
    ),
  };
}

/**
 * A manifest that the repository shows and that refers to the blob. The references of one that was deleted stay
 * until they are collected; `content/visibility.ts` says what is shown, and this says the same in SQL. Nobody looked
 * whether the repository has foreign layers and absent blobs, so to name one gives no right to read it.
 */
function referringManifest(db: Store['db'], p: Place<Link>) {
  return db
    .selectFrom('repository_reference as reference')
    .select('reference.manifest')
    .where('reference.repository', '=', p('repository'))
    .where('reference.kind', '=', 'blob')
    .where('reference.digest', '=', p('digest'))
    .where(({ or, not, exists, selectFrom }) => {
      const claim = selectFrom('view')
        .select('view.id')
        .where('view.kind', '=', sql.lit(CLAIM_KIND.manifest))
        .whereRef('view.repository', '=', 'reference.repository')
        .whereRef('view.name', '=', 'reference.manifest');
      const tag = selectFrom('view')
        .select('view.id')
        .where('view.kind', '=', sql.lit(CLAIM_KIND.tag))
        .where('view.live', '=', sql.lit(1))
        .whereRef('view.repository', '=', 'reference.repository')
        .where('view.value', '=', sql<Uint8Array>`digest_bytes(reference.manifest)`)
        .where(sql<number>`octet_length(view.value)`, '<=', sql.lit(INDEXED_VALUE_BYTES));
      // Without a claim, a manifest that was recorded is one of a proxied registry.
      return or([
        exists(claim.where('view.live', '=', sql.lit(1))),
        not(exists(claim.where('view.sequence', '>', sql.lit(0)))),
        exists(tag),
      ]);
    })
    .limit(sql.lit(1));
}
