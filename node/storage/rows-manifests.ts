/**
 * Manifests and what they refer to. References are stored twice: per manifest in its own order, which is what a
 * closure is walked by, and per repository by the digest referred to, which answers "who refers to this" (referrers,
 * and whether a repository may serve a blob) by one search however many manifests there are.
 */
import { sql } from 'kysely';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import { openClosurePresence } from './closure-presence.ts';
import type { ManifestStatements } from './manifest-statements.ts';
import type { ManifestRow, ManifestRows, ReferenceRow } from './metadata.ts';
import { type Place, prepare, type Store } from './statement.ts';
import type { ManifestReferenceTable, ManifestTable } from './tables.ts';

export function openManifestRows(store: Store, manifestStatements: ManifestStatements): ManifestRows {
  const { reader, writer } = store;
  const statements = prepareStatements(store.db);
  const presence = openClosurePresence(store);
  return {
    async find(digest) {
      const row = await reader.first(statements.find.bind({ digest }));
      return row === undefined ? undefined : manifestRow(row);
    },
    async record(repository, manifest) {
      await writer.write(manifestStatements(repository, manifest));
    },
    async isLinked(repository, digest) {
      const link = { repository, digest };
      if ((await reader.first(statements.isLinked.bind(link))) !== undefined) return true;
      return (await reader.first(statements.isAnnounced.bind(link))) !== undefined;
    },
    async references(digest) {
      return (await reader.all(statements.references.bind({ digest }))).map(referenceRow);
    },
    async referrers(repository, subject) {
      return (await reader.all(statements.referrers.bind({ repository, subject }))).map(manifestRow);
    },
    presence,
  };
}

function manifestRow(row: Pick<ManifestTable, 'digest' | 'media_type' | 'bytes'>): ManifestRow {
  return { digest: row.digest as Digest, mediaType: row.media_type, bytes: row.bytes };
}

function referenceRow(row: ManifestReferenceTable): ReferenceRow {
  return {
    kind: row.kind as ReferenceRow['kind'],
    digest: row.digest as Digest,
    sizeBytes: row.size_bytes,
    mediaType: row.media_type,
    ...(row.platform === '' ? {} : { platform: row.platform }),
  };
}

type Link = { readonly repository: RepositoryName; readonly digest: Digest };

function prepareStatements(db: Store['db']) {
  return {
    find: prepare((p: Place<{ digest: Digest }>) =>
      db.selectFrom('manifest').select(['digest', 'media_type', 'bytes']).where('digest', '=', p('digest')),
    ),
    isLinked: prepare((p: Place<Link>) =>
      db
        .selectFrom('manifest_link')
        .select('digest')
        .where('repository', '=', p('repository'))
        .where('digest', '=', p('digest')),
    ),
    // A manifest above 64 KiB is announced without its bytes: its claim alone links it.
    isAnnounced: prepare((p: Place<Link>) =>
      db
        .selectFrom('view')
        .select('id')
        .where('kind', '=', CLAIM_KIND.manifest)
        .where('repository', '=', p('repository'))
        .where('name', '=', p('digest'))
        .where('live', '=', sql.lit(1)),
    ),
    references: prepare((p: Place<{ digest: Digest }>) =>
      db.selectFrom('manifest_reference').selectAll().where('manifest', '=', p('digest')).orderBy('position'),
    ),
    referrers: prepare((p: Place<{ repository: RepositoryName; subject: Digest }>) =>
      db
        .selectFrom('repository_reference as reference')
        .innerJoin('manifest', 'manifest.digest', 'reference.manifest')
        .select(['manifest.digest', 'manifest.media_type', 'manifest.bytes'])
        .where('reference.repository', '=', p('repository'))
        .where('reference.kind', '=', 'subject')
        .where('reference.digest', '=', p('subject'))
        .orderBy('reference.manifest'),
    ),
  };
}
