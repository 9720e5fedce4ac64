/** The door of the registry: who is refused, how, and with which challenge. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { contextOf } from '#test/access/access-rig.ts';
import { type AuthRig, basic, bearer, challengeOf, openAuthRig, right, tokenOf } from './auth-rig.ts';
import { errorCode, imageManifest } from './registry-under-test.ts';

const BLOB = digestOf('some bytes');
const MEDIA_TYPE = 'application/vnd.oci.image.manifest.v1+json';

/** Every resource, and the scope that it needs. */
const RESOURCES = [
  ['GET', '/v2/', undefined],
  ['HEAD', '/v2/', undefined],
  ['GET', '/v2/_catalog', 'registry:catalog:*'],
  ['GET', '/v2/prod/web/tags/list', 'repository:prod/web:pull'],
  ['GET', '/v2/prod/web/manifests/v1', 'repository:prod/web:pull'],
  ['HEAD', '/v2/prod/web/manifests/v1', 'repository:prod/web:pull'],
  ['PUT', '/v2/prod/web/manifests/v1', 'repository:prod/web:pull,push'],
  ['DELETE', '/v2/prod/web/manifests/v1', 'repository:prod/web:delete'],
  ['GET', `/v2/prod/web/blobs/${BLOB}`, 'repository:prod/web:pull'],
  ['HEAD', `/v2/prod/web/blobs/${BLOB}`, 'repository:prod/web:pull'],
  ['DELETE', `/v2/prod/web/blobs/${BLOB}`, 'repository:prod/web:delete'],
  ['GET', `/v2/prod/web/referrers/${BLOB}`, 'repository:prod/web:pull'],
  ['POST', '/v2/prod/web/blobs/uploads/', 'repository:prod/web:pull,push'],
  ['GET', '/v2/prod/web/blobs/uploads/some-id', 'repository:prod/web:pull,push'],
  ['PATCH', '/v2/prod/web/blobs/uploads/some-id', 'repository:prod/web:pull,push'],
  ['PUT', `/v2/prod/web/blobs/uploads/some-id?digest=${BLOB}`, 'repository:prod/web:pull,push'],
  ['DELETE', '/v2/prod/web/blobs/uploads/some-id', 'repository:prod/web:pull,push'],
  ['HEAD', '/v2/_catalog', 'registry:catalog:*'],
  ['HEAD', '/v2/prod/web/tags/list', 'repository:prod/web:pull'],
  ['HEAD', `/v2/prod/web/referrers/${BLOB}`, 'repository:prod/web:pull'],
  // Methods that no resource has: whoever may not even look is not told which ones there are.
  ['POST', '/v2/prod/web/manifests/v1', 'repository:prod/web:pull,push'],
  ['PUT', '/v2/prod/web/tags/list', 'repository:prod/web:pull,push'],
  ['GET', '/v2/prod/web/blobs/uploads/', 'repository:prod/web:pull,push'],
  ['OPTIONS', '/v2/prod/web/manifests/v1', 'repository:prod/web:pull'],
  ['POST', '/v2/_catalog', 'registry:catalog:*'],
] as const;

test('auth: every resource answers who is nobody with a challenge and the scope that it needs', async () => {
  await using rig = await openAuthRig();
  await rig.account('ada', right('**', 'pull', 'push', 'delete'));
  for (const [method, path, scope] of RESOURCES) {
    const reply = await rig.registry.call(method, path);
    assert.equal(reply.status, 401, `${method} ${path}`);
    const { realm, service, ...rest } = challengeOf(reply);
    assert.deepEqual([realm, service], [`http://127.0.0.1:${rig.registry.port}/token`, 'fairway']);
    assert.deepEqual(rest, scope === undefined ? {} : { scope }, `${method} ${path}`);
    if (method !== 'HEAD') assert.equal(errorCode(reply), 'UNAUTHORIZED');
  }
  assert.deepEqual(rig.registry.content.contexts, [], 'nothing was asked of the content');
});

test('auth: wrong credentials are 401 everywhere, also where nobody needs any', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('**', 'pull'));
  await rig.account('anonymous', right('public/**', 'pull'));
  for (const headers of [
    basic('ada', `${secret}x`),
    basic('nobody', secret),
    { authorization: 'Basic !' },
    { authorization: `Basic ${Buffer.from('no-colon').toString('base64')}` },
    { authorization: `Digest ${secret}` },
    bearer('x.y.z'),
  ]) {
    for (const path of ['/v2/', '/v2/public/web/tags/list', '/v2/_catalog']) {
      const reply = await rig.registry.call('GET', path, { headers });
      assert.deepEqual([reply.status, errorCode(reply)], [401, 'UNAUTHORIZED'], headers.authorization);
      const isToken = headers.authorization.startsWith('Bearer');
      assert.equal(challengeOf(reply)['error'], isToken ? 'invalid_token' : undefined);
    }
  }
});

