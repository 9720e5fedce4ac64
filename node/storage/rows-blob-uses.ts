/** When pushes last relied on the blobs that are here: the grace of those that no manifest refers to. */
import { sql } from 'kysely';
import type { Digest } from '#domain/digest.ts';
import type { BlobUseRows } from './metadata-garbage.ts';
import { guard, type Place, prepare, run, type Store, writeOne } from './statement.ts';

export function openBlobUseRows(store: Store): BlobUseRows {
  const { reader, writer } = store;
  const statements = prepareStatements(store.db);
  return {
    async usedMs(digest) {
      return (await reader.first(statements.usedMs.bind({ digest })))?.used_ms;
    },
    async touch(digest, { nowMs, everyMs }) {
      const known = await reader.first(statements.usedMs.bind({ digest }));
      if (known === undefined) return false;
      if (known.used_ms > nowMs - everyMs) return true;
      return (await writeOne(writer, statements.touch.bind({ digest, nowMs }))).length > 0;
    },
    async forgetUnused(digest, usedMs) {
      const result = await writer.write([
        guard(statements.forget.bind({ digest, usedMs })),
        run(statements.forgetLinks.bind({ digest })),
      ]);
      return result.outcome === 'committed';
    },
  };
}

function prepareStatements(db: Store['db']) {
  return {
    usedMs: prepare((p: Place<{ digest: Digest }>) =>
      db.selectFrom('blob').select('used_ms').where('digest', '=', p('digest')),
    ),
    touch: prepare((p: Place<{ digest: Digest; nowMs: number }>) =>
      db
        .updateTable('blob')
        .set({
          used_ms: sql<number>`case when used_ms < ${p('nowMs')} then ${p('nowMs')} else used_ms + 1 end`,
        })
        .where('digest', '=', p('digest'))
        .returning('digest'),
    ),
    forget: prepare((p: Place<{ digest: Digest; usedMs: number }>) =>
      db.deleteFrom('blob').where('digest', '=', p('digest')).where('used_ms', '=', p('usedMs')),
    ),
    // Of a blob that never comes back nobody else would remove them; one that does is linked anew.
    forgetLinks: prepare((p: Place<{ digest: Digest }>) =>
      db.deleteFrom('blob_link').where('digest', '=', p('digest')),
    ),
  };
}
