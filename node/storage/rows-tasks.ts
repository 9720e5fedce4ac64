/**
 * Durable work. A task that is taken runs under a lease: when the process that took it dies, the lease ends and the
 * task is due again. So `due_ms` means both "may be taken" and "lease ends", and one index, over the tasks that have
 * one, finds either however many have ended.
 */
import { type Selectable, sql } from 'kysely';
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { NewTask, TaskOutcome, TaskRow, TaskRows, TaskState } from './metadata.ts';
import { type Place, prepare, run, type Store, writeOne } from './statement.ts';
import type { TaskTable } from './tables.ts';

const STATES: readonly TaskState[] = ['queued', 'running', 'done', 'parked'];

export function openTaskRows(store: Store): TaskRows {
  const { reader, writer } = store;
  const statements = prepareStatements(store);
  return {
    async enqueue(tasks) {
      if (tasks.length === 0) return;
      await writer.write(tasks.map((task) => run(statements.enqueue.bind(task))));
    },
    async lease({ nowMs, leaseMs, limit }) {
      const rows = await writeOne(writer, statements.lease.bind({ nowMs, untilMs: nowMs + leaseMs, limit }));
      return rows.map(taskRow).sort((a, b) => a.id - b.id);
    },
    async renew(ids, untilMs) {
      if (ids.length === 0) return;
      await writer.write(ids.map((id) => run(statements.renew.bind({ id, untilMs }))));
    },
    async settle(id, outcome) {
      await writer.write([run(statements.settle.bind(settlement(id, outcome)))]);
    },
    async list({ states, limit }) {
      const lists = await Promise.all(
        states.map((state) => reader.all(statements.list.bind({ state, limit }))),
      );
      return lists
        .flat()
        .map(taskRow)
        .sort((a, b) => b.changedMs - a.changedMs || b.id - a.id)
        .slice(0, limit);
    },
    async counts() {
      const counts: Record<TaskState, number> = { queued: 0, running: 0, done: 0, parked: 0 };
      for (const state of STATES) {
        counts[state] = (await reader.first(statements.count.bind({ tally: `task/${state}` })))?.count ?? 0;
      }
      return counts;
    },
    async retain(keep) {
      const kept = new Set(keep);
      const known = await reader.all(statements.policies.bind({}));
      const gone = known.filter(({ policy }) => !kept.has(policy));
      if (gone.length > 0) await writer.write(gone.map((row) => run(statements.removeOf.bind(row))));
    },
  };
}

function taskRow(row: Selectable<TaskTable>): TaskRow {
  return {
    id: row.id,
    policy: row.policy,
    repository: row.repository as RepositoryName,
    digest: row.digest as Digest,
    tag: row.tag,
    nowMs: row.enqueued_ms,
    state: row.state as TaskState,
    attempts: row.attempts,
    dueMs: row.due_ms ?? row.changed_ms,
    bytes: row.bytes,
    reason: row.reason,
    changedMs: row.changed_ms,
  };
}

type Settlement = {
  readonly id: number;
  readonly state: TaskState;
  readonly dueMs: number | null;
  /** Null: what it was. */
  readonly bytes: number | null;
  readonly reason: string;
  readonly nowMs: number;
};

function settlement(id: number, outcome: TaskOutcome): Settlement {
  const { state, nowMs, reason = '' } = outcome;
  return {
    id,
    state,
    dueMs: outcome.state === 'queued' ? outcome.retryAtMs : null,
    bytes: outcome.state === 'done' ? outcome.bytes : null,
    reason,
    nowMs,
  };
}

