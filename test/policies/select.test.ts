/** What globs match, and which texts are refused because they would match something else than they seem to. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileSelection, patternFault } from '#policies/select.ts';

const REFUSED: readonly (readonly [pattern: string, fault: RegExp])[] = [
  ['', /is empty/],
  ['!', /is empty/],
  ['a'.repeat(256), /longer than 255/],
  ['/^prod/', /regular expression/],
  ['Prod', /has a character/],
  ['a b', /has a character/],
  ['prod:v1', /has a character/],
  ['(a|b)', /has a character/],
  ['prod/', /empty part/],
  ['a//b', /empty part/],
  ['./a', /has a part/],
  ['a/../b', /has a part/],
  ['prod**', /whole part/],
  ['***', /whole part/],
  ['*/*/*/*', /4 wildcards/],
  ['[!a]', /write "\[\^…\]"/],
  ['a!b', /"!" stands first/],
  ['a^b', /"!" stands first/],
  ['{1..20}', /ranges in braces/],
  ['{a}', /two or more/],
  ['{a,{b,c}}', /two or more/],
  ['{a,b', /two or more/],
  ['a}', /two or more/],
  ['{a,b}{c,d}{e,f}', /3 choices/],
  ['a[b', /not closed/],
  ['a]b', /not closed/],
  ['a[z-a]', /not closed, or a range that runs backwards/],
];

for (const [pattern, fault] of REFUSED) {
  test(`select: refuses the pattern ${JSON.stringify(pattern.slice(0, 20))}`, () => {
    assert.match(patternFault(pattern, 'repository') ?? 'no fault', fault);
  });
}

test('select: tags have capital letters, and no parts', () => {
  assert.equal(patternFault('Release_*', 'tag'), undefined);
  assert.match(patternFault('a/*', 'tag') ?? '', /has a character/);
});

const MATCHES: readonly (readonly [pattern: string, name: string, matches: boolean])[] = [
  ['prod', 'prod', true],
  ['prod', 'prod/web', false],
  ['prod', 'product', false],
  ['*', 'web', true],
  ['*', 'prod/web', false],
  ['**', 'web', true],
  ['**', 'a/b/c/d', true],
  ['prod/*', 'prod/web', true],
  ['prod/*', 'prod/web/api', false],
  ['prod/*', 'prod', false],
  ['prod/**', 'prod/web/api', true],
  ['prod/**', 'prod', true],
  ['prod/**', 'product/web', false],
  ['**/web', 'web', true],
  ['**/web', 'a/b/web', true],
  ['**/web', 'a/b/web2', false],
  ['prod/**/web', 'prod/web', true],
  ['prod/**/web', 'prod/a/b/web', true],
  ['team-?/web', 'team-1/web', true],
  ['team-?/web', 'team-12/web', false],
  ['{web,api}', 'api', true],
  ['{web,api}', 'db', false],
  ['v[0-9]', 'v7', true],
  ['v[^0-9]', 'v7', false],
  ['a.b', 'axb', false],
  ['web-*', 'web-a.b_c', true],
];

for (const [pattern, name, matches] of MATCHES) {
  test(`select: ${pattern} ${matches ? 'matches' : 'does not match'} ${name}`, () => {
    assert.equal(patternFault(pattern, 'repository'), undefined);
    assert.equal(compileSelection({ repositories: [pattern] }).repository(name), matches);
  });
}

test('select: an exclusion wins, wherever it stands', () => {
  for (const repositories of [
    ['prod/**', '!prod/secret/**'],
    ['!prod/secret/**', 'prod/**'],
    ['!prod/secret/**', 'prod/**', 'prod/secret/web'],
  ]) {
    const selection = compileSelection({ repositories });
    assert.equal(selection.repository('prod/web'), true);
    assert.equal(selection.repository('prod/secret/web'), false);
    assert.equal(selection.repository('dev/web'), false);
  }
});

test('select: without tags all are selected; with them, those that match and are not excluded', () => {
  assert.equal(compileSelection({ repositories: ['**'] }).tag('anything'), true);
  const selection = compileSelection({ repositories: ['**'], tags: ['v*', '!*-rc*'] });
  assert.equal(selection.tag('v1.2.3'), true);
  assert.equal(selection.tag('v1.2.3-rc1'), false);
  assert.equal(selection.tag('latest'), false);
});

test('select: the slowest pattern that is allowed answers within a second on the longest name', {
  timeout: 10_000,
}, () => {
  const { repository } = compileSelection({ repositories: ['{a,aa}{a,aa}*a*a*b'] });
  const startedMs = performance.now();
  assert.equal(repository('a'.repeat(255)), false);
  assert.ok(performance.now() - startedMs < 1000);
});
