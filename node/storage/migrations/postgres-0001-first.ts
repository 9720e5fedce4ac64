/**
 * The first schema of the PostgreSQL profile: the tables, indexes and counts that the embedded profile has after its
 * migration 0004, in PostgreSQL's own types. Text that is compared or ordered has collation "C", which is by bytes.
 */
import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';

export const postgresFirstSchema: Migration = {
  async up(db: Kysely<unknown>) {
    for (const statement of [...INDEX_TABLES, ...CONTENT_TABLES, ...WORK_TABLES, ...FUNCTIONS, ...TALLIES]) {
      await sql.raw(statement).execute(db);
    }
  },
};

const TEXT = 'text collate "C" not null';
const KEY = `kind bigint not null, repository ${TEXT}, name ${TEXT}`;
const DOT = `region bigint not null, epoch ${TEXT}, sequence bigint not null`;

const INDEX_TABLES = [
  `create table origin (id bigint primary key check (id = 1), ${DOT},
     time_ms bigint not null, time_counter bigint not null, start ${TEXT} default '')`,
  `create table origin_cursor (region bigint not null, epoch ${TEXT}, have bigint not null, safe bigint not null,
     primary key (region, epoch))`,
  `create table claim (id bigint generated always as identity primary key, ${KEY}, ${DOT}, bytes bytea not null)`,
  // The key stands first, so that one search finds the claims of all origins.
  'create unique index claim_key on claim (kind, repository, name, region, epoch)',
  'create index claim_sequence on claim (region, epoch, sequence)',
  `create table view (id bigint generated always as identity primary key, ${KEY}, revision bigint not null,
     live bigint not null, value bytea not null, ${DOT}, changed_ms bigint not null, principal ${TEXT},
     conflict bigint not null)`,
  'create unique index view_key on view (kind, repository, name)',
  'create index view_live on view (kind, repository, name) where live = 1',
  'create index view_value on view (kind, repository, value, name) where live = 1 and octet_length(value) <= 65',
  'create index view_conflict on view (kind, repository, name) where conflict = 1',
  'create index view_deleted on view (kind, changed_ms, id) where live = 0',
];

const CONTENT_TABLES = [
  `create table blob (digest ${TEXT} primary key, size_bytes bigint not null, source ${TEXT},
     stored_ms bigint not null, used_ms bigint not null)`,
  `create table manifest (id bigint generated always as identity primary key, digest ${TEXT} unique,
     media_type ${TEXT}, size_bytes bigint not null, bytes bytea not null)`,
  `create table blob_link (repository ${TEXT}, digest ${TEXT}, primary key (repository, digest))`,
  'create index blob_link_digest on blob_link (digest, repository)',
  `create table manifest_link (repository ${TEXT}, digest ${TEXT}, primary key (repository, digest))`,
  'create index manifest_link_digest on manifest_link (digest, repository)',
  `create table manifest_reference (manifest ${TEXT}, position bigint not null, kind ${TEXT}, digest ${TEXT},
     size_bytes bigint not null, media_type ${TEXT}, platform ${TEXT}, primary key (manifest, position))`,
  'create index manifest_reference_target on manifest_reference (digest)',
  `create table repository_reference (repository ${TEXT}, kind ${TEXT}, digest ${TEXT}, manifest ${TEXT},
     primary key (repository, kind, digest, manifest))`,
];

const WORK_TABLES = [
  `create table task (id bigint generated always as identity primary key, policy ${TEXT}, repository ${TEXT},
     digest ${TEXT}, tag ${TEXT}, state ${TEXT}, attempts bigint not null, due_ms bigint, bytes bigint not null,
     reason ${TEXT}, enqueued_ms bigint not null, changed_ms bigint not null, unique (policy, repository, digest))`,
  'create index task_due on task (due_ms, id) where due_ms is not null',
  'create index task_state on task (state, changed_ms, id)',
  `create table cached_tag (repository ${TEXT}, tag ${TEXT}, digest ${TEXT}, checked_ms bigint not null,
     primary key (repository, tag))`,
];

/** What `domain/claim-layout.ts` and `domain/hybrid-time.ts` say, where the transaction is. */
const FUNCTIONS = [
  `create function stamp_claim(bytes bytea, sequence bigint, ms bigint, counter bigint) returns bytea
     language sql immutable strict parallel safe as $$
       select overlay(bytes placing int8send(sequence) || substring(int8send(ms) from 3)
                || substring(int8send(counter) from 7) from 15)
     $$`,
  `create function next_time_ms(ms bigint, counter bigint, now_ms bigint) returns bigint
     language sql immutable strict parallel safe as $$
       select case when now_ms > ms then now_ms when counter < 65535 then ms else ms + 1 end
     $$`,
  `create function next_time_counter(ms bigint, counter bigint, now_ms bigint) returns bigint
     language sql immutable strict parallel safe as $$
       select case when now_ms > ms or counter >= 65535 then 0 else counter + 1 end
     $$`,
  `create function digest_bytes(digest text) returns bytea
     language sql immutable strict parallel safe as $$
       select case when digest like 'sha256:%' then '\\x01'::bytea || decode(substr(digest, 8), 'hex')
                   when digest like 'sha512:%' then '\\x02'::bytea || decode(substr(digest, 8), 'hex') end
     $$`,
  `create function instr(bytes bytea, part bytea) returns integer
     language sql immutable strict parallel safe as $$ select position(part in bytes) $$`,
  `create function require_row(changed bigint) returns bigint language plpgsql as $$
     begin
       if changed = 0 then raise exception 'nothing was changed' using errcode = 'FWGRD'; end if;
       return changed;
     end
   $$`,
];

/** Counts are kept by triggers, because every path that changes a row must keep them. */
const TALLIES = [
  `create table tally (name ${TEXT} primary key, count bigint not null, size_bytes bigint not null)`,
  `create function add_to_tally(changed text, number bigint, bytes bigint) returns void language sql as $$
     insert into tally (name, count, size_bytes) values (changed, number, bytes)
     on conflict (name) do update
       set count = tally.count + excluded.count, size_bytes = tally.size_bytes + excluded.size_bytes
   $$`,
  trigger('blob_added', 'after insert on blob', `perform add_to_tally('blob', 1, new.size_bytes);`),
  trigger('blob_removed', 'after delete on blob', `perform add_to_tally('blob', -1, -old.size_bytes);`),
  trigger(
    'view_added',
    'after insert on view for each row when (new.live = 1)',
    `perform add_to_tally('view/' || new.kind, 1, 0);`,
  ),
  trigger(
    'view_turned',
    'after update of live on view for each row when (new.live <> old.live)',
    `perform add_to_tally('view/' || new.kind, new.live - old.live, 0);`,
  ),
  trigger('task_added', 'after insert on task', `perform add_to_tally('task/' || new.state, 1, 0);`),
  trigger('task_removed', 'after delete on task', `perform add_to_tally('task/' || old.state, -1, 0);`),
  trigger(
    'task_turned',
    'after update of state on task for each row when (new.state <> old.state)',
    `perform add_to_tally('task/' || new.state, 1, 0); perform add_to_tally('task/' || old.state, -1, 0);`,
  ),
].flat();

function trigger(name: string, event: string, body: string): readonly string[] {
  const when = event.includes('for each row') ? event : `${event} for each row`;
  return [
    `create function ${name}() returns trigger language plpgsql as $$ begin ${body} return null; end $$`,
    `create trigger ${name} ${when} execute function ${name}()`,
  ];
}
