/**
 * How much of an image is here: a walk over a manifest's closure, children before their own children, each digest
 * once however often it is named. Subjects and foreign layers are outside of it, because an image runs without them.
 *
 * An index may name tens of thousands of children, so the walk lets other work go first now and then. Below
 * `DEPTH_MAX` nothing is looked at: no client builds indexes of indexes of indexes that deep.
 */
import { scheduler } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Digest } from '#domain/digest.ts';
import type { ManifestRows, Presence } from './metadata.ts';
import { type Place, prepare, type Store } from './statement.ts';

const DEPTH_MAX = 8;
/** Manifests between two pauses: some 2 ms. */
const MANIFESTS_PER_TURN = 64;

type Mutable<Value> = { -readonly [Field in keyof Value]: Value[Field] };
type Count = Mutable<Omit<Presence, 'missingBlobs' | 'missingManifests' | 'bytesBySource'>> & {
  readonly missingBlobs: { digest: Digest; sizeBytes: number }[];
  readonly missingManifests: Digest[];
  readonly bytesBySource: Record<string, number>;
};

export function openClosurePresence(store: Store): ManifestRows['presence'] {
  const { reader } = store;
  const statements = prepareStatements(store.db);

  /** Adds one manifest to the count; answers its children. */
  async function visit(digest: Digest, count: Count, seenBlobs: Set<Digest>): Promise<readonly Digest[]> {
    count.manifests += 1;
    if ((await reader.first(statements.isHere.bind({ digest }))) === undefined) {
      count.missingManifests.push(digest);
      return [];
    }
    count.manifestsHere += 1;
    const children: Digest[] = [];
    for (const row of await reader.all(statements.references.bind({ digest }))) {
      const referred = row.digest as Digest;
      if (row.kind === 'manifest') children.push(referred);
      else if (!seenBlobs.has(referred)) {
        seenBlobs.add(referred);
        addBlob(count, row);
      }
    }
    return children;
  }

  return async (digest) => {
    const count = emptyCount();
    const seenBlobs = new Set<Digest>();
    const seenManifests = new Set([digest]);
    let level: Digest[] = [digest];
    for (let depth = 0; depth <= DEPTH_MAX && level.length > 0; depth += 1) {
      const below: Digest[] = [];
      for (const manifest of level) {
        for (const child of await visit(manifest, count, seenBlobs)) {
          if (seenManifests.has(child)) continue;
          seenManifests.add(child);
          below.push(child);
        }
        if (count.manifests % MANIFESTS_PER_TURN === 0) await scheduler.yield();
      }
      level = below;
    }
    return count;
  };
}

function emptyCount(): Count {
  return {
    manifests: 0,
    manifestsHere: 0,
    blobs: 0,
    blobsHere: 0,
    sizeBytes: 0,
    sizeBytesHere: 0,
    missingBlobs: [],
    missingManifests: [],
    bytesBySource: {},
    newestStoredMs: 0,
  };
}

type BlobReference = {
  readonly digest: string;
  readonly size_bytes: number;
  readonly source: string | null;
  readonly stored_ms: number | null;
};

function addBlob(count: Count, row: BlobReference): void {
  count.blobs += 1;
  count.sizeBytes += row.size_bytes;
  if (row.source === null) {
    count.missingBlobs.push({ digest: row.digest as Digest, sizeBytes: row.size_bytes });
    return;
  }
  count.blobsHere += 1;
  count.sizeBytesHere += row.size_bytes;
  count.bytesBySource[row.source] = (count.bytesBySource[row.source] ?? 0) + row.size_bytes;
  count.newestStoredMs = Math.max(count.newestStoredMs, row.stored_ms ?? 0);
}

function prepareStatements(db: Store['db']) {
  return {
    isHere: prepare((p: Place<{ digest: Digest }>) =>
      db.selectFrom('manifest').select('digest').where('digest', '=', p('digest')),
    ),
    references: prepare((p: Place<{ digest: Digest }>) =>
      db
        .selectFrom('manifest_reference as reference')
        .leftJoin('blob', 'blob.digest', 'reference.digest')
        .select([
          'reference.kind',
          'reference.digest',
          'reference.size_bytes',
          'blob.source',
          'blob.stored_ms',
        ])
        .where('reference.manifest', '=', p('digest'))
        .where('reference.kind', 'in', [sql.lit('blob'), sql.lit('manifest')])
        .orderBy('reference.position'),
    ),
  };
}
