/**
 * Group commit over one connection to PostgreSQL: batches that arrive while a transaction runs wait together, and go
 * as the next one. All of a group's statements are sent at once, `begin` and `commit` with them, so that the lock on
 * the region's counter is never held while this process thinks: a process that is stopped has either sent its commit,
 * or loses the transaction to the server's limit (`postgres-connection.ts`).
 *
 * A guard that changes nothing raises an error in the server, which undoes the whole group; the group then runs again
 * without that batch. Refusals are rare, and one costs its group a second transaction.
 *
 * When the connection dies between the commit and its answer, the server is asked what became of the transaction. If
 * even that stays unknown (a standby was promoted, or nobody answers), the write is rejected with words that say so.
 */
import type { Client, QueryResult } from 'pg';
import { UnavailableError } from '#domain/errors.ts';
import type { Log } from '#runtime/log.ts';
import { connectPipelined, type PostgresConfig, type StatementNames } from './postgres-connection.ts';
import { GUARD_FAILED, isCollision, isWorldFailure, postgresError, sqlStateOf } from './postgres-error.ts';
import type { WriteOutcome, Writer, WriteStatement } from './statement.ts';

/** Statements in one transaction: some 30 ms of the server's work, which is what the next batch may have to wait. */
const GROUP_STATEMENTS_MAX = 1024;
/** What may wait. Beyond either limit a write is refused with 503 instead of growing the process. */
const WAITING_BATCHES_MAX = 10_000;
const WAITING_BYTES_MAX = 128 * 1024 * 1024;
/** Of transactions that the server undid because another one was in their way. */
const COLLISIONS_MAX = 5;

const IDENTITY = 'select pg_current_xact_id()::text as id';
/** Reads a file of the server: asked once a connection. */
const TIMELINE = 'select timeline_id as timeline from pg_control_checkpoint()';

export class PostgresWriter implements Writer, AsyncDisposable {
  readonly #config: PostgresConfig;
  readonly #names: StatementNames;
  readonly #log: Log;
  #client: Client | undefined;
  /** Of the server that `#client` reached first; another one begins when a standby is promoted. */
  #timeline = 0;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #running: Promise<void> | undefined;
  #refusal: UnavailableError | undefined;

  constructor(config: PostgresConfig, names: StatementNames, deps: { readonly log: Log }) {
    this.#config = config;
    this.#names = names;
    this.#log = deps.log;
  }

