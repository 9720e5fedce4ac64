/**
 * Claims: reading them by key and by sequence. Committing them is in `claim-commit.ts`.
 */
import { sql } from 'kysely';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { Log } from '#runtime/log.ts';
import { openBeginEpoch, openClaimCommit, originRow } from './claim-commit.ts';
import type { ManifestStatements } from './manifest-statements.ts';
import type { ClaimKey, ClaimRange, ClaimRows, StoredClaim } from './metadata.ts';
import { type Place, prepare, type Store } from './statement.ts';

/** Larger manifests do not ride along with their claims; they are fetched by whoever wants them. */
const RIDING_MANIFEST_BYTES_MAX = 64 * 1024;

export function openClaimRows(
  store: Store,
  manifestStatements: ManifestStatements,
  deps: { readonly log: Log; readonly written: (keys: readonly ClaimKey[]) => void },
): ClaimRows {
  const { reader } = store;
  const statements = prepareStatements(store.db);
  return {
    async origin() {
      const row = await reader.first(statements.origin.bind({}));
      if (row === undefined) throw new Error('the metadata database has no origin');
      return originRow(row);
    },
    async cursors() {
      const rows = await reader.all(statements.cursors.bind({}));
      return rows.map((row) => ({
        region: row.region as RegionNumber,
        epoch: row.epoch as Epoch,
        have: row.have,
        safe: row.safe,
      }));
    },
    async ofKeys(keys) {
      return await Promise.all(
        keys.map(async (key) => {
          // The revision is read first: a commit in between makes it stale, and the guard then refuses.
          const view = await reader.first(statements.revision.bind(key));
          const claims = await reader.all(statements.ofKey.bind(key));
          return { key, revision: view?.revision ?? 0, claims: claims.map((claim) => claim.bytes) };
        }),
      );
    },
    async range(request) {
      let bytes = 0;
      let count = 0;
      const rows = await reader.allWhile(statements.range.bind(request), (row) => {
        bytes += row.bytes.byteLength + (row.manifest?.byteLength ?? 0);
        count += 1;
        return count === 1 || bytes <= request.maxBytes;
      });
      return rows.map(storedClaim);
    },
    commit: openClaimCommit(store, manifestStatements, deps),
    beginEpoch: openBeginEpoch(store),
  };
}

type RangeRow = {
  readonly sequence: number;
  readonly bytes: Uint8Array;
  readonly media_type: string | null;
  readonly manifest: Uint8Array | null;
};

function storedClaim(row: RangeRow): StoredClaim {
  const { sequence, bytes } = row;
  if (row.manifest === null || row.media_type === null) return { sequence, bytes };
  return { sequence, bytes, manifest: { mediaType: row.media_type, bytes: row.manifest } };
}

function prepareStatements(db: Store['db']) {
  return {
    origin: prepare((_: Place<object>) => db.selectFrom('origin').selectAll()),
    cursors: prepare((_: Place<object>) =>
      db.selectFrom('origin_cursor').selectAll().orderBy('region').orderBy('epoch'),
    ),
    revision: prepare((p: Place<ClaimKey>) =>
      db
        .selectFrom('view')
        .select('revision')
        .where('kind', '=', p('kind'))
        .where('repository', '=', p('repository'))
        .where('name', '=', p('name')),
    ),
    ofKey: prepare((p: Place<ClaimKey>) =>
      db
        .selectFrom('claim')
        .select('bytes')
        .where('kind', '=', p('kind'))
        .where('repository', '=', p('repository'))
        .where('name', '=', p('name'))
        .orderBy('region')
        .orderBy('epoch'),
    ),
    range: prepare((p: Place<ClaimRange>) =>
      db
        .selectFrom('claim')
        .leftJoin('manifest', (join) =>
          join
            .on('claim.kind', '=', sql.lit(CLAIM_KIND.manifest))
            .onRef('manifest.digest', '=', 'claim.name')
            .on('manifest.size_bytes', '<=', sql.lit(RIDING_MANIFEST_BYTES_MAX)),
        )
        .select(['claim.sequence', 'claim.bytes', 'manifest.media_type', 'manifest.bytes as manifest'])
        .where('claim.region', '=', p('region'))
        .where('claim.epoch', '=', p('epoch'))
        .where('claim.sequence', '>', p('after'))
        .orderBy('claim.sequence')
        .limit(p('maxCount')),
    ),
  };
}
