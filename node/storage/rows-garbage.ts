/**
 * What nothing needs any longer, found by short reads and removed by transactions that look again.
 *
 * A deleted manifest leaves its repository when no live tag has it, no index that is kept there names it, and it lost
 * no conflict that is still open. Parents leave before children, because a parent that has left names nobody. A
 * manifest without a repository goes with its references, and what only it referred to is then referred to by nobody.
 * Manifests that no claim of this region or another ever spoke of (those of proxied registries) are not looked at:
 * caches have their own rules.
 */
import { sql } from 'kysely';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestToBytes } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import { BLOB_KINDS, cacheRange, prepareCachedBlobs } from './cached-blobs.ts';
import type { GarbageRows, LinkedManifest, ManifestLimits } from './metadata-garbage.ts';
import { INDEXED_VALUE_BYTES } from './rows-views.ts';
import { guard, type Place, prepare, run, type Store } from './statement.ts';

/** Parents that an answer names; a manifest with so many is in use. */
const PARENTS_MAX = 100;

export function openGarbageRows(store: Store): GarbageRows {
  const { reader, writer } = store;
  const find = prepareSearches(store.db);
  const remove = prepareRemovals(store.db);
  const cached = prepareCachedBlobs(store.db);
  return {
    async deletedManifests({ deletedBeforeMs, after, limit }) {
      const rows = await reader.all(find.deleted.bind({ deletedBeforeMs, ...after, limit }));
      return rows.map((row) => ({
        repository: row.repository as RepositoryName,
        digest: row.name as Digest,
        place: { deletedMs: row.changed_ms, row: row.id },
        sizeBytes: row.size_bytes ?? undefined,
      }));
    },
    async needsOf(manifest, limits) {
      const args = manifestArgs(manifest, limits);
      const tag = await reader.first(find.tag.bind(args));
      const conflict = await reader.first(find.conflict.bind(args));
      const parents = await reader.all(find.parents.bind(args));
      return {
        ...(tag === undefined ? {} : { tag: tag.name }),
        ...(conflict === undefined ? {} : { conflict: conflict.name }),
        parents: parents.map((row) => row.manifest as Digest),
      };
    },
    async unlinkManifest(manifest, limits) {
      const args = manifestArgs(manifest, limits);
      const result = await writer.write([
        guard(remove.manifestLink.bind(args)),
        run(remove.repositoryReferences.bind(args)),
        run(remove.references.bind(args)),
        { ...remove.manifest.bind(args), role: 'answer' },
      ]);
      if (result.outcome === 'refused') return undefined;
      const [gone] = (result.answers[0] ?? []) as readonly { readonly size_bytes: number }[];
      return { removedBytes: gone?.size_bytes };
    },
    async repositoriesOf(digest, limit) {
      const rows = await reader.all(find.repositories.bind({ digest, limit }));
      return rows.map((row) => row.repository as RepositoryName);
    },
    async blobs(page) {
      const rows = await reader.all(find.blobs.bind(page));
      return rows.map((row) => ({
        digest: row.digest as Digest,
        sizeBytes: row.size_bytes,
        usedMs: row.used_ms,
        referrer: (row.referrer ?? undefined) as Digest | undefined,
      }));
    },
    async referrersOf(digest, limit) {
      const rows = await reader.all(find.referrers.bind({ digest, limit }));
      return rows.map((row) => row.manifest as Digest);
    },
    async cachedBlobs(page) {
      const rows = await reader.all(cached.page.bind({ ...page, ...cacheRange(page.prefix) }));
      return rows.map((row) => ({
        digest: row.digest as Digest,
        sizeBytes: row.size_bytes,
        usedMs: row.used_ms,
        isOnlyOfCache: row.only_of_cache === 1,
      }));
    },
    async dropBlob(digest, { usedBeforeMs, onlyOf }) {
      const drop =
        onlyOf === undefined
          ? remove.unreferredBlob.bind({ digest, usedBeforeMs })
          : cached.drop.bind({ digest, usedBeforeMs, ...cacheRange(onlyOf.prefix) });
      const result = await writer.write([guard(drop), run(remove.blobLinks.bind({ digest }))]);
      return result.outcome === 'committed';
    },
  };
}