test('auth: an account that lacks the right is 403, with a password and with a token', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('prod/**', 'pull'));
  for (const [method, path] of [
    ['PUT', '/v2/prod/web/manifests/v1'],
    ['POST', '/v2/prod/web/blobs/uploads/'],
    ['DELETE', `/v2/prod/web/blobs/${BLOB}`],
    ['GET', '/v2/team/web/tags/list'],
  ] as const) {
    const byPassword = await rig.registry.call(method, path, { headers: basic('ada', secret) });
    assert.deepEqual([byPassword.status, errorCode(byPassword)], [403, 'DENIED'], `${method} ${path}`);
    assert.equal(challengeOf(byPassword)['error'], undefined);
    const scope = challengeOf(byPassword)['scope'] ?? '';
    const { token } = await tokenFor(rig, scope, basic('ada', secret));
    const byToken = await rig.registry.call(method, path, { headers: bearer(token) });
    assert.deepEqual([byToken.status, challengeOf(byToken)['error']], [403, 'insufficient_scope']);
  }
  assert.deepEqual(rig.registry.content.contexts, []);
});

test('auth: a token that lacks a scope which its account has is 401 with that scope', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('prod/**', 'pull', 'push'));
  const { token } = await tokenFor(rig, 'repository:prod/web:pull', basic('ada', secret));
  const reply = await rig.registry.call('POST', '/v2/prod/web/blobs/uploads/', { headers: bearer(token) });
  assert.equal(reply.status, 401);
  const { scope, error } = challengeOf(reply);
  assert.deepEqual([scope, error], ['repository:prod/web:pull,push', 'insufficient_scope']);
  const wider = await tokenFor(rig, scope ?? '', basic('ada', secret));
  const again = await rig.registry.call('POST', '/v2/prod/web/blobs/uploads/', {
    headers: bearer(wider.token),
  });
  assert.equal(again.status, 202);
});

test('auth: a disable ends passwords and tokens at their next use', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('**', 'pull'));
  const { token } = await tokenFor(rig, 'repository:prod/web:pull', basic('ada', secret));
  const uses = [bearer(token), basic('ada', secret)];
  const statuses = async () =>
    await Promise.all(
      uses.map(async (headers) => (await rig.registry.call('GET', '/v2/', { headers })).status),
    );
  assert.deepEqual(await statuses(), [200, 200]);
  await rig.access.one.editor.change('ada', { disabled: true }, contextOf());
  assert.deepEqual(await statuses(), [401, 401]);
  await rig.access.one.editor.change('ada', { disabled: false }, contextOf());
  assert.deepEqual(await statuses(), [200, 200]);
});

test('auth: rights that are taken away end in a token that names them, and so does its secret', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('**', 'pull'));
  const { token } = await tokenFor(rig, 'repository:prod/web:pull', basic('ada', secret));
  const status = async () =>
    (await rig.registry.call('GET', '/v2/prod/web/tags/list', { headers: bearer(token) })).status;
  assert.equal(await status(), 404);
  await rig.access.one.editor.change('ada', { rights: [] }, contextOf());
  assert.equal(await status(), 403);
  await rig.access.one.editor.rotate('ada', { graceMs: 0 }, contextOf());
  assert.equal(await status(), 401);
});

test('auth: guessing is answered 429 with when to come back', async () => {
  await using rig = await openAuthRig({
    signIn: { perAccount: { free: 1, baseMs: 5000, maxMs: 5000 } },
  });
  const secret = await rig.account('ada', right('**', 'pull'));
  const guess = (text: string) => rig.registry.call('GET', '/v2/', { headers: basic('ada', text) });
  assert.deepEqual([(await guess('one')).status, (await guess('two')).status], [401, 401]);
  const slowed = await guess(secret);
  assert.deepEqual(
    [slowed.status, errorCode(slowed), slowed.headers['retry-after']],
    [429, 'TOOMANYREQUESTS', '5'],
  );
  rig.access.clock.advance(5000);
  assert.equal((await guess(secret)).status, 200);
});

test('auth: a refused push sends no body and stores nothing', async () => {
  await using rig = await openAuthRig();
  await rig.account('ada', right('**', 'pull', 'push'));
  const sent =
    `POST /v2/prod/web/blobs/uploads/?digest=${BLOB} HTTP/1.1\r\nHost: a\r\n` +
    'Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n';
  const received = await rig.registry.raw(sent);
  assert.match(received, /^HTTP\/1\.1 401 /);
  assert.match(received, /Connection: close/i);
});

