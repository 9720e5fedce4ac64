/** Policies beside each other: contradictions, names of what is not there, and what they say together. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRegionName } from '#domain/region.ts';
import { parsePolicies } from '#policies/parse.ts';
import { proxyOf, replicatesTo, resolvePolicies } from '#policies/policy-set.ts';
import { problemText } from '#policies/problem.ts';

const EU = parseRegionName('eu-west');
const US = parseRegionName('us-east');
const MESH = { regions: [US, EU] };

test('policy set: a replication to unknown regions is a problem, and goes on to the known ones', () => {
  const { set, problems } = resolve(replication('p', '{regions: [eu-west, eu-wst], except: [mars]}'));
  assert.deepEqual(problems, [
    'f.yaml:6:27: unknown region "eu-wst"; did you mean "eu-west"? Expected one of eu-west, us-east',
    'f.yaml:6:45: unknown region "mars"; expected one of eu-west, us-east',
  ]);
  assert.equal(set.replication.length, 1);
});

test('policy set: a proxy without its upstream is a problem, and left out', () => {
  const { set, problems } = resolve(`${upstream('hub')}---\n${proxy('a', 'a', 'hbu')}`);
  assert.deepEqual(problems, [
    'f.yaml:12:15: ProxyCache/a needs UpstreamRegistry/hbu, which is not there; did you mean "hub"? Expected one of hub',
  ]);
  assert.deepEqual(set.proxies, []);
  assert.deepEqual(resolve(proxy('a', 'a', 'x')).problems, [
    'f.yaml:6:15: ProxyCache/a needs UpstreamRegistry/x, which is not there; expected an UpstreamRegistry of that name',
  ]);
});

for (const [first, second, overlaps] of [
  ['hub', 'hub', true],
  ['hub', 'hub/library', true],
  ['hub/library', 'hub', true],
  ['hub', 'hub2', false],
  ['a/hub', 'hub', false],
] as const) {
  test(`policy set: the prefixes ${first} and ${second} ${overlaps ? 'overlap' : 'stand side by side'}`, () => {
    const text = `${upstream('u')}---\n${proxy('one', first, 'u')}---\n${proxy('two', second, 'u')}`;
    const { set, problems } = resolve(text);
    assert.deepEqual(
      problems,
      overlaps ? [`f.yaml:18:19: prefix "${second}" overlaps with "${first}" of ProxyCache/one`] : [],
    );
    assert.deepEqual(
      set.proxies.map((one) => one.name),
      overlaps ? ['one'] : ['one', 'two'],
    );
  });
}

test('policy set: files alone are not checked against a mesh that nobody knows, but against each other', () => {
  const { policies } = parsePolicies(
    `${replication('p', '{regions: [mars]}')}---\n${proxy('one', 'a', 'u')}---\n${proxy('two', 'a', 'u')}`,
    'f.yaml',
  );
  assert.deepEqual(
    resolvePolicies(policies, undefined).problems.map((problem) => problem.line),
    [19],
  );
});

test('policy set: which regions a policy copies to', () => {
  const to = (text: string, more = '') => {
    const [policy] = resolve(`${replication('p', text)}${more}`).set.replication;
    assert.ok(policy !== undefined);
    return [EU, US].filter((region) => replicatesTo(policy, region));
  };
  assert.deepEqual(to('{regions: all}'), [EU, US]);
  assert.deepEqual(to('{regions: all, except: [us-east]}'), [EU]);
  assert.deepEqual(to('{regions: [us-east]}'), [US]);
  assert.deepEqual(to('{regions: [us-east], except: [us-east]}'), []);
  assert.deepEqual(to('{regions: all}', '  suspend: true\n'), []);
});

test('policy set: which proxy serves a repository', () => {
  const { set } = resolve(`${upstream('u')}---\n${proxy('hub', 'mirrors/hub', 'u')}`);
  assert.equal(proxyOf(set, 'mirrors/hub/library/alpine')?.name, 'hub');
  assert.equal(proxyOf(set, 'mirrors/hub')?.name, 'hub');
  assert.equal(proxyOf(set, 'mirrors/hubble'), undefined);
});

function resolve(text: string) {
  const { set, problems } = resolvePolicies(parsePolicies(text, 'f.yaml').policies, MESH);
  return { set, problems: problems.map(problemText) };
}

function replication(name: string, to: string): string {
  return `${head('ReplicationPolicy', name)}  select: {repositories: ["**"]}\n  to: ${to}\n`;
}

function proxy(name: string, prefix: string, upstreamName: string): string {
  return `${head('ProxyCache', name)}  serve: {prefix: ${prefix}}\n  upstreams: [${upstreamName}]\n`;
}

function upstream(name: string): string {
  return `${head('UpstreamRegistry', name)}  url: https://registry.example\n`;
}

function head(kind: string, name: string): string {
  return `apiVersion: fairway/v1\nkind: ${kind}\nmetadata: {name: ${name}}\nspec:\n`;
}
