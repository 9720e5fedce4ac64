/** Policies as claims: refused as a whole or written as one, and in force wherever the claims arrive. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnavailableError } from '#domain/errors.ts';
import { PolicyBook } from '#mesh/replication/policy-book.ts';
import { PolicyProblems, problemText } from '#policies/problem.ts';
import { systemClock } from '#runtime/clock.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openTemporaryMetadata } from '#test/storage/temporary.ts';
import { contextOf, PROXY_TEXT, ROSTER, recordingLog, replicationText, TestIndex, until } from './fixture.ts';
import { ManualClock } from './manual-clock.ts';

test('policy book: a text with one problem changes nothing', async () => {
  await using open = await openBook();
  const { book, index } = open;
  const problems = await refused(
    book.apply(`${replicationText('good')}---\nkind: Nothing\n`, 'f.yaml', contextOf()),
  );
  assert.deepEqual(
    problems.map((text) => text.split(' ')[0]),
    ['f.yaml:10:7:'],
  );
  assert.deepEqual(index.writes, []);
  assert.deepEqual(await book.list(), []);
});

test('policy book: a region that is not in the mesh is refused, with those that are', async () => {
  await using open = await openBook();
  const text = replicationText('p', { to: '{regions: [mars]}' });
  assert.deepEqual(await refused(open.book.apply(text, 'f.yaml', contextOf())), [
    'f.yaml:7:18: unknown region "mars"; expected one of eu-west, us-east',
  ]);
});

test('policy book: a proxy needs its upstream in force or in the same text', async () => {
  await using open = await openBook();
  const { book } = open;
  const [proxy = '', upstream = ''] = PROXY_TEXT.split('---\n').filter((part) => part !== '');
  assert.match(
    (await refused(book.apply(proxy, 'f.yaml', contextOf())))[0] ?? '',
    /needs UpstreamRegistry\/hub/,
  );
  await book.apply(upstream, 'f.yaml', contextOf());
  await book.apply(proxy, 'f.yaml', contextOf());
  assert.equal(book.current().proxies.length, 1);
});

test('policy book: a proxy that overlaps with one in force is refused, but may replace itself', async () => {
  await using open = await openBook();
  const { book } = open;
  await book.apply(PROXY_TEXT, 'f.yaml', contextOf());
  const other = PROXY_TEXT.replace('docker-hub', 'other').replace('prefix: hub', 'prefix: hub/library');
  assert.deepEqual(await refused(book.apply(other, 'f.yaml', contextOf())), [
    'f.yaml:6:19: prefix "hub/library" overlaps with "hub" of ProxyCache/docker-hub',
  ]);
  await book.apply(PROXY_TEXT.replace('prefix: hub', 'prefix: hub/library'), 'f.yaml', contextOf());
  assert.equal(book.current().proxies[0]?.prefix, 'hub/library');
});

test('policy book: an upstream that a proxy needs is not removed', async () => {
  await using open = await openBook();
  const { book } = open;
  await book.apply(PROXY_TEXT, 'f.yaml', contextOf());
  assert.deepEqual(await refused(book.remove('UpstreamRegistry/hub', contextOf())), [
    'ProxyCache/docker-hub:6:15: ProxyCache/docker-hub needs UpstreamRegistry/hub, which is not there; ' +
      'expected an UpstreamRegistry of that name',
  ]);
  assert.equal(await book.remove('docker-hub', contextOf()), true);
  assert.equal(await book.remove('UpstreamRegistry/hub', contextOf()), true);
  assert.deepEqual(book.current(), { replication: [], proxies: [], upstreams: [] });
});

test('policy book: a name that two kinds have is not enough to remove one', async () => {
  await using open = await openBook();
  const { book } = open;
  await book.apply(`${PROXY_TEXT}${replicationText('docker-hub')}`, 'f.yaml', contextOf());
  assert.deepEqual(await refused(book.remove('docker-hub', contextOf())), [
    'docker-hub:1:1: several policies have this name: say ProxyCache/docker-hub or ReplicationPolicy/docker-hub',
  ]);
  assert.equal(await book.remove('nobody', contextOf()), false);
  assert.equal((await book.list()).length, 3);
});

test('policy book: what the store does not take is not in force', async () => {
  await using open = await openBook({
    write: () => Promise.reject(new UnavailableError('disk full')),
  });
  await assert.rejects(open.book.apply(replicationText('p'), 'f.yaml', contextOf()), UnavailableError);
  assert.deepEqual(open.book.current().replication, []);
});

test('policy book: all changed documents go in one write, unchanged ones in none', async () => {
  await using open = await openBook();
  const { book, index } = open;
  const first = await book.apply(
    `${replicationText('a')}${replicationText('b')}`,
    'f.yaml',
    contextOf('ann'),
  );
  assert.deepEqual(
    first.map(({ name, change }) => [name, change]),
    [
      ['a', 'created'],
      ['b', 'created'],
    ],
  );
  const again = `# changed\n${replicationText('b', { suspend: true })}${replicationText('a')}${replicationText('c')}`;
  const second = await book.apply(again, 'f.yaml', contextOf());
  assert.deepEqual(
    second.map(({ name, change }) => [name, change]),
    [
      ['b', 'changed'],
      ['a', 'unchanged'],
      ['c', 'created'],
    ],
  );
  await book.apply(again, 'f.yaml', contextOf());
  assert.deepEqual(
    index.writes.map((changes) => changes.map((change) => change.change === 'set-policy' && change.name)),
    [
      ['ReplicationPolicy/a', 'ReplicationPolicy/b'],
      ['ReplicationPolicy/b', 'ReplicationPolicy/c'],
    ],
  );
});

test('policy book: lists who applied what, where, with its comments', async () => {
  await using open = await openBook();
  await open.book.apply(`# why\n${replicationText('a').slice(4)}`, 'f.yaml', contextOf('ann'));
  const [entry] = await open.book.list();
  assert.deepEqual(
    { ...entry, document: entry?.document.split('\n')[0] },
    {
      kind: 'ReplicationPolicy',
      name: 'a',
      document: '# why',
      appliedBy: 'ann',
      appliedIn: 'eu-west',
      appliedMs: 1_800_000_000_000,
    },
  );
});

test('policy book: a removed policy that is applied again is created', async () => {
  await using open = await openBook();
  const { book } = open;
  await book.apply(replicationText('a'), 'f.yaml', contextOf());
  assert.equal(await book.remove('a', contextOf()), true);
  assert.equal(await book.remove('a', contextOf()), false);
  assert.equal((await book.apply(replicationText('a'), 'f.yaml', contextOf()))[0]?.change, 'created');
});

test('policy book: edits at the same moment are checked one after the other', async () => {
  await using open = await openBook();
  const { book } = open;
  const other = PROXY_TEXT.replace('docker-hub', 'other');
  const results = await Promise.allSettled([
    book.apply(PROXY_TEXT, 'f.yaml', contextOf()),
    book.apply(other, 'f.yaml', contextOf()),
  ]);
  assert.deepEqual(
    results.map((result) => result.status),
    ['fulfilled', 'rejected'],
  );
});

test('policy book: what another region applied is in force here as soon as it arrives', async () => {
  await using open = await openBook();
  const { book, index } = open;
  let changes = 0;
  using _listening = book.onChange(() => {
    changes += 1;
  });
  const document = replicationText('theirs').slice(4);
  await index.write([{ change: 'set-policy', name: 'ReplicationPolicy/theirs', document }], {
    principal: 'them',
  });
  await until(() => book.current().replication.length === 1);
  assert.equal(changes, 1);
});

test('policy book: what this version cannot read is told, listed and left alone', async () => {
  await using open = await openBook();
  const { book, index, log } = open;
  const newer = replicationText('newer').slice(4).replace('suspend: false', 'copies: {min: 2}');
  await index.write(
    [
      { change: 'set-policy', name: 'ReplicationPolicy/newer', document: newer },
      { change: 'set-policy', name: 'QuotaPolicy/q', document: 'not: a policy' },
      { change: 'set-policy', name: 'ReplicationPolicy/fine', document: replicationText('fine').slice(4) },
    ],
    { principal: 'them' },
  );
  await until(() => book.current().replication.length === 1);
  const warned = log.lines
    .filter((line) => line.event === 'policy not readable')
    .map((line) => line.fields.policy);
  assert.deepEqual(warned, ['QuotaPolicy/q', 'ReplicationPolicy/newer']);
  assert.equal((await book.list()).length, 3);
  assert.equal((await book.apply(replicationText('mine'), 'f.yaml', contextOf()))[0]?.change, 'created');
});

test('policy book: of two proxies that regions applied without seeing each other, one is in force', async () => {
  await using open = await openBook();
  const { book, index, log } = open;
  const [, proxy = '', upstream = ''] = PROXY_TEXT.split('---\n');
  await index.write(
    [
      { change: 'set-policy', name: 'UpstreamRegistry/hub', document: upstream },
      { change: 'set-policy', name: 'ProxyCache/docker-hub', document: proxy },
      { change: 'set-policy', name: 'ProxyCache/a', document: proxy.replace('docker-hub', 'a') },
    ],
    { principal: 'them' },
  );
  await until(() => book.current().proxies.length === 1);
  assert.equal(book.current().proxies[0]?.name, 'a');
  assert.ok(log.lines.some((line) => line.event === 'policy in doubt'));
  // A doubt that was there before is no reason to refuse what has nothing to do with it.
  await book.apply(replicationText('p'), 'f.yaml', contextOf());
});

test('policy book: a reading that fails is repeated, and the old policies stay in force', async () => {
  await using metadata = await openTemporaryMetadata();
  const index = new TestIndex(metadata);
  const clock = new ManualClock();
  const log = recordingLog();
  let isDown = false;
  const views = {
    list: (...args: Parameters<Metadata['views']['list']>) =>
      isDown ? Promise.reject(new UnavailableError('closed')) : metadata.views.list(...args),
  };
  await using book = await PolicyBook.open({
    views,
    claims: index,
    roster: ROSTER,
    onChanged: index.onChanged,
    clock,
    log,
  });
  await book.apply(replicationText('a'), 'f.yaml', contextOf());
  isDown = true;
  const document = replicationText('b').slice(4);
  await index.write([{ change: 'set-policy', name: 'ReplicationPolicy/b', document }], { principal: 'them' });
  await until(() => log.lines.some((line) => line.event === 'policies not read'));
  assert.equal(book.current().replication.length, 1);
  isDown = false;
  await until(() => {
    clock.advance(1000);
    return book.current().replication.length === 2;
  });
});

test('policy book: more policies than a page are all read when it opens', async () => {
  await using metadata = await openTemporaryMetadata();
  const index = new TestIndex(metadata);
  const changes = Array.from({ length: 450 }, (_, position) => ({
    change: 'set-policy' as const,
    name: `ReplicationPolicy/p${position}`,
    document: replicationText(`p${position}`).slice(4),
  }));
  await index.writeUnannounced(changes);
  await using open = await openBook({}, metadata);
  assert.equal(open.book.current().replication.length, 450);
});

async function openBook(claims: Partial<Pick<TestIndex, 'write'>> = {}, given?: Metadata) {
  await using stack = new AsyncDisposableStack();
  const metadata = given ?? stack.use(await openTemporaryMetadata());
  const index = new TestIndex(metadata);
  const log = recordingLog();
  const book = stack.use(
    await PolicyBook.open({
      views: metadata.views,
      claims: { write: claims.write ?? ((changes, options) => index.write(changes, options)) },
      roster: ROSTER,
      onChanged: index.onChanged,
      clock: systemClock,
      log,
    }),
  );
  const owned = stack.move();
  return { book, index, log, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function refused(promise: Promise<unknown>): Promise<readonly string[]> {
  try {
    await promise;
  } catch (thrown) {
    assert.ok(thrown instanceof PolicyProblems, String(thrown));
    return thrown.problems.map(problemText);
  }
  assert.fail('it was not refused');
}
