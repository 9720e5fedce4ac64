/** Accounts in the management API, over a real editor and index. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { request } from 'undici';
import type { AccountEntry, AccountWithSecret } from '#access/account-editor.ts';
import { accountList, accountWithSecret } from '#http/management-accounts.ts';
import { openManagementServer } from '#http/management-server.ts';
import { systemClock } from '#runtime/clock.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import { type AccessRig, openAccessRig } from '#test/access/access-rig.ts';
import { recordingLog } from './registry-under-test.ts';

const RIGHTS = [{ repositories: ['prod/**', '!prod/secret'], actions: ['pull', 'push'] }];

test('management accounts: what is wrong is 400, says where, quotes no secret, and changes nothing', async () => {
  await using node = await openNode();
  for (const [body, part] of [
    ['no JSON', 'body'],
    ['', 'body'],
    ['[]', ''],
    [{ name: 'Ada' }, 'name'],
    [{ name: 'administrator' }, 'name'],
    [{ name: 'ada', rigths: [] }, 'rigths'],
    [{ name: 'ada', kind: 'ghost' }, 'kind'],
    [{ name: 'ada', secret: 'too-short-1' }, 'secret'],
    [{ name: 'anonymous', secret: 'long enough secret' }, 'secret'],
    [{ name: 'ada', expiresMs: 'tomorrow' }, 'expiresMs'],
    [{ name: 'ada', rights: [{ repositories: ['prod/**'], actions: ['admin'] }] }, 'rights.0.actions'],
    [{ name: 'ada', rights: [{ repositories: [], actions: ['pull'] }] }, 'rights.0.repositories'],
    [{ name: 'ada', rights: [{ repositories: ['!prod/**'], actions: ['pull'] }] }, 'rights.0.repositories'],
    [{ name: 'ada', rights: [{ repositories: ['prod**'], actions: ['pull'] }] }, 'must be a whole part'],
  ] as const) {
    const reply = await node.call('POST', '/api/v1/accounts', body);
    assert.equal(reply.status, 400, JSON.stringify(body));
    assert.ok(reply.text.includes(part), `${reply.text} does not name ${part}`);
    assert.ok(!reply.text.includes('too-short-1') && !reply.text.includes('long enough'));
  }
  assert.deepEqual(await node.list(), []);
});

test('management accounts: a name that is taken is 409, one that is not there is 404', async () => {
  await using node = await openNode();
  assert.equal((await node.call('POST', '/api/v1/accounts', { name: 'ada' })).status, 201);
  assert.equal((await node.call('POST', '/api/v1/accounts', { name: 'ada' })).status, 409);
  assert.equal((await node.call('PATCH', '/api/v1/accounts/bob', { disabled: true })).status, 404);
  assert.equal((await node.call('POST', '/api/v1/accounts/bob/rotate', {})).status, 404);
});

test('management accounts: a secret is answered once, and never listed', async () => {
  await using node = await openNode();
  const reply = await node.call('POST', '/api/v1/accounts', { name: 'ci', kind: 'robot', rights: RIGHTS });
  assert.equal(reply.headers['cache-control'], 'no-store');
  const { account, secret = '' } = accountWithSecret.parse(JSON.parse(reply.text)) as AccountWithSecret;
  assert.match(secret, /^fwy_[A-Za-z0-9_-]{32}$/);
  assert.deepEqual([account.name, account.kind, account.state], ['ci', 'robot', 'in-force']);
  assert.deepEqual(account.rights, RIGHTS);
  const listed = await node.call('GET', '/api/v1/accounts');
  assert.deepEqual(accountList.parse(JSON.parse(listed.text)).accounts, [account]);
  assert.ok(!listed.text.includes(secret) && !listed.text.includes('hash'));
  const own = { name: 'ada', secret: 'a secret of her own' };
  assert.equal((await node.json('POST', '/api/v1/accounts', own)).secret, undefined);
});

test('management accounts: rights, expiry and disable change by themselves', async () => {
  await using node = await openNode();
  await node.call('POST', '/api/v1/accounts', { name: 'ci', rights: RIGHTS });
  const change = async (body: object) => (await node.json('PATCH', '/api/v1/accounts/ci', body)).account;
  const before = (await node.list())[0];
  const expiring = await change({ expiresMs: 1_900_000_000_000 });
  assert.deepEqual([expiring.expiresMs, expiring.rights], [1_900_000_000_000, RIGHTS]);
  const disabled = await change({ disabled: true });
  assert.deepEqual([disabled.state, disabled.secrets], ['disabled', []]);
  const enabled = await change({ disabled: false, expiresMs: null, rights: [] });
  assert.deepEqual([enabled.state, enabled.expiresMs, enabled.rights], ['in-force', 0, []]);
  assert.deepEqual(enabled.secrets, before?.secrets);
  assert.equal(enabled.changedBy, 'administrator');
});

test('management accounts: a rotation answers another secret, and keeps the older one for a while', async () => {
  await using node = await openNode();
  const first = await node.json('POST', '/api/v1/accounts', { name: 'ci' });
  const second = await node.json('POST', '/api/v1/accounts/ci/rotate', { graceMs: 60_000 });
  assert.notEqual(second.secret, first.secret);
  assert.deepEqual(
    second.account.secrets.map(({ untilMs }) => untilMs),
    [0, node.rig.clock.nowMs() + 60_000],
  );
  const third = await node.json('POST', '/api/v1/accounts/ci/rotate', {});
  assert.equal(third.account.secrets.length, 1);
});

type NodeUnderTest = AsyncDisposable & {
  readonly rig: AccessRig;
  call(
    method: 'GET' | 'POST' | 'PATCH',
    path: string,
    body?: unknown,
  ): Promise<{ status: number; text: string; headers: Readonly<Record<string, unknown>> }>;
  json(method: 'POST' | 'PATCH', path: string, body: unknown): Promise<AccountWithSecret>;
  list(): Promise<readonly AccountEntry[]>;
};

async function openNode(): Promise<NodeUnderTest> {
  await using stack = new AsyncDisposableStack();
  const rig = stack.use(await openAccessRig());
  const unused = async () => assert.fail('not asked here');
  const server = stack.use(
    await openManagementServer(
      {
        ...{ accounts: rig.one.editor, changes: { read: unused }, mesh: { status: unused, image: unused } },
        policies: { list: unused, apply: unused, remove: unused },
        tasks: { list: unused },
        garbage: {
          request: () => assert.fail('nobody asked for it'),
          runs: () => [],
        },
        conflicts: { list: unused, find: unused, resolve: unused },
        adminToken: { matches: () => true },
        health: { live: () => [], ready: () => [] },
        ...{ clock: systemClock, random: systemRandom, log: recordingLog([]), metrics: new Registry() },
      },
      { host: '127.0.0.1', port: 0, limits: { drainMs: 50 } },
    ),
  );
  const call: NodeUnderTest['call'] = async (method, path, body) => {
    const reply = await request(`http://127.0.0.1:${server.port}${path}`, {
      method,
      headers: { authorization: 'Bearer any', 'content-type': 'application/json' },
      body: body === undefined || typeof body === 'string' ? (body ?? null) : JSON.stringify(body),
    });
    return { status: reply.statusCode, headers: reply.headers, text: await reply.body.text() };
  };
  const owned = stack.move();
  return {
    ...{ rig, call },
    json: async (method, path, body) => {
      const reply = await call(method, path, body);
      assert.ok(reply.status < 300, reply.text);
      return JSON.parse(reply.text) as AccountWithSecret;
    },
    list: async () => JSON.parse((await call('GET', '/api/v1/accounts')).text).accounts,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
