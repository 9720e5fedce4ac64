/**
 * The statements of a claim commit. What is null in a view's dot stands for the claim that was stamped last; the
 * functions `stamp_claim` and `next_time_…` are the dialect's (`sqlite-functions.ts`).
 */
import { sql } from 'kysely';
import type { ClaimKey, CursorRow, EpochChange } from './metadata.ts';
import { type Place, prepare, type Store } from './statement.ts';

export type ClaimStatements = ReturnType<typeof prepareClaimStatements>;

type ViewArgs = ClaimKey & {
  readonly live: number;
  readonly value: Uint8Array;
  readonly region: number | null;
  readonly epoch: string | null;
  readonly sequence: number | null;
  readonly changedMs: number | null;
  readonly principal: string;
  readonly conflict: number;
};

export function prepareClaimStatements(db: Store['db']) {
  return {
    ...prepareOriginStatements(db),
    insertOwn: insertOwn(db),
    insertForeign: insertForeign(db),
    touchNew: touchNew(db),
    touch: touch(db),
    insertView: insertView(db),
    updateView: updateView(db),
    putCursor: putCursor(db),
  };
}

function prepareOriginStatements(db: Store['db']) {
  return {
    origin: prepare((_: Place<object>) => db.selectFrom('origin').selectAll()),
    /** Time only grows: an older observation changes nothing. */
    observe: prepare((p: Place<{ ms: number; counter: number }>) =>
      db
        .updateTable('origin')
        .set({ time_ms: p('ms'), time_counter: p('counter') })
        .where((eb) => eb(eb.refTuple('time_ms', 'time_counter'), '<', eb.tuple(p('ms'), p('counter')))),
    ),
    advance: prepare((p: Place<{ nowMs: number }>) =>
      db.updateTable('origin').set((eb) => ({
        sequence: eb('sequence', '+', sql.lit(1)),
        time_ms: eb.fn<number>('next_time_ms', ['time_ms', 'time_counter', eb.val(p('nowMs'))]),
        time_counter: eb.fn<number>('next_time_counter', ['time_ms', 'time_counter', eb.val(p('nowMs'))]),
      })),
    ),
  };
}

/** An epoch without claims leaves no cursor. */
export function prepareEpochStatements(db: Store['db']) {
  return {
    close: prepare((p: Place<EpochChange>) =>
      db
        .insertInto('origin_cursor')
        .columns(['region', 'epoch', 'have', 'safe'])
        .expression((eb) =>
          eb
            .selectFrom('origin')
            .select(['region', 'epoch', 'sequence as have', 'sequence as safe'])
            .where('epoch', '=', p('former'))
            .where('sequence', '<', p('below'))
            .where('sequence', '>', sql.lit(0)),
        )
        .onConflict((conflict) => conflict.doNothing()),
    ),
    begin: prepare((p: Place<EpochChange>) =>
      db
        .updateTable('origin')
        .set({ epoch: p('epoch'), sequence: sql.lit(0) })
        .where('epoch', '=', p('former'))
        .where('sequence', '<', p('below')),
    ),
    origin: prepareOriginStatements(db).origin,
  };
}

const CLAIM_COLUMNS = ['kind', 'repository', 'name', 'region', 'epoch', 'sequence', 'bytes'] as const;
const CLAIM_KEY = ['kind', 'repository', 'name', 'region', 'epoch'] as const;

function insertOwn(db: Store['db']) {
  return prepare((p: Place<ClaimKey & { bytes: Uint8Array }>) =>
    db
      .insertInto('claim')
      .columns(CLAIM_COLUMNS)
      .expression((eb) =>
        eb
          .selectFrom('origin')
          .select((from) => [
            from.val(p('kind')).as('kind'),
            from.val(p('repository')).as('repository'),
            from.val(p('name')).as('name'),
            'region',
            'epoch',
            'sequence',
            from
              .fn<Uint8Array>('stamp_claim', [from.val(p('bytes')), 'sequence', 'time_ms', 'time_counter'])
              .as('bytes'),
          ])
          .where('id', '=', sql.lit(1)),
      )
      .onConflict((conflict) =>
        conflict.columns(CLAIM_KEY).doUpdateSet((eb) => ({
          sequence: eb.ref('excluded.sequence'),
          bytes: eb.ref('excluded.bytes'),
        })),
      ),
  );
}