  async write(batch: readonly WriteStatement[]): Promise<WriteOutcome> {
    if (this.#refusal !== undefined) throw this.#refusal;
    const bytes = sizeOf(batch);
    if (this.#waiting.length >= WAITING_BATCHES_MAX || this.#waitingBytes + bytes > WAITING_BYTES_MAX) {
      throw new UnavailableError('the metadata database has more to write than it can keep up with');
    }
    const done = Promise.withResolvers<WriteOutcome>();
    this.#waiting.push({ batch, bytes, done });
    this.#waitingBytes += bytes;
    this.#running ??= this.#writeAll();
    return await done.promise;
  }

  /** Writes what waits, and closes the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#refusal ??= new UnavailableError('the metadata database is closed');
    await this.#running;
    await this.#client?.end();
  }

  /** Never rejects. */
  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#takeGroup();
      for (const { bytes } of group) this.#waitingBytes -= bytes;
      await this.#writeGroup(group);
    }
    this.#running = undefined;
  }

  #takeGroup(): readonly Waiting[] {
    let [count, statements] = [0, 0];
    for (const { batch } of this.#waiting) {
      if (count > 0 && statements + batch.length > GROUP_STATEMENTS_MAX) break;
      statements += batch.length;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  /** Settles every batch of the group. */
  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    let left = group;
    let collisions = 0;
    while (left.length > 0) {
      const result = await this.#transact(left);
      if (result.type === 'committed') {
        for (const [at, { done }] of left.entries()) {
          done.resolve({ outcome: 'committed', answers: result.answers[at] ?? [] });
        }
        return;
      }
      if (isCollision(result.thrown) && collisions < COLLISIONS_MAX) collisions += 1;
      else left = this.#without(left, result);
    }
  }

  /** What is left to try of a group that failed, after those were told for whom it is over. */
  #without(group: readonly Waiting[], { thrown, culprit }: Failed): readonly Waiting[] {
    const failed = postgresError(thrown);
    if (culprit === undefined || isWorldFailure(thrown)) {
      this.#log.warn('metadata write failed', { err: failed });
      for (const { done } of group) done.reject(failed);
      return [];
    }
    if (sqlStateOf(thrown) === GUARD_FAILED) culprit.done.resolve({ outcome: 'refused' });
    else culprit.done.reject(failed);
    return group.filter((waiting) => waiting !== culprit);
  }

  async #transact(group: readonly Waiting[]): Promise<Transacted> {
    let client: Client;
    try {
      client = await this.#connected();
    } catch (thrown) {
      return { type: 'failed', thrown, culprit: undefined };
    }
    const began = client.query('begin');
    const identity = client.query<Identity>({ name: this.#names.of(IDENTITY), text: IDENTITY });
    const sent = group.map((waiting) => ({
      waiting,
      statements: waiting.batch.map((statement) => ({ statement, result: this.#send(client, statement) })),
    }));
    const commit = client.query('commit');
    const settled = await Promise.allSettled([
      began,
      identity,
      ...sent.flatMap(({ statements }) => statements.map(({ result }) => result)),
      commit,
    ]);
    const first = settled.findIndex(({ status }) => status === 'rejected');
    if (first === -1) return { type: 'committed', answers: await answersOf(sent) };
    const { reason: thrown } = settled[first] as PromiseRejectedResult;
    if (sqlStateOf(thrown) === undefined) {
      this.#drop(client);
      // The commit was sent along: only when `begin` itself was lost is it sure that nothing happened.
      const known = settled[1]?.status === 'fulfilled' ? await identity : undefined;
      const isAnswered = first === settled.length - 1;
      if (first > 0) return await this.#whatBecameOf(known, thrown, isAnswered ? sent : undefined);
    }
    return { type: 'failed', thrown, culprit: culpritOf(sent, first - 2) };
  }

  #send(client: Client, { sql, role, parameters }: WriteStatement): Promise<QueryResult> {
    const text = role === 'guard' ? guarded(sql) : sql;
    return client.query({ name: this.#names.of(text), text, values: [...parameters] });
  }

  /** After the connection died with the commit on its way; `sent` when every answer but the commit's is here. */
  async #whatBecameOf(
    known: QueryResult<Identity> | undefined,
    thrown: unknown,
    sent: readonly Sent[] | undefined,
  ): Promise<Transacted> {
    const unknown = (why: string): Transacted => {
      const message = `the connection to the metadata database broke while it wrote, and it is not known whether it did: ${why}`;
      return { type: 'failed', thrown: new UnavailableError(message, { cause: thrown }), culprit: undefined };
    };
    const identity = known?.rows[0];
    if (identity === undefined) return unknown('it had not answered at all');
    const timeline = this.#timeline;
    try {
      const client = await this.#connected();
      if (this.#timeline !== timeline) return unknown('another server took its place');
      const asked = await client.query<{ status: string | null }>(
        'select pg_xact_status($1::text::xid8) as status',
        [identity.id],
      );
      const now = asked.rows[0];
      if (now?.status === 'aborted') return { type: 'failed', thrown, culprit: undefined };
      if (now?.status === 'committed' && sent !== undefined) {
        return { type: 'committed', answers: await answersOf(sent) };
      }
      return unknown(`the transaction is ${now?.status ?? 'forgotten'}`);
    } catch (cause) {
      return unknown(postgresError(cause).message);
    }
  }

  async #connected(): Promise<Client> {
    if (this.#client !== undefined) return this.#client;
    const client = await connectPipelined(this.#config, (lost) => this.#drop(lost));
    const { rows } = await client.query<{ timeline: number }>(TIMELINE);
    this.#timeline = rows[0]?.timeline ?? 0;
    this.#client = client;
    return client;
  }

  #drop(client: Client): void {
    if (this.#client === client) this.#client = undefined;
  }
}

type Waiting = {
  readonly batch: readonly WriteStatement[];
  readonly bytes: number;
  readonly done: PromiseWithResolvers<WriteOutcome>;
};
type Sent = {
  readonly waiting: Waiting;
  readonly statements: readonly {
    readonly statement: WriteStatement;
    readonly result: Promise<QueryResult>;
  }[];
};
type Identity = { readonly id: string };
/** `culprit`: the batch at whose statement the transaction failed, when it was one's. */
type Failed = { readonly type: 'failed'; readonly thrown: unknown; readonly culprit: Waiting | undefined };
type Transacted =
  | { readonly type: 'committed'; readonly answers: readonly (readonly (readonly unknown[])[])[] }
  | Failed;

/** Fails when the statement changes no row. */
function guarded(sql: string): string {
  return `with changed as (${sql} returning 1) select require_row(count(*)) from changed`;
}

function culpritOf(sent: readonly Sent[], at: number): Waiting | undefined {
  let left = at;
  for (const { waiting, statements } of sent) {
    if (left >= 0 && left < statements.length) return waiting;
    left -= statements.length;
  }
  return undefined;
}

async function answersOf(sent: readonly Sent[]) {
  return await Promise.all(
    sent.map(({ statements }) =>
      Promise.all(
        statements
          .filter(({ statement }) => statement.role === 'answer')
          .map(async ({ result }) => (await result).rows as readonly unknown[]),
      ),
    ),
  );
}

function sizeOf(batch: readonly WriteStatement[]): number {
  let bytes = 0;
  for (const { parameters } of batch) {
    for (const value of parameters) bytes += value instanceof Uint8Array ? value.byteLength : 32;
  }
  return bytes;
}
