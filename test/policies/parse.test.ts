/** The policy language: what is refused, at which line and column, and in which words; then what is understood. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PolicyDocument } from '#policies/model.ts';
import { parsePolicies } from '#policies/parse.ts';
import { PolicyProblems, problemText } from '#policies/problem.ts';
import {
  KIND_REFUSALS,
  PROXY,
  PROXY_REFUSALS,
  REPLICATION,
  REPLICATION_REFUSALS,
  SYNTAX_REFUSALS,
  UPSTREAM,
  UPSTREAM_REFUSALS,
} from './refusals.ts';

for (const { what, text, problems } of [
  ...SYNTAX_REFUSALS,
  ...KIND_REFUSALS,
  ...REPLICATION_REFUSALS,
  ...PROXY_REFUSALS,
  ...UPSTREAM_REFUSALS,
]) {
  test(`parse: refuses ${what}`, () => {
    const found = refused(text).map(problemText);
    assert.deepEqual(found, problems);
  });
}

test('parse: refuses a bomb of brackets', () => {
  // Where the parser gives up depends on the depth of the stack.
  assert.deepEqual(
    refused('['.repeat(100_000)).map(({ line, message }) => [line, message]),
    [[1, 'nested too deeply; at most 32 levels']],
  );
});

test('parse: no problem repeats what may be a secret', () => {
  for (const { text } of UPSTREAM_REFUSALS) assert.doesNotMatch(JSON.stringify(refused(text)), /TOPSECRET/);
});

test('parse: a problem says apart what was expected', () => {
  const [problem] = refused(`${PROXY}  serve: {prefix: a}\n  upstreams: [a]\n  freshness: {whenDown: no}\n`);
  assert.deepEqual(problem, {
    file: 'f.yaml',
    line: 7,
    column: 25,
    message: '"spec.freshness.whenDown": expected "stale" or "fail", got "no"',
    expected: '"stale" or "fail"',
  });
});

test('parse: the problems of all documents are found at once, in the order of the text', () => {
  const text = `kind: Nothing\n---\na: [\n---\n${UPSTREAM}  url: x\n`;
  assert.deepEqual(
    refused(text).map((problem) => problem.line),
    [1, 4, 9],
  );
});

test('parse: at most 100 problems are told', () => {
  assert.equal(refused('---\nkind: Nothing\n'.repeat(300)).length, 100);
});

test('parse: a policy above 60 KiB and more than 1000 policies are refused', () => {
  const large = `# ${'x'.repeat(60 * 1024)}\n${UPSTREAM}  url: https://a\n`;
  assert.match(refused(large)[0]?.message ?? '', /this policy has 6\d{4} bytes; at most 61440/);
  const one = (position: number) =>
    `---\n{apiVersion: fairway/v1, kind: UpstreamRegistry, metadata: {name: u${position}}, spec: {url: "http://a"}}\n`;
  const many = Array.from({ length: 1001 }, (_, position) => one(position)).join('');
  assert.equal(refused(many)[0]?.message, '1001 policies; at most 1000 at once');
});

test('parse: a replication policy has its defaults', () => {
  const policy = only(`${REPLICATION}  select: {repositories: ["prod/**"]}\n  to: {regions: all}\n`);
  assert.ok(policy.kind === 'ReplicationPolicy');
  const { selection, ...settings } = policy.settings;
  assert.deepEqual(settings, { name: 'prod', to: { regions: 'all', except: [] }, suspend: false });
  assert.equal(selection.repository('prod/web'), true);
  assert.equal(selection.repository('dev/web'), false);
  assert.equal(selection.tag('anything'), true);
});

test('parse: a replication policy with everything', () => {
  const policy = only(
    `${REPLICATION}  select: {repositories: ["**"], tags: ["v*"]}\n  to: {regions: [eu-west, us-east], except: [us-east]}\n  suspend: true\n`,
  );
  assert.ok(policy.kind === 'ReplicationPolicy');
  assert.deepEqual(policy.settings.to, { regions: ['eu-west', 'us-east'], except: ['us-east'] });
  assert.equal(policy.settings.suspend, true);
  assert.equal(policy.settings.selection.tag('latest'), false);
});

test('parse: a proxy has its defaults', () => {
  const policy = only(`${PROXY}  serve: {prefix: hub}\n  upstreams: [a, b]\n`);
  assert.deepEqual(policy.settings, {
    name: 'hub',
    prefix: 'hub',
    upstreams: ['a', 'b'],
    freshness: { timeToLiveMs: 600_000, whenDown: 'stale' },
  });
});

test('parse: a proxy with everything', () => {
  const policy = only(
    `${PROXY}  serve: {prefix: mirrors/hub}\n  upstreams: [a]\n  freshness: {timeToLive: 1h30m, whenDown: fail}\n  keep: {perRegion: 2TiB, evict: leastRecentlyUsed}\n`,
  );
  assert.ok(policy.kind === 'ProxyCache');
  assert.deepEqual(policy.settings.freshness, { timeToLiveMs: 5_400_000, whenDown: 'fail' });
  assert.deepEqual(policy.settings.keep, { perRegionBytes: 2 ** 41 });
});

test('parse: an upstream is anonymous, or has the places of its credentials', () => {
  assert.deepEqual(only(`${UPSTREAM}  url: http://127.0.0.1:5000/\n`).settings, {
    name: 'hub',
    url: 'http://127.0.0.1:5000',
  });
  const credentials = 'credentials: {username: {value: me}, password: {fromFile: /run/secret}}';
  assert.deepEqual(only(`${UPSTREAM}  url: https://a\n  ${credentials}\n`).settings, {
    name: 'hub',
    url: 'https://a',
    credentials: { username: { value: 'me' }, password: { file: '/run/secret' } },
  });
});

test('parse: the text kept is one document, normalised, with its comments, and normalising it again changes nothing', () => {
  const text = `# why\n---\r\napiVersion:   fairway/v1 # version\nkind: 'UpstreamRegistry'\nmetadata: {name: hub}\n\nspec:\n    url:   https://a\n...\n# nothing\n`;
  const policy = only(text);
  assert.equal(
    policy.text,
    `# why\n\napiVersion: fairway/v1 # version\nkind: 'UpstreamRegistry'\nmetadata: {name: hub}\n\nspec:\n  url: https://a\n\n# nothing\n`,
  );
  assert.equal(only(policy.text).text, policy.text);
});

test('parse: documents know where their values stand', () => {
  const { policies } = parsePolicies(
    `${UPSTREAM}  url: https://a\n---\n${PROXY}  serve: {prefix: p}\n  upstreams: [x, y]\n`,
    'f.yaml',
  );
  assert.deepEqual(policies[1]?.place(['spec', 'upstreams', 1]), { file: 'f.yaml', line: 12, column: 18 });
  assert.deepEqual(policies[1]?.place(['spec', 'no', 'such']), { file: 'f.yaml', line: 11, column: 3 });
});

function refused(text: string) {
  try {
    parsePolicies(text, 'f.yaml');
  } catch (thrown) {
    assert.ok(thrown instanceof PolicyProblems, String(thrown));
    assert.equal(thrown.message, thrown.problems.map(problemText).join('\n'));
    return thrown.problems;
  }
  assert.fail('this text was not refused');
}

function only(text: string): PolicyDocument {
  const { policies } = parsePolicies(text, 'f.yaml');
  const [policy] = policies;
  assert.ok(policies.length === 1 && policy !== undefined);
  return policy;
}
