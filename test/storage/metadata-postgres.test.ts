/** Metadata in PostgreSQL obeys the law of its seam on a real server, and survives what happens to servers. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client } from 'pg';
import { digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { silentLog } from '#runtime/log.ts';
import { openPostgresMetadata } from '#storage/metadata-postgres.ts';
import { metadataSuite } from '#test/suites/metadata-suite.ts';
import { type PostgresServer, requiresPostgres, startPostgres } from './postgres-server.ts';
import { TEST_EPOCH } from './temporary.ts';

const { skip } = requiresPostgres();
const app = parseRepositoryName('team/app');

if (skip === false) {
  let server: PostgresServer;
  let schemas = 0;
  before(async () => {
    server = await startPostgres({ fsync: 'off' });
  });
  after(() => server[Symbol.asyncDispose]());

  /** A schema of its own, in one server: a database for each test would take ten times as long to make. */
  const open = (schema: string, region = 1) =>
    openPostgresMetadata(
      { url: server.url, schema, region: parseRegionNumber(region), epochForNewDatabase: TEST_EPOCH },
      { log: silentLog },
    );
  const openNew = () => {
    schemas += 1;
    return open(`test_${schemas}`);
  };

  metadataSuite('postgres metadata', openNew);

  test('postgres metadata: a database of a newer program is refused in one line', async () => {
    await (await open('newer'))[Symbol.asyncDispose]();
    await sql(server, `insert into newer.kysely_migration (name, timestamp) values ('9999-later', 'now')`);
    await assert.rejects(
      open('newer'),
      unavailable(/written by a newer Fairway \(schema 9999-later; this one/),
    );
  });

  test('postgres metadata: another region’s database is refused in one line', async () => {
    await (await open('owned'))[Symbol.asyncDispose]();
    await assert.rejects(open('owned', 2), unavailable(/\(schema owned\) belongs to region 1, not to 2/));
  });

  test('postgres metadata: a statement that we got wrong fails alone, and as our own mistake', async () => {
    await using metadata = await openNew();
    const put = (tag: string) =>
      metadata.cachedTags.put({ repository: app, tag, digest: digestOf(''), checkedMs: 1 });
    const [first, wrong, last] = await Promise.allSettled([put('a'), put(null as never), put('b')]);
    assert.deepEqual([first.status, wrong.status, last.status], ['fulfilled', 'rejected', 'fulfilled']);
    assert.ok(wrong.status === 'rejected' && !(wrong.reason instanceof UnavailableError));
    assert.match(String(wrong.reason), /null value in column "tag"/);
    assert.equal((await metadata.cachedTags.list(app, '', 10)).length, 2);
  });

  test('postgres metadata: processes that start together make one schema', async () => {
    const opened = await Promise.all(Array.from({ length: 4 }, () => open('together')));
    await Promise.all(opened.map((metadata) => metadata[Symbol.asyncDispose]()));
    assert.equal(opened.length, 4);
  });

  test('postgres metadata: tasks are leased to one process only', async () => {
    await using one = await open('leases');
    await using other = await open('leases');
    const tasks = Array.from({ length: 200 }, (_, at) => ({
      ...{ policy: 'all', repository: app, digest: digestOf(`${at}`), tag: '', nowMs: 1 },
    }));
    await one.tasks.enqueue(tasks);
    const lease = { nowMs: 2, leaseMs: 1000, limit: 5 };
    const taken = await Promise.all(
      Array.from({ length: 60 }, (_, at) => (at % 2 === 0 ? one : other).tasks.lease(lease)),
    );
    const ids = taken.flat().map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    assert.equal(ids.length, 200);
  });

  test('postgres metadata: a server that restarts costs clear errors, and no restart of ours', async () => {
    await using own = await startPostgres();
    const at = { url: own.url, region: parseRegionNumber(1), epochForNewDatabase: TEST_EPOCH };
    await using metadata = await openPostgresMetadata(at, { log: silentLog });
    const put = (tag: string) =>
      metadata.cachedTags.put({ repository: app, tag, digest: digestOf(tag), checkedMs: 1 });
    await put('before');
    for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
      const told: string[] = [];
      const writing = (async () => {
        for (let count = 0; count < 300; count += 1) {
          const tag = `${signal}-${count}`;
          const outcome = await put(tag).then(
            () => 'written',
            (thrown) => thrown,
          );
          if (outcome === 'written') told.push(tag);
          else assert.ok(outcome instanceof UnavailableError, String(outcome));
        }
      })();
      await own.restart(signal);
      await writing;
      await put(`after-${signal}`);
      for (const tag of told) assert.notEqual(await metadata.cachedTags.get(app, tag), undefined, tag);
    }
  });

  test('postgres metadata: a connection that is cut leaves each write done or refused, never both', async () => {
    await using metadata = await open('cut');
    const told = new Set<string>();
    for (let round = 0; round < 20; round += 1) {
      const writes = Array.from({ length: 20 }, async (_, at) => {
        const tag = `${round}-${at}`;
        try {
          await metadata.cachedTags.put({ repository: app, tag, digest: digestOf(tag), checkedMs: 1 });
          told.add(tag);
        } catch (thrown) {
          assert.ok(thrown instanceof UnavailableError, String(thrown));
        }
      });
      await sql(
        server,
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'fairway' and pid <> pg_backend_pid()`,
      );
      await Promise.all(writes);
    }
    for (const tag of told) assert.notEqual(await metadata.cachedTags.get(app, tag), undefined, tag);
    assert.ok(told.size > 0);
  });
} else {
  test('postgres metadata', { skip }, () => undefined);
}

async function sql(server: PostgresServer, text: string): Promise<void> {
  const client = new Client({ connectionString: server.url });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

function unavailable(message: RegExp): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof UnavailableError, String(thrown));
    assert.match(thrown.message, message);
    return true;
  };
}
