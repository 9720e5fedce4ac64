/** Scopes: what is asked for is cut to what is granted; nonsense is granted nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cutToGrant, type Grant, grantOfToken, NOTHING } from '#access/scope.ts';
import { RegistryError } from '#domain/errors.ts';
import { parseRepositoryName } from '#domain/name.ts';
import type { Action } from '#domain/permit.ts';

const WEB = parseRepositoryName('prod/web');

test('scope: what is no scope of ours is granted nothing, and is no error', () => {
  const all = grant(() => true, true);
  for (const scope of [
    '',
    'prod/web',
    'repository:prod/web',
    'repository::pull',
    'repository:prod/web:',
    'repository:PROD/web:pull',
    'repository:prod/../web:pull',
    'repository:prod/web:admin',
    'repository:host:5000/prod/web:pull',
    'registry:catalog:pull',
    'registry:other:*',
    'artifact:prod/web:pull',
    `repository:${'a'.repeat(400)}:pull`,
  ]) {
    assert.deepEqual(cutToGrant([scope], all), [], scope);
  }
});

test('scope: too many for one token are refused', () => {
  const scopes = Array.from({ length: 25 }, (_, position) => `repository:r${position}:pull`);
  assert.throws(
    () => cutToGrant(scopes, NOTHING),
    (thrown) => thrown instanceof RegistryError && thrown.status === 400,
  );
  assert.equal(
    cutToGrant(
      scopes.slice(1),
      grant(() => true),
    ).length,
    24,
  );
});

test('scope: each is cut to what is granted, and the same resource is named once', () => {
  const mayPull = grant((name, action) => action === 'pull' && name.startsWith('prod/'));
  assert.deepEqual(cutToGrant(['repository:prod/web:pull,push', 'repository:base/x:pull'], mayPull), [
    { type: 'repository', name: 'prod/web', actions: ['pull'] },
  ]);
  const all = grant(() => true);
  assert.deepEqual(cutToGrant(['repository:prod/web:pull', 'repository(plugin):prod/web:push,pull'], all), [
    { type: 'repository', name: 'prod/web', actions: ['pull', 'push'] },
  ]);
  assert.deepEqual(cutToGrant(['repository:prod/web:*', 'registry:catalog:*'], all), [
    { type: 'repository', name: 'prod/web', actions: ['pull', 'push', 'delete'] },
  ]);
  assert.deepEqual(
    cutToGrant(
      ['registry:catalog:*'],
      grant(() => false, true),
    ),
    [{ type: 'registry', name: 'catalog', actions: ['*'] }],
  );
});

test('scope: a token lets its bearer do what it names and its account may still do', () => {
  const access = cutToGrant(
    ['repository:prod/web:pull,push', 'registry:catalog:*'],
    grant(() => true, true),
  );
  const now = grantOfToken(
    access,
    grant((_, action) => action !== 'push'),
  );
  assert.deepEqual([now.permit.allows(WEB, 'pull'), now.permit.allows(WEB, 'push')], [true, false]);
  assert.equal(now.permit.allows(WEB, 'delete'), false, 'not named');
  assert.equal(now.permit.allows(parseRepositoryName('prod/web2'), 'pull'), false);
  assert.equal(now.catalog, false, 'not granted any more');
});

function grant(allows: (name: string, action: Action) => boolean, catalog = false): Grant {
  return { permit: { allows }, catalog };
}
