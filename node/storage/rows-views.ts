/**
 * The resolved index: one row a key. Lists walk an index over the live rows alone, so what they cost depends on
 * what they answer, and neither on other repositories nor on what was deleted.
 */
import { sql } from 'kysely';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { ClaimKey, ViewRow, ViewRows } from './metadata.ts';
import { type Place, prepare, type Store } from './statement.ts';
import type { ViewTable } from './tables.ts';

/** Longest value that the index by value holds: a digest of sha512 in a claim's form. */
export const INDEXED_VALUE_BYTES = 65;

export function openViewRows(store: Store): ViewRows {
  const { reader } = store;
  const statements = prepareStatements(store.db);
  return {
    async get(key) {
      const row = await reader.first(
        statements.get.bind({ kind: key.kind, repository: key.repository, name: key.name }),
      );
      return row === undefined ? undefined : viewRow(row);
    },
    async list(kind, repository, after, limit) {
      return (await reader.all(statements.list.bind({ kind, repository, after, limit }))).map(viewRow);
    },
    async repositories(kind, after, limit) {
      const rows = await reader.all(statements.repositories.bind({ kind, after, limit }));
      return rows.map((row) => row.repository);
    },
    async withValue(kind, repository, value) {
      const statement =
        value.byteLength <= INDEXED_VALUE_BYTES ? statements.withIndexedValue : statements.withLongValue;
      return (await reader.all(statement.bind({ kind, repository, value }))).map(viewRow);
    },
    async scan(kind, after, limit) {
      return (await reader.all(statements.scan.bind({ kind, ...after, limit }))).map(viewRow);
    },
    async conflicts(kind, after, limit) {
      return (await reader.all(statements.conflicts.bind({ kind, ...after, limit }))).map(viewRow);
    },
    async count(kind) {
      const row = await reader.first(statements.count.bind({ tally: `view/${kind}` }));
      return row?.count ?? 0;
    },
  };
}

type StoredView = Omit<ViewTable, 'id' | 'revision'>;

function viewRow(row: StoredView): ViewRow {
  return {
    kind: row.kind,
    repository: row.repository,
    name: row.name,
    live: row.live === 1,
    value: row.value,
    dot: { region: row.region as RegionNumber, epoch: row.epoch as Epoch, sequence: row.sequence },
    changedMs: row.changed_ms,
    principal: row.principal,
    conflict: row.conflict === 1,
  };
}

const COLUMNS = [
  'kind',
  'repository',
  'name',
  'live',
  'value',
  'region',
  'epoch',
  'sequence',
  'changed_ms',
  'principal',
  'conflict',
] as const;

type ListArgs = Omit<ClaimKey, 'name'> & { readonly after: string; readonly limit: number };
type ValueArgs = Omit<ClaimKey, 'name'> & { readonly value: Uint8Array };

function prepareStatements(db: Store['db']) {
  const views = db.selectFrom('view').select(COLUMNS);
  // A literal, because an index over a part of a table serves only statements that name that part.
  const live = views.where('live', '=', sql.lit(1));
  const withValue = (p: Place<ValueArgs>) =>
    live
      .where('kind', '=', p('kind'))
      .where('repository', '=', p('repository'))
      .where('value', '=', p('value'));
  return {
    get: prepare((p: Place<ClaimKey>) =>
      views
        .where('kind', '=', p('kind'))
        .where('repository', '=', p('repository'))
        .where('name', '=', p('name'))
        .where('sequence', '>', sql.lit(0)),
    ),
    list: prepare((p: Place<ListArgs>) =>
      live
        .where('kind', '=', p('kind'))
        .where('repository', '=', p('repository'))
        .where('name', '>', p('after'))
        .orderBy('name')
        .limit(p('limit')),
    ),
    scan: prepare((p: Place<ClaimKey & { readonly limit: number }>) =>
      live
        .where('kind', '=', p('kind'))
        .where((eb) => eb(eb.refTuple('repository', 'name'), '>', eb.tuple(p('repository'), p('name'))))
        .orderBy('repository')
        .orderBy('name')
        .limit(p('limit')),
    ),
    conflicts: prepare((p: Place<ClaimKey & { readonly limit: number }>) =>
      views
        .where('conflict', '=', sql.lit(1))
        .where('kind', '=', p('kind'))
        .where((eb) => eb(eb.refTuple('repository', 'name'), '>', eb.tuple(p('repository'), p('name'))))
        .orderBy('repository')
        .orderBy('name')
        .limit(p('limit')),
    ),
    withIndexedValue: prepare((p: Place<ValueArgs>) =>
      withValue(p)
        .where(sql<number>`octet_length(value)`, '<=', sql.lit(INDEXED_VALUE_BYTES))
        .orderBy('name'),
    ),
    withLongValue: prepare((p: Place<ValueArgs>) => withValue(p).orderBy('name')),
    repositories: prepare((p: Place<{ kind: number; after: string; limit: number }>) =>
      repositoriesAfter(db, p),
    ),
    count: prepare((p: Place<{ tally: string }>) =>
      db.selectFrom('tally').select('count').where('name', '=', p('tally')),
    ),
  };
}

/** Leaps from each repository to the next one, instead of walking all the rows between them. */
function repositoriesAfter(db: Store['db'], p: Place<{ kind: number; after: string; limit: number }>) {
  return db
    .withRecursive('leap(repository)', (cte) =>
      cte
        .selectFrom('view')
        .select((eb) => eb.fn.min<string | null>('repository').as('repository'))
        .where('kind', '=', p('kind'))
        .where('live', '=', sql.lit(1))
        .where('repository', '>', p('after'))
        .unionAll(
          cte
            .selectFrom('leap')
            .select((eb) =>
              eb
                .selectFrom('view')
                .select((inner) => inner.fn.min<string | null>('view.repository').as('repository'))
                .where('kind', '=', p('kind'))
                .where('live', '=', sql.lit(1))
                .whereRef('view.repository', '>', 'leap.repository')
                .as('repository'),
            )
            .where('leap.repository', 'is not', null),
        ),
    )
    .selectFrom('leap')
    .select('repository')
    .where('repository', 'is not', null)
    .$narrowType<{ repository: string }>()
    .limit(p('limit'));
}
