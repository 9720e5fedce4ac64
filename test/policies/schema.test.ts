/** The published schema is what the code checks, and the examples are policies that can be applied as they are. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseRegionName } from '#domain/region.ts';
import type { PolicyDocument } from '#policies/model.ts';
import { parsePolicies } from '#policies/parse.ts';
import { resolvePolicies } from '#policies/policy-set.ts';
import { jsonSchema } from '#policies/schema.ts';

const POLICIES = join(import.meta.dirname, '..', '..', 'policies');
const REGIONS = ['eu-west', 'us-east', 'ap-south'].map(parseRegionName);

test('schema.json: is what "node policies/write-schema.ts" writes', () => {
  const published: unknown = JSON.parse(readFileSync(join(POLICIES, 'schema.json'), 'utf8'));
  assert.deepEqual(published, jsonSchema());
});

test('schema.json: knows the three kinds, and no keys but theirs', () => {
  const { oneOf } = jsonSchema() as {
    oneOf: { additionalProperties: boolean; properties: { kind: { const: string } } }[];
  };
  assert.deepEqual(
    oneOf.map(({ additionalProperties, properties }) => [properties.kind.const, additionalProperties]),
    [
      ['ReplicationPolicy', false],
      ['ProxyCache', false],
      ['UpstreamRegistry', false],
    ],
  );
});

test('examples: each can be applied as it is to the three regions of npm start', () => {
  const files = globSync('examples/*.yaml', { cwd: POLICIES }).toSorted();
  assert.ok(files.length >= 3);
  for (const file of files)
    assert.deepEqual(resolvePolicies(example(file), { regions: REGIONS }).problems, []);
});

test('examples: replicate-production copies releases of production', () => {
  const [policy] = example('examples/replicate-production.yaml');
  assert.ok(policy?.kind === 'ReplicationPolicy');
  const { selection, to } = policy.settings;
  assert.deepEqual(to.regions, ['eu-west', 'us-east']);
  assert.deepEqual([selection.repository('prod/web'), selection.tag('v1')], [true, true]);
  assert.deepEqual([selection.repository('prod/scratch/web'), selection.tag('v1-rc1')], [false, false]);
});

test('examples: everything-everywhere copies all but nightly builds', () => {
  const [policy] = example('examples/everything-everywhere.yaml');
  assert.ok(policy?.kind === 'ReplicationPolicy');
  const { selection, to, suspend } = policy.settings;
  assert.deepEqual([to.regions, suspend], ['all', false]);
  assert.deepEqual([selection.repository('a/b/c'), selection.tag('x')], [true, true]);
  assert.equal(selection.repository('team/nightly/web'), false);
});

test('examples: cache-docker-hub serves hub/ from Docker Hub', () => {
  const { set } = resolvePolicies(example('examples/cache-docker-hub.yaml'), { regions: REGIONS });
  assert.deepEqual(set.proxies, [
    {
      name: 'docker-hub',
      prefix: 'hub',
      upstreams: ['hub'],
      freshness: { timeToLiveMs: 600_000, whenDown: 'stale' },
      keep: { perRegionBytes: 500 * 2 ** 30 },
    },
  ]);
  assert.deepEqual(set.upstreams, [{ name: 'hub', url: 'https://registry-1.docker.io' }]);
});

function example(file: string): readonly PolicyDocument[] {
  return parsePolicies(readFileSync(join(POLICIES, file), 'utf8'), file).policies;
}
