/** The roster: refused when it contradicts itself, and looked up by name and number. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMeshId, Roster, type RosterConfig } from '#mesh/membership/roster.ts';

const REGIONS: RosterConfig['regions'] = [
  { name: 'us-east', number: 2, role: 'core' },
  { name: 'eu-west', number: 1, role: 'core' },
  { name: 'ap-south', number: 300, role: 'core' },
];
const CONFIG: RosterConfig = { meshId: 'production', self: 'eu-west', regions: REGIONS };

test('roster: contradictions and malformed entries are refused by name', () => {
  const core = { role: 'core' } as const;
  const wrong: readonly (readonly [Partial<RosterConfig>, RegExp])[] = [
    [{ meshId: 'Prod' }, /"Prod" is not a mesh id/],
    [{ meshId: '' }, /is not a mesh id/],
    [{ meshId: 'a'.repeat(64) }, /is not a mesh id/],
    [{ self: 'eu-north' }, /"eu-north" is not in its own roster/],
    [{ regions: [] }, /"eu-west" is not in its own roster/],
    [{ regions: [...REGIONS, { name: 'EU', number: 4, ...core }] }, /"EU" is not a region name/],
    [{ regions: [...REGIONS, { name: 'eu', number: 0, ...core }] }, /0 is not a region number/],
    [{ regions: [...REGIONS, { name: 'eu', number: 2, ...core }] }, /have the number 2/],
    [{ regions: [...REGIONS, { name: 'us-east', number: 4, ...core }] }, /have the name us-east/],
    [
      { regions: Array.from({ length: 51 }, (_, at) => ({ name: `r${at}`, number: at + 1, ...core })) },
      /51 regions; at most 50/,
    ],
  ];
  for (const [change, message] of wrong) {
    assert.throws(() => new Roster({ ...CONFIG, ...change }), { name: 'TypeError', message });
  }
});

test('roster: regions are found by name and number, ordered by number', () => {
  const roster = new Roster(CONFIG);
  assert.equal(roster.meshId, 'production');
  assert.deepEqual(roster.self, { name: 'eu-west', number: 1, role: 'core' });
  assert.deepEqual(
    roster.regions.map(({ name }) => name),
    ['eu-west', 'us-east', 'ap-south'],
  );
  assert.deepEqual(
    roster.peers.map(({ number }) => number),
    [2, 300],
  );
  assert.equal(roster.byName('ap-south')?.number, 300);
  assert.equal(roster.byNumber(2)?.name, 'us-east');
  assert.equal(roster.byName('nowhere'), undefined);
  assert.equal(roster.byNumber(9), undefined);
  assert.equal(roster.nameOf(2), 'us-east');
  assert.equal(roster.nameOf(9), 'region 9');
});

test('roster: a mesh id is a name that fits a certificate', () => {
  assert.equal(parseMeshId('prod-1'), 'prod-1');
  for (const text of ['-a', 'a.b', 'a b', 'a/b', 'ü']) assert.throws(() => parseMeshId(text), TypeError);
});