test('auth: without any account everything is open, and what is sent along is not looked at', async () => {
  await using rig = await openAuthRig();
  for (const headers of [{}, basic('ada', 'x'), bearer('x')]) {
    assert.equal((await rig.registry.call('GET', '/v2/', { headers })).status, 200);
    assert.equal((await rig.registry.call('POST', '/v2/a/blobs/uploads/', { headers })).status, 202);
  }
});

test('auth: a registry that others reach is closed also without any account', async () => {
  await using rig = await openAuthRig({ openWithoutAccounts: false });
  assert.equal((await rig.registry.call('GET', '/v2/')).status, 401);
  assert.equal((await rig.registry.call('POST', '/v2/a/blobs/uploads/')).status, 401);
  const { token } = await tokenFor(rig, 'repository:a:pull', {});
  assert.equal((await rig.registry.call('GET', '/v2/a/tags/list', { headers: bearer(token) })).status, 401);
});

test('auth: the last account that is disabled does not open the registry again', async () => {
  await using rig = await openAuthRig();
  await rig.account('ada', right('**', 'pull'));
  await rig.access.one.editor.change('ada', { disabled: true }, contextOf());
  assert.equal((await rig.registry.call('GET', '/v2/prod/web/tags/list')).status, 401);
});

test('auth: anonymous may what the account of that name is granted, and signs in at /v2/ all the same', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('**', 'pull', 'push'));
  await rig.account('anonymous', right('public/**', 'pull'));
  const { registry } = rig;
  assert.equal((await registry.call('GET', '/v2/public/web/tags/list')).status, 404, 'let in');
  assert.equal((await registry.call('GET', '/v2/prod/web/tags/list')).status, 401);
  assert.equal((await registry.call('PUT', '/v2/public/web/manifests/v1')).status, 401);
  assert.equal((await registry.call('GET', '/v2/')).status, 401);
  const { token } = await tokenFor(rig, 'repository:public/web:pull,push', {});
  assert.equal((await registry.call('GET', '/v2/', { headers: bearer(token) })).status, 200);
  const pull = await registry.call('GET', '/v2/public/web/tags/list', { headers: bearer(token) });
  assert.equal(pull.status, 404);
  const push = await registry.call('PUT', '/v2/public/web/manifests/v1', { headers: bearer(token) });
  assert.deepEqual([push.status, challengeOf(push)['error']], [401, 'insufficient_scope']);
  await rig.access.one.editor.change('anonymous', { disabled: true }, contextOf());
  assert.equal((await registry.call('GET', '/v2/public/web/tags/list')).status, 401);
  assert.equal((await registry.call('GET', '/v2/', { headers: basic('ada', secret) })).status, 200);
});