type ManifestArgs = LinkedManifest & ManifestLimits & { readonly value: Uint8Array };

function manifestArgs(manifest: LinkedManifest, limits: ManifestLimits): ManifestArgs {
  const { repository, digest } = manifest;
  return { repository, digest, ...limits, value: digestToBytes(digest) };
}

function prepareSearches(db: Store['db']) {
  return {
    deleted: prepare((p: Place<DeletedArgs>) => deletedManifests(db, p)),
    tag: prepare((p: Place<ManifestArgs>) => tagWith(db, p)),
    conflict: prepare((p: Place<ManifestArgs>) => openConflictWith(db, p)),
    parents: prepare((p: Place<ManifestArgs>) => parentsOf(db, p).limit(sql.lit(PARENTS_MAX))),
    repositories: prepare((p: Place<{ digest: Digest; limit: number }>) =>
      db
        .selectFrom('manifest_link')
        .select('repository')
        .where('digest', '=', p('digest'))
        .orderBy('repository')
        .limit(p('limit')),
    ),
    blobs: prepare((p: Place<{ after: string; before: string; limit: number }>) =>
      db
        .selectFrom('blob')
        .select(['digest', 'size_bytes', 'used_ms'])
        .select((eb) =>
          eb
            .selectFrom('manifest_reference as reference')
            .select('reference.manifest')
            .whereRef('reference.digest', '=', 'blob.digest')
            .where('reference.kind', 'in', BLOB_KINDS)
            .limit(sql.lit(1))
            .as('referrer'),
        )
        .where('digest', '>', p('after'))
        .where('digest', '<', p('before'))
        .orderBy('digest')
        .limit(p('limit')),
    ),
    referrers: prepare((p: Place<{ digest: Digest; limit: number }>) =>
      db
        .selectFrom('manifest_reference')
        .select('manifest')
        .distinct()
        .where('digest', '=', p('digest'))
        .where('kind', 'in', BLOB_KINDS)
        .limit(p('limit')),
    ),
  };
}

const ALL_KINDS = [...BLOB_KINDS, sql.lit('manifest'), sql.lit('subject')];

type DeletedArgs = {
  readonly deletedBeforeMs: number;
  readonly deletedMs: number;
  readonly row: number;
  readonly limit: number;
};

/** Looks at `limit` deletions, most of which were collected long ago: what it costs does not depend on how many. */
function deletedManifests(db: Store['db'], p: Place<DeletedArgs>) {
  return db
    .selectFrom((eb) =>
      eb
        .selectFrom('view')
        .select(['id', 'repository', 'name', 'changed_ms'])
        .where('kind', '=', sql.lit(CLAIM_KIND.manifest))
        .where('live', '=', sql.lit(0))
        .where('sequence', '>', sql.lit(0))
        .where('changed_ms', '<', p('deletedBeforeMs'))
        .where((inner) =>
          inner(inner.refTuple('changed_ms', 'id'), '>', inner.tuple(p('deletedMs'), p('row'))),
        )
        .orderBy('changed_ms')
        .orderBy('id')
        .limit(p('limit'))
        .as('deleted'),
    )
    .leftJoin('manifest_link as link', (join) =>
      join.onRef('link.repository', '=', 'deleted.repository').onRef('link.digest', '=', 'deleted.name'),
    )
    .leftJoin('manifest', 'manifest.digest', 'link.digest')
    .select(['deleted.id', 'deleted.repository', 'deleted.name', 'deleted.changed_ms', 'manifest.size_bytes'])
    .orderBy('deleted.changed_ms')
    .orderBy('deleted.id');
}

function tagWith(db: Store['db'], p: Place<ManifestArgs>) {
  return db
    .selectFrom('view as tag')
    .select('tag.name')
    .where('tag.kind', '=', sql.lit(CLAIM_KIND.tag))
    .where('tag.live', '=', sql.lit(1))
    .where('tag.repository', '=', p('repository'))
    .where('tag.value', '=', p('value'))
    .where(sql<number>`octet_length(tag.value)`, '<=', sql.lit(INDEXED_VALUE_BYTES))
    .limit(sql.lit(1));
}

