/** What a grant allows, and what it does not; where nothing is said, an edge may do nothing and a core region all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IndexChange } from '#content/claim-writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestOf } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import { compileGrant, type GrantText, type RegionRole, tokenScopeFault } from '#mesh/membership/grant.ts';
import { Origination } from '#mesh/membership/origination.ts';
import { Roster } from '#mesh/membership/roster.ts';

const KINDS = Object.entries(CLAIM_KIND);
const SHOP: GrantText = { repositories: ['shop/**', '!shop/private/**'] };

function kindsOf(role: RegionRole, text?: GrantText): readonly string[] {
  const grant = compileGrant(role, text);
  const key = { repository: 'shop/till', name: 'x' };
  return KINDS.filter(([, kind]) => grant.mayWrite({ kind, ...key })).map(([name]) => name);
}

test('grant: an edge may do nothing, a core region everything, unless it is said', () => {
  assert.deepEqual(kindsOf('edge'), []);
  assert.deepEqual(kindsOf('edge', {}), []);
  assert.equal(compileGrant('edge', undefined).signsTokens, false);
  assert.deepEqual(
    kindsOf('core'),
    KINDS.map(([name]) => name),
  );
  assert.equal(compileGrant('core', undefined).isWhole, true);
  assert.equal(compileGrant('core', {}).isWhole, false);
});

test('grant: each part allows its own kinds of claims, and kinds that are not known yet are nobody’s', () => {
  assert.deepEqual(kindsOf('edge', SHOP), ['tag', 'manifest', 'repository']);
  assert.deepEqual(kindsOf('edge', { policies: true }), ['policy']);
  assert.deepEqual(kindsOf('edge', { accounts: true }), ['account']);
  assert.deepEqual(kindsOf('edge', { tokens: ['registry:catalog:*'] }), ['key']);
  const all = compileGrant('core', { repositories: ['**'], policies: true, accounts: true, tokens: [] });
  assert.equal(all.mayWrite({ kind: 77, repository: 'shop/till', name: '' }), false);
});

test('grant: repositories are globs with exclusions', () => {
  const { mayWrite } = compileGrant('edge', SHOP);
  const may = (repository: string) => mayWrite({ kind: CLAIM_KIND.tag, repository, name: 'v1' });
  assert.deepEqual(['shop', 'shop/a', 'shop/a/b'].map(may), [true, true, true]);
  assert.deepEqual(['shopper', 'prod/shop', 'shop/private/x', ''].map(may), [false, false, false, false]);
});

test('grant: a token counts when one scope has all of each access', () => {
  const { maySign } = compileGrant('edge', {
    tokens: ['repository:shop/**:pull,push', 'repository:prod/*:pull'],
  });
  const may = (type: string, name: string, ...actions: readonly string[]) => maySign({ type, name, actions });
  assert.ok(may('repository', 'shop/till', 'pull'));
  assert.ok(may('repository', 'shop/till', 'push', 'pull'));
  assert.ok(may('repository', 'prod/app', 'pull'));
  assert.ok(!may('repository', 'shop/till', 'pull', 'delete'));
  assert.ok(!may('repository', 'shop/till', '*'));
  assert.ok(!may('repository', 'prod/app', 'push'));
  assert.ok(!may('registry', 'catalog', '*'));
  assert.ok(!may('registry', 'shop/till', 'pull'));
});

test('grant: what is no token scope says what is one', () => {
  for (const [text, says] of [
    ['', /expected repository:<glob>/],
    ['shop/**', /expected repository:<glob>/],
    ['repository:shop/**', /expected repository:<glob>/],
    ['repository:shop/:pull', /empty part/],
    ['registry:other:*', /expected registry:catalog/],
  ] as const) {
    assert.match(tokenScopeFault(text) ?? '', says);
  }
  assert.equal(tokenScopeFault('repository:shop/**:pull,push'), undefined);
  assert.equal(tokenScopeFault('registry:catalog:*'), undefined);
});

test('origination: what a region may not write it refuses whole, with who grants it what', async () => {
  const roster = new Roster({
    meshId: 'test',
    self: 'shop',
    regions: [
      { name: 'eu-west', number: 1, role: 'core' },
      { name: 'shop', number: 2, role: 'edge', grant: SHOP },
    ],
  });
  const written: IndexChange[] = [];
  const dot = { region: parseRegionNumber(2), epoch: parseEpoch('0'.repeat(16)), sequence: 1 };
  const write = async (changes: readonly IndexChange[]) => {
    written.push(...changes);
    return dot;
  };
  const origination = new Origination({ write }, roster);
  const options = { principal: 'ada', signal: new AbortController().signal };
  const set = (repository: string): IndexChange => {
    const digest = digestOf('x');
    return { change: 'set-tag', repository: parseRepositoryName(repository), tag: 'v1', digest };
  };
  for (const [change, says] of [
    [set('prod/app'), /region shop may not write prod\/app: the roster grants it repositories shop/],
    [{ change: 'set-policy', name: 'p', document: 'x' }, /may not write policies \(p\)/],
    [{ change: 'set-account', name: 'a', document: 'x', replaces: undefined }, /accounts \(a\)/],
    [{ change: 'set-key', name: '2.1', document: 'x' }, /keys of tokens/],
  ] as const) {
    await assert.rejects(origination.write([set('shop/till'), change], options), (thrown) => {
      assert.ok(thrown instanceof RegistryError);
      assert.equal(thrown.code, 'DENIED');
      assert.match(thrown.message, says);
      return true;
    });
  }
  assert.deepEqual(written, []);
  await origination.write([set('shop/till')], options);
  assert.equal(written.length, 1);
  assert.throws(() => origination.refuseUnlessGranted('prod/app'), /prod\/app/);
  origination.refuseUnlessGranted('shop/till');
});