test('auth: who was let in stands in the context, with what they may do', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ci', right('prod/**', 'pull', 'push'));
  const { token } = await tokenFor(rig, 'repository:prod/web:pull,push', basic('ci', secret));
  for (const headers of [basic('ci', secret), bearer(token)]) {
    const put = await rig.registry.call('PUT', '/v2/prod/web/manifests/v1', {
      headers: { ...headers, 'content-type': MEDIA_TYPE },
      body: imageManifest(),
    });
    assert.equal(put.status, 201);
    const get = await rig.registry.call('GET', '/v2/prod/web/manifests/v1', { headers });
    assert.equal(get.status, 200);
    const context = rig.registry.content.contexts.at(-1);
    assert.equal(context?.principal, 'ci');
    assert.equal(context?.permit?.allows('prod/web' as never, 'push'), true);
    assert.equal(context?.permit?.allows('team/web' as never, 'pull'), false);
    const isToken = headers.authorization.startsWith('Bearer');
    assert.equal(context?.permit?.allows('prod/api' as never, 'pull'), !isToken, 'a token is narrower');
  }
});

test('auth: the challenge of a mount asks for its source, too', async () => {
  await using rig = await openAuthRig();
  await rig.account('ada', right('**', 'pull', 'push'));
  const path = `/v2/prod/web/blobs/uploads/?mount=${BLOB}&from=base/image`;
  const reply = await rig.registry.call('POST', path);
  assert.equal(challengeOf(reply)['scope'], 'repository:prod/web:pull,push repository:base/image:pull');
});

test('auth: the catalog lists what the caller may pull, page by page', async () => {
  await using rig = await openAuthRig();
  const admin = await rig.account('admin', right('**', 'pull', 'push'));
  const ada = await rig.account('ada', right('{a,c}/**', 'pull'));
  for (const repository of ['a/1', 'a/2', 'b/1', 'b/2', 'c/1', 'd/1']) {
    const put = await rig.registry.call('PUT', `/v2/${repository}/manifests/v1`, {
      headers: { ...basic('admin', admin), 'content-type': MEDIA_TYPE },
      body: imageManifest(),
    });
    assert.equal(put.status, 201);
  }
  const { token } = await tokenFor(rig, 'registry:catalog:*', basic('ada', ada));
  for (const headers of [basic('ada', ada), bearer(token)]) {
    const found: string[] = [];
    for (let path = '/v2/_catalog?n=1'; path !== ''; ) {
      const reply = await rig.registry.call('GET', path, { headers });
      assert.equal(reply.status, 200);
      const { repositories } = JSON.parse(reply.bytes.toString()) as { repositories: string[] };
      assert.ok(repositories.length <= 1);
      found.push(...repositories);
      path = /<([^>]+)>/.exec(String(reply.headers['link'] ?? ''))?.[1] ?? '';
    }
    assert.deepEqual(found, ['a/1', 'a/2', 'c/1']);
  }
  const narrow = await tokenFor(rig, 'repository:a/1:pull', basic('ada', ada));
  const refused = await rig.registry.call('GET', '/v2/_catalog', { headers: bearer(narrow.token) });
  assert.deepEqual([refused.status, challengeOf(refused)['scope']], [401, 'registry:catalog:*']);
});

test('auth: the realm is where the client came to, and a host that is none is not repeated', async () => {
  await using rig = await openAuthRig();
  await rig.account('ada');
  const realmFor = async (headers: Readonly<Record<string, string>>) =>
    challengeOf(await rig.registry.call('GET', '/v2/', { headers }))['realm'];
  assert.equal(await realmFor({ host: 'registry.example.com' }), 'http://registry.example.com/token');
  assert.equal(await realmFor({ host: '[::1]:5001' }), 'http://[::1]:5001/token');
  assert.equal(
    await realmFor({ host: 'registry.example.com', 'x-forwarded-proto': 'https' }),
    'https://registry.example.com/token',
  );
  assert.equal(await realmFor({ host: 'a"b/c' }), `http://127.0.0.1:${rig.registry.port}/token`);
});

test('auth: no secret and no token reaches the log', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('**', 'pull'));
  const { token, refresh_token } = tokenOf(
    await rig.registry.call('GET', '/token?offline_token=true&scope=repository:a:pull', {
      headers: basic('ada', secret),
    }),
  );
  await rig.registry.call('GET', '/v2/a/tags/list', { headers: bearer(token) });
  await rig.registry.call('GET', '/v2/', { headers: basic('ada', `${secret}-wrong`) });
  await rig.registry.call('GET', '/v2/', { headers: bearer(`${token}x`) });
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  for (const body of [
    `grant_type=refresh_token&refresh_token=${refresh_token}`,
    `grant_type=password&username=ada&password=${secret}`,
    `grant_type=password&username=${secret}&password=x`,
  ]) {
    await rig.registry.call('POST', '/token', { headers: form, body });
  }
  const text = JSON.stringify([...rig.registry.lines, ...rig.access.lines]);
  assert.ok(text.includes('/token') && text.includes('sign-in refused'));
  for (const word of [secret.slice(4), token.slice(-40), String(refresh_token).slice(-40)]) {
    assert.ok(!text.includes(word));
  }
});

async function tokenFor(rig: AuthRig, scope: string, headers: Readonly<Record<string, string>>) {
  const query = new URLSearchParams({ service: 'fairway', scope });
  return tokenOf(await rig.registry.call('GET', `/token?${query}`, { headers }));
}

test('auth: the first account closes what was answered from memory a moment ago', async () => {
  await using rig = await openAuthRig({ openWithoutAccounts: true });
  const bytes = Buffer.from(imageManifest());
  rig.registry.content.warm = {
    ...{ bytes, digest: digestOf(bytes), mediaType: MEDIA_TYPE },
    source: { kind: 'local', name: 'eu-west' },
  };
  const path = '/v2/prod/web/manifests/v1';
  // The first one finds out that there are no accounts, the second one knows it.
  for (let n = 0; n < 2; n += 1) assert.equal((await rig.registry.call('GET', path)).status, 200);
  const secret = await rig.account('ada', right('prod/**', 'pull'));
  await rig.account('bob', right('test/**', 'pull'));
  assert.equal((await rig.registry.call('GET', path)).status, 401);
  assert.equal((await rig.registry.call('GET', path, { headers: basic('bob', 'x') })).status, 401);
  assert.equal((await rig.registry.call('GET', path, { headers: basic('ada', secret) })).status, 200);
});