/** An older claim of the same origin and key never replaces a newer one, in whatever order they arrive. */
function insertForeign(db: Store['db']) {
  type Args = ClaimKey & { region: number; epoch: string; sequence: number; bytes: Uint8Array };
  return prepare((p: Place<Args>) =>
    db
      .insertInto('claim')
      .values({
        kind: p('kind'),
        repository: p('repository'),
        name: p('name'),
        region: p('region'),
        epoch: p('epoch'),
        sequence: p('sequence'),
        bytes: p('bytes'),
      })
      .onConflict((conflict) =>
        conflict
          .columns(CLAIM_KEY)
          .doUpdateSet((eb) => ({
            sequence: eb.ref('excluded.sequence'),
            bytes: eb.ref('excluded.bytes'),
          }))
          .whereRef('excluded.sequence', '>', 'claim.sequence'),
      ),
  );
}

/** A key without a view yet: `sequence` 0 keeps it from being read as one. */
function touchNew(db: Store['db']) {
  return prepare((p: Place<ClaimKey>) =>
    db
      .insertInto('view')
      .values({
        kind: p('kind'),
        repository: p('repository'),
        name: p('name'),
        revision: 1,
        live: 0,
        value: new Uint8Array(0),
        region: 0,
        epoch: '',
        sequence: 0,
        changed_ms: 0,
        principal: '',
        conflict: 0,
      })
      .onConflict((conflict) => conflict.doNothing()),
  );
}

function touch(db: Store['db']) {
  return prepare((p: Place<ClaimKey & { revision: number }>) =>
    db
      .updateTable('view')
      .set((eb) => ({ revision: eb('revision', '+', sql.lit(1)) }))
      .where('kind', '=', p('kind'))
      .where('repository', '=', p('repository'))
      .where('name', '=', p('name'))
      .where('revision', '=', p('revision')),
  );
}

function insertView(db: Store['db']) {
  return prepare((p: Place<ViewArgs>) =>
    db
      .insertInto('view')
      .columns([
        'kind',
        'repository',
        'name',
        'revision',
        'live',
        'value',
        'region',
        'epoch',
        'sequence',
        'changed_ms',
        'principal',
        'conflict',
      ])
      .expression((eb) =>
        eb
          .selectFrom('origin')
          .select((from) => [
            from.val(p('kind')).as('kind'),
            from.val(p('repository')).as('repository'),
            from.val(p('name')).as('name'),
            from.lit(1).as('revision'),
            from.val(p('live')).as('live'),
            from.val(p('value')).as('value'),
            from.fn.coalesce(from.val(p('region')), 'region').as('region'),
            from.fn.coalesce(from.val(p('epoch')), 'epoch').as('epoch'),
            from.fn.coalesce(from.val(p('sequence')), 'sequence').as('sequence'),
            from.fn.coalesce(from.val(p('changedMs')), 'time_ms').as('changed_ms'),
            from.val(p('principal')).as('principal'),
            from.val(p('conflict')).as('conflict'),
          ])
          .where('id', '=', sql.lit(1)),
      )
      .onConflict((conflict) => conflict.doNothing()),
  );
}

function updateView(db: Store['db']) {
  return prepare((p: Place<ViewArgs & { revision: number }>) =>
    db
      .updateTable('view')
      .set((eb) => {
        const origin = eb.selectFrom('origin');
        return {
          revision: eb('view.revision', '+', sql.lit(1)),
          live: p('live'),
          value: p('value'),
          region: eb.fn.coalesce(eb.val(p('region')), origin.select('origin.region')).$notNull(),
          epoch: eb.fn.coalesce(eb.val(p('epoch')), origin.select('origin.epoch')).$notNull(),
          sequence: eb.fn.coalesce(eb.val(p('sequence')), origin.select('origin.sequence')).$notNull(),
          changed_ms: eb.fn.coalesce(eb.val(p('changedMs')), origin.select('origin.time_ms')).$notNull(),
          principal: p('principal'),
          conflict: p('conflict'),
        };
      })
      .where('kind', '=', p('kind'))
      .where('repository', '=', p('repository'))
      .where('name', '=', p('name'))
      .where('revision', '=', p('revision')),
  );
}

function putCursor(db: Store['db']) {
  return prepare((p: Place<CursorRow>) =>
    db
      .insertInto('origin_cursor')
      .values({ region: p('region'), epoch: p('epoch'), have: p('have'), safe: p('safe') })
      .onConflict((conflict) =>
        conflict.columns(['region', 'epoch']).doUpdateSet((eb) => ({
          have: eb.ref('excluded.have'),
          safe: eb.ref('excluded.safe'),
        })),
      ),
  );
}