function prepareStatements({ db, dialect }: Store) {
  return {
    enqueue: enqueueTask(db),
    lease: leaseTasks(db, { locks: dialect === 'postgres' }),
    renew: prepare((p: Place<{ id: number; untilMs: number }>) =>
      db
        .updateTable('task')
        .set({ due_ms: p('untilMs') })
        .where('id', '=', p('id'))
        .where('state', '=', 'running'),
    ),
    settle: prepare((p: Place<Settlement>) =>
      db
        .updateTable('task')
        .set((eb) => ({
          state: p('state'),
          due_ms: p('dueMs'),
          bytes: eb.fn.coalesce(eb.val(p('bytes')), 'bytes'),
          reason: p('reason'),
          changed_ms: p('nowMs'),
        }))
        .where('id', '=', p('id'))
        .where('state', '=', 'running'),
    ),
    list: prepare((p: Place<{ state: TaskState; limit: number }>) =>
      db
        .selectFrom('task')
        .selectAll()
        .where('state', '=', p('state'))
        .orderBy('changed_ms', 'desc')
        .orderBy('id', 'desc')
        .limit(p('limit')),
    ),
    count: prepare((p: Place<{ tally: string }>) =>
      db.selectFrom('tally').select('count').where('name', '=', p('tally')),
    ),
    policies: policiesWithTasks(db),
    removeOf: prepare((p: Place<{ policy: string }>) =>
      db.deleteFrom('task').where('policy', '=', p('policy')),
    ),
  };
}

function enqueueTask(db: Store['db']) {
  return prepare((p: Place<NewTask>) =>
    db
      .insertInto('task')
      .values({
        policy: p('policy'),
        repository: p('repository'),
        digest: p('digest'),
        tag: p('tag'),
        state: 'queued',
        attempts: 0,
        due_ms: p('nowMs'),
        bytes: 0,
        reason: '',
        enqueued_ms: p('nowMs'),
        changed_ms: p('nowMs'),
      })
      .onConflict((conflict) =>
        conflict
          .columns(['policy', 'repository', 'digest'])
          .doUpdateSet((eb) => ({
            tag: eb.ref('excluded.tag'),
            state: eb.ref('excluded.state'),
            attempts: eb.ref('excluded.attempts'),
            due_ms: eb.ref('excluded.due_ms'),
            bytes: eb.ref('excluded.bytes'),
            reason: eb.ref('excluded.reason'),
            enqueued_ms: eb.ref('excluded.enqueued_ms'),
            changed_ms: eb.ref('excluded.changed_ms'),
          }))
          .where('task.state', 'in', ['done', 'parked']),
      ),
  );
}

/** The longest due come first. `locks`: where several processes write, none takes what another is taking. */
function leaseTasks(db: Store['db'], { locks }: { readonly locks: boolean }) {
  return prepare((p: Place<{ nowMs: number; untilMs: number; limit: number }>) =>
    db
      .updateTable('task')
      .set((eb) => ({
        state: 'running',
        attempts: eb('attempts', '+', sql.lit(1)),
        due_ms: p('untilMs'),
        changed_ms: p('nowMs'),
      }))
      .where('id', 'in', (eb) =>
        eb
          .selectFrom('task')
          .select('id')
          .where('due_ms', '<=', p('nowMs'))
          .orderBy('due_ms')
          .orderBy('id')
          .limit(p('limit'))
          .$if(locks, (query) => query.forUpdate().skipLocked()),
      )
      .returningAll(),
  );
}

/** Leaps from policy to policy, however many tasks each has. */
function policiesWithTasks(db: Store['db']) {
  return prepare((_: Place<object>) =>
    db
      .withRecursive('leap(policy)', (cte) =>
        cte
          .selectFrom('task')
          .select((eb) => eb.fn.min<string | null>('policy').as('policy'))
          .unionAll(
            cte
              .selectFrom('leap')
              .select((eb) =>
                eb
                  .selectFrom('task')
                  .select((inner) => inner.fn.min<string | null>('task.policy').as('policy'))
                  .whereRef('task.policy', '>', 'leap.policy')
                  .as('policy'),
              )
              .where('leap.policy', 'is not', null),
          ),
      )
      .selectFrom('leap')
      .select('policy')
      .where('policy', 'is not', null)
      .$narrowType<{ policy: string }>(),
  );
}