/** Any claim of the tag that has the digest's bytes in it; that it might be in its context only keeps more. */
function openConflictWith(db: Store['db'], p: Place<ManifestArgs>) {
  return db
    .selectFrom('view as contested')
    .innerJoin('claim', (join) =>
      join
        .onRef('claim.kind', '=', 'contested.kind')
        .onRef('claim.repository', '=', 'contested.repository')
        .onRef('claim.name', '=', 'contested.name'),
    )
    .select('contested.name')
    .where('contested.conflict', '=', sql.lit(1))
    .where('contested.kind', '=', sql.lit(CLAIM_KIND.tag))
    .where('contested.repository', '=', p('repository'))
    .where('contested.changed_ms', '>', p('conflictsSinceMs'))
    .where(sql<number>`instr(claim.bytes, ${p('value')})`, '>', sql.lit(0))
    .limit(sql.lit(1));
}

function parentsOf(db: Store['db'], p: Place<ManifestArgs>) {
  return db
    .selectFrom('repository_reference as parent')
    .select('parent.manifest')
    .where('parent.repository', '=', p('repository'))
    .where('parent.kind', '=', sql.lit('manifest'))
    .where('parent.digest', '=', p('digest'));
}

function prepareRemovals(db: Store['db']) {
  return {
    manifestLink: prepare((p: Place<ManifestArgs>) =>
      db
        .deleteFrom('manifest_link')
        .where('repository', '=', p('repository'))
        .where('digest', '=', p('digest'))
        .where(({ exists, selectFrom }) =>
          exists(
            selectFrom('view')
              .select('view.id')
              .where('view.kind', '=', sql.lit(CLAIM_KIND.manifest))
              .where('view.repository', '=', p('repository'))
              .where('view.name', '=', p('digest'))
              .where('view.live', '=', sql.lit(0))
              .where('view.sequence', '>', sql.lit(0))
              .where('view.changed_ms', '<', p('deletedBeforeMs')),
          ),
        )
        .where(({ not, exists }) => not(exists(tagWith(db, p))))
        .where(({ not, exists }) => not(exists(openConflictWith(db, p))))
        .where(({ not, exists }) => not(exists(parentsOf(db, p)))),
    ),
    // By its own references, because nothing finds the rows of a repository by the manifest that made them. A
    // reference may have been of another kind once.
    repositoryReferences: prepare((p: Place<ManifestArgs>) =>
      db
        .deleteFrom('repository_reference')
        .where('repository', '=', p('repository'))
        .where('kind', 'in', ALL_KINDS)
        .where('digest', 'in', (eb) =>
          eb
            .selectFrom('manifest_reference')
            .select('manifest_reference.digest')
            .where('manifest_reference.manifest', '=', p('digest')),
        )
        .where('manifest', '=', p('digest')),
    ),
    references: prepare((p: Place<ManifestArgs>) =>
      db
        .deleteFrom('manifest_reference')
        .where('manifest', '=', p('digest'))
        .where(({ not, exists }) => not(exists(linkOf(db, p)))),
    ),
    manifest: prepare((p: Place<ManifestArgs>) =>
      db
        .deleteFrom('manifest')
        .where('digest', '=', p('digest'))
        .where(({ not, exists }) => not(exists(linkOf(db, p))))
        .returning('size_bytes'),
    ),
    unreferredBlob: prepare((p: Place<BlobArgs>) =>
      unusedBlob(db, p).where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('manifest_reference as reference')
              .select('reference.manifest')
              .where('reference.digest', '=', p('digest'))
              .where('reference.kind', 'in', BLOB_KINDS),
          ),
        ),
      ),
    ),
    blobLinks: prepare((p: Place<{ digest: Digest }>) =>
      db.deleteFrom('blob_link').where('digest', '=', p('digest')),
    ),
  };
}

type BlobArgs = { readonly digest: Digest; readonly usedBeforeMs: number };

function unusedBlob(db: Store['db'], p: Place<BlobArgs>) {
  return db.deleteFrom('blob').where('digest', '=', p('digest')).where('used_ms', '<', p('usedBeforeMs'));
}

function linkOf(db: Store['db'], p: Place<ManifestArgs>) {
  return db.selectFrom('manifest_link as link').select('link.digest').where('link.digest', '=', p('digest'));
}
