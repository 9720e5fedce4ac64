/** The token service, as docker, containerd and podman ask it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contextOf, until } from '#test/access/access-rig.ts';
import { type AuthRig, basic, bearer, claimsOf, openAuthRig, right, tokenOf } from './auth-rig.ts';
import { errorCode, type Reply } from './registry-under-test.ts';

const PROD_WEB = { type: 'repository', name: 'prod/web', actions: ['pull', 'push'] };

test('token service: wrong credentials are 401, by GET and by POST', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('prod/**', 'pull', 'push'));
  const refresh = String((await get(rig, 'offline_token=true', basic('ada', secret))).refresh_token);
  const access = (await get(rig, '', basic('ada', secret))).token;
  for (const reply of [
    await call(rig, 'GET', '', { headers: basic('ada', 'wrong') }),
    await call(rig, 'GET', '', { headers: basic('nobody', secret) }),
    await call(rig, 'GET', '', { headers: bearer(access) }),
    await post(rig, { grant_type: 'password', username: 'ada', password: 'wrong' }),
    await post(rig, { grant_type: 'password', username: 'ada' }),
    await post(rig, { grant_type: 'password' }),
    await post(rig, { grant_type: 'refresh_token' }),
    await post(rig, { grant_type: 'refresh_token', refresh_token: `${refresh.slice(0, -3)}AAA` }),
    await post(rig, { grant_type: 'refresh_token', refresh_token: access }),
  ]) {
    assert.deepEqual([reply.status, errorCode(reply)], [401, 'UNAUTHORIZED']);
    assert.ok(!reply.bytes.toString().includes(secret));
  }
});

test('token service: what is no such request is 400, 405 or 413', async () => {
  await using rig = await openAuthRig();
  await rig.account('ada');
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  for (const [status, reply] of [
    [400, await post(rig, { grant_type: 'authorization_code', code: 'x' })],
    [400, await post(rig, {})],
    [400, await call(rig, 'POST', '', { headers: { 'content-type': 'application/json' }, body: '{}' })],
    [
      400,
      await call(rig, 'GET', Array.from({ length: 25 }, (_, i) => `scope=repository:r${i}:pull`).join('&')),
    ],
    [405, await call(rig, 'PUT', '')],
    [413, await call(rig, 'POST', '', { headers: form, body: `scope=${'x'.repeat(33_000)}` })],
  ] as const) {
    assert.equal(reply.status, status, reply.bytes.toString());
  }
});

test('token service: several scopes in all the ways that clients write them', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ci', right('prod/**', 'pull', 'push'), right('base/**', 'pull'));
  const [web, base] = ['repository:prod/web:pull,push', 'repository:base/image:pull,push'];
  const expected = [PROD_WEB, { type: 'repository', name: 'base/image', actions: ['pull'] }];
  const repeated = await get(rig, `scope=${web}&scope=${base}`, basic('ci', secret));
  const joined = await get(rig, `scope=${web}%20${base}`, basic('ci', secret));
  const form = tokenOf(
    await post(rig, { grant_type: 'password', username: 'ci', password: secret, scope: `${web} ${base}` }),
  );
  for (const { token } of [repeated, joined, form]) assert.deepEqual(claimsOf(token).access, expected);
});

test('token service: too little is no error, and neither is nothing', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('prod/**', 'pull'));
  const scope = 'scope=repository:team/web:pull,push&scope=nonsense';
  assert.deepEqual(claimsOf((await get(rig, scope, basic('ada', secret))).token).access, []);
  const anonymous = claimsOf((await get(rig, scope, {})).token);
  assert.deepEqual([anonymous.sub, anonymous.access], ['anonymous', []]);
});

test('token service: the answer is what every client reads, and is not kept', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('prod/**', 'pull'));
  const reply = await call(rig, 'GET', 'service=fairway&account=ada', { headers: basic('ada', secret) });
  const { token, access_token, expires_in, issued_at, refresh_token } = tokenOf(reply);
  assert.equal(token, access_token);
  assert.ok(expires_in >= 60);
  assert.equal(Date.parse(issued_at), rig.access.clock.nowMs());
  assert.equal(refresh_token, undefined, 'nobody asked for one');
  assert.equal(reply.headers['cache-control'], 'no-store');
  assert.equal(reply.headers['content-type'], 'application/json');
});

test('token service: a refresh token stands for its secret, in every region, until that ends', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ci', right('prod/**', 'pull', 'push'));
  const signIn = { grant_type: 'password', username: 'ci', password: secret, access_type: 'offline' };
  const refresh = String(tokenOf(await post(rig, signIn)).refresh_token);
  const redeem = () =>
    post(rig, {
      grant_type: 'refresh_token',
      refresh_token: refresh,
      scope: 'repository:prod/web:pull,push',
    });
  const first = tokenOf(await redeem());
  assert.deepEqual(claimsOf(first.token).access, [PROD_WEB]);
  assert.equal(first.refresh_token, undefined, 'the one that it has stays');
  rig.access.clock.advance(40 * 86_400_000);
  assert.equal((await redeem()).status, 200);
  const { two } = rig.access;
  await until(async () => (await two.gate.redeem(refresh))?.account.name === 'ci');
  await rig.access.one.editor.rotate('ci', { graceMs: 60_000 }, contextOf());
  assert.equal((await redeem()).status, 200);
  rig.access.clock.advance(60_000);
  assert.equal((await redeem()).status, 401);
});

test('token service: a refresh token opens nothing by itself, and an anonymous one does not exist', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('**', 'pull'));
  const { refresh_token = '' } = await get(rig, 'offline_token=true', basic('ada', secret));
  assert.equal((await rig.registry.call('GET', '/v2/', { headers: bearer(refresh_token) })).status, 401);
  assert.equal((await get(rig, 'offline_token=true', {})).refresh_token, undefined);
});

test('token service: a disabled account gets no token, by secret or by refresh token', async () => {
  await using rig = await openAuthRig();
  const secret = await rig.account('ada', right('**', 'pull'));
  const { refresh_token = '' } = await get(rig, 'offline_token=true', basic('ada', secret));
  await rig.access.one.editor.change('ada', { disabled: true }, contextOf());
  assert.equal((await call(rig, 'GET', '', { headers: basic('ada', secret) })).status, 401);
  assert.equal((await post(rig, { grant_type: 'refresh_token', refresh_token })).status, 401);
});

test('token service: a registry without accounts gives everybody what they ask for', async () => {
  await using rig = await openAuthRig();
  for (const headers of [{}, basic('left', 'over')]) {
    const { token } = await get(rig, 'scope=repository:prod/web:pull,push', headers);
    assert.deepEqual(claimsOf(token).access, [PROD_WEB]);
  }
  assert.equal((await post(rig, { grant_type: 'refresh_token', refresh_token: 'old' })).status, 200);
});

type Options = { readonly headers?: Readonly<Record<string, string>>; readonly body?: string };

async function call(rig: AuthRig, method: 'GET' | 'POST' | 'PUT', query: string, options: Options = {}) {
  return await rig.registry.call(method, `/token?${query}`, options);
}

async function get(rig: AuthRig, query: string, headers: Readonly<Record<string, string>>) {
  return tokenOf(await call(rig, 'GET', query, { headers }));
}

async function post(rig: AuthRig, form: Readonly<Record<string, string>>): Promise<Reply> {
  return await rig.registry.call('POST', '/token', {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form).toString(),
  });
}
