/**
 * A region that is not granted what it writes: regions 1 and 2 are core regions, 3 is an edge with the production core
 * and a roster of its own making, as whoever stole it would have. Its claims arrive, are kept, and count for nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { rejudge } from '#mesh/membership/rejudge.ts';
import type { RosterEntry } from '#mesh/membership/roster.ts';
import { Roster } from '#mesh/membership/roster.ts';
import { claimOf, deltaOf, ONE } from './claims-by-hand.ts';
import { deleteTag, digestNamed, epochOf, setTag, TinyMesh, tagKey } from './tiny-mesh.ts';

const EDGE = parseRegionNumber(3);

function rosterWith(edge: Partial<RosterEntry>) {
  return new Roster({
    meshId: 'test',
    self: 'one',
    regions: [
      { name: 'one', number: 1, role: 'core' },
      { name: 'two', number: 2, role: 'core' },
      { name: 'edge', number: 3, role: 'edge', ...edge },
    ],
  });
}

function meshWithEdge(edge: Partial<RosterEntry> = {}): TinyMesh {
  const { grants } = rosterWith(edge);
  return new TinyMesh(3, {}, (region) => (region === EDGE ? undefined : grants));
}

const eventsOf = (mesh: TinyMesh, region: number) =>
  mesh.region(region).events.map((event) => `${event.event}${'count' in event ? ` ${event.count}` : ''}`);

test('grants: what an edge wrote outside of its grant is shown nowhere, and its stream goes on', () => {
  const mesh = meshWithEdge();
  mesh.connect();
  mesh.region(1).write(setTag('a', 'good'));
  mesh.settle();
  mesh.region(3).write(setTag('a', 'evil'));
  mesh.region(3).write(setTag('b', 'evil'));
  mesh.settle();
  for (const core of [1, 2]) {
    assert.equal(mesh.region(core).digest('a'), digestNamed('good'));
    assert.equal(mesh.region(core).view('b'), undefined);
    // A refused claim is held like any other: copies stay equal to their origin's, and known to be.
    assert.deepEqual(mesh.region(core).cursor(EDGE), { have: 2, safe: 2 });
    assert.deepEqual(mesh.region(core).rows.ofKeys([tagKey('b')])[0]?.claims.length, 1);
    assert.deepEqual(eventsOf(mesh, core), ['refused-claims 1', 'refused-claims 1']);
  }
  assert.equal(mesh.region(3).digest('a'), digestNamed('evil'));
});

test('grants: a delete outside of the grant removes nothing', () => {
  const mesh = meshWithEdge();
  mesh.connect();
  mesh.region(1).write(setTag('a', 'good'));
  mesh.settle();
  mesh.region(3).write(deleteTag('a'));
  mesh.settle();
  assert.equal(mesh.region(3).digest('a'), undefined);
  assert.deepEqual(
    [1, 2].map((core) => mesh.region(core).digest('a')),
    [digestNamed('good'), digestNamed('good')],
  );
});

test('grants: what a refused claim says that it saw is not repeated', () => {
  const mesh = meshWithEdge();
  mesh.connect();
  const future = { region: parseRegionNumber(2), epoch: epochOf(2), sequence: 1_000_000 };
  const lie = claimOf(1, {
    dot: { region: EDGE, epoch: epochOf(3), sequence: 1 },
    name: 'a',
    context: [future],
  });
  const delta = deltaOf([lie], { region: EDGE, epoch: epochOf(3) });
  for (const core of [1, 2]) mesh.region(core).feed({ input: 'received', from: EDGE, message: delta });
  mesh.region(1).write(setTag('a', 'first'));
  mesh.settle();
  mesh.region(2).write(setTag('a', 'second'));
  mesh.settle();
  for (const core of [1, 2]) {
    assert.equal(mesh.region(core).digest('a'), digestNamed('second'));
    assert.equal(mesh.region(core).view('a')?.conflict, false);
  }
});

test('grants: a look does not bring in what is refused', () => {
  const mesh = meshWithEdge();
  mesh.region(3).write(setTag('a', 'evil'));
  const dot = mesh.region(1).tryWriteHaving(mesh.region(3).claimsOf('a'), deleteTag('a'));
  assert.ok(typeof dot === 'object');
  assert.equal(mesh.region(1).rows.origin.sequence, 0, 'there was nothing to delete');
});

test('grants: of an edge nothing is believed about others, neither claims nor cursors', () => {
  const mesh = meshWithEdge();
  mesh.connect();
  const received = (message: Parameters<typeof mesh.deliver>[0]['message']) =>
    mesh.region(2).feed({ input: 'received', from: EDGE, message });
  received(deltaOf([claimOf(1, { name: 'a' })]));
  assert.deepEqual(mesh.region(2).events.at(-1), {
    event: 'refused-delta',
    from: EDGE,
    reason: 'an edge region passes on nothing of others',
  });
  assert.equal(mesh.region(2).view('a'), undefined);
  // Somebody who holds more of our epoch than we do would make us begin another one.
  const cursors = [2, 1].map((region) => {
    const number = parseRegionNumber(region);
    return { region: number, epoch: epochOf(region), have: 99, safe: 99 };
  });
  received({ type: 'summary', heads: cursors });
  received({ type: 'ack', cursors });
  received({ type: 'follow', cursors, creditBytes: 1000 });
  assert.deepEqual(
    mesh.region(2).events.map(({ event }) => event),
    ['refused-delta'],
  );
  assert.equal(
    mesh
      .region(2)
      .core.status()
      .origins.find(({ region }) => region === ONE)?.lagMs ?? 0,
    0,
  );
});

test('grants: what is granted is shown, and what a core region wrote passes an edge by', () => {
  const mesh = meshWithEdge({ grant: { repositories: ['team/**'] } });
  mesh.connect();
  mesh.region(3).write(setTag('a', 'x'));
  mesh.region(3).write({ change: 'set-policy', name: 'p', document: 'x' });
  mesh.settle();
  assert.equal(mesh.region(1).digest('a'), digestNamed('x'));
  assert.equal(mesh.region(1).rows.view({ kind: CLAIM_KIND.policy, repository: '', name: 'p' }), undefined);
  mesh.region(1).write(setTag('a', 'y'));
  mesh.settle();
  for (const region of [1, 2, 3]) assert.equal(mesh.region(region).digest('a'), digestNamed('y'));
});

test('grants: what the core regions lack of each other an edge does not pass on', () => {
  const { grants } = rosterWith({});
  const mesh = new TinyMesh(3, {}, () => grants);
  mesh.connect();
  mesh.cut(1, 2);
  mesh.region(1).write(setTag('a', 'x'));
  mesh.pass(20_000);
  assert.equal(mesh.region(3).digest('a'), digestNamed('x'));
  assert.equal(mesh.region(2).digest('a'), undefined);
  assert.deepEqual(mesh.region(2).events, [], 'an honest edge does not even try');
  mesh.heal(1, 2);
  mesh.pass(3000);
  assert.equal(mesh.region(2).digest('a'), digestNamed('x'));
});

test('grants: another grant has everything judged again, and back', async () => {
  const mesh = meshWithEdge({ grant: { repositories: ['team/**'] } });
  mesh.connect();
  mesh.region(1).write(setTag('a', 'good'));
  mesh.settle();
  mesh.region(3).write(setTag('a', 'later'), setTag('b', 'only'));
  mesh.settle();
  const { rows } = mesh.region(1);
  const claims = {
    origin: async () => rows.origin,
    cursors: async () => rows.cursors,
    range: async (request: Parameters<typeof rows.range>[0]) => rows.range(request),
    ofKeys: async (keys: Parameters<typeof rows.ofKeys>[0]) => rows.ofKeys(keys),
    commit: async (batch: Parameters<typeof rows.commit>[0]) => rows.commit(batch),
  };
  const judge = async (edge: Partial<RosterEntry>) =>
    await rejudge({ claims, grants: rosterWith(edge).grants, nowMs: () => mesh.nowMs }, EDGE);
  assert.equal(await judge({}), 2);
  assert.equal(mesh.region(1).digest('a'), digestNamed('good'));
  assert.equal(mesh.region(1).digest('b'), undefined);
  assert.equal(await judge({ role: 'core' }), 2);
  assert.equal(mesh.region(1).digest('a'), digestNamed('later'));
  assert.equal(mesh.region(1).digest('b'), digestNamed('only'));
});
