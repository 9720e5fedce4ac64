/** Conflicts in the management API, over real sockets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { request } from 'undici';
import { digestOf } from '#domain/digest.ts';
import { conflictList } from '#http/management-schemas.ts';
import { openManagementServer } from '#http/management-server.ts';
import type { TagConflict } from '#http/views.ts';
import { systemClock } from '#runtime/clock.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';

const CONFLICT: TagConflict = {
  repository: 'team/app',
  tag: 'v1',
  sinceMs: 2,
  sides: [
    { digest: digestOf('x'), region: 'us-east', principal: 'bob', changedMs: 2, wins: true },
    { digest: digestOf('y'), region: 'eu-west', principal: 'alice', changedMs: 1, wins: false },
  ],
};
const RESOLVED = { repository: 'team/app', tag: 'v1', digest: digestOf('x') };

/** A server whose conflicts are one, and which has nothing else. */
async function openServer() {
  const asked: string[] = [];
  const answer = <Value>(question: string, value: Value): Value => {
    asked.push(question);
    return value;
  };
  const nothing = async () => assert.fail('only conflicts are asked for');
  const server = await openManagementServer(
    {
      conflicts: {
        list: async ({ repository, tag }, limit) =>
          answer(`conflicts after ${repository}:${tag} ${limit}`, {
            conflicts: [CONFLICT],
            ...(limit === 1 ? { next: CONFLICT } : {}),
          }),
        find: async ({ tag }) => answer('find', tag === CONFLICT.tag ? CONFLICT : undefined),
        resolve: async ({ repository, tag, to }, { principal }) =>
          answer(
            `resolve ${repository}:${tag} ${to} ${principal}`,
            tag === CONFLICT.tag ? RESOLVED : undefined,
          ),
      },
      mesh: { status: nothing, image: nothing },
      policies: { list: nothing, apply: nothing, remove: nothing },
      tasks: { list: nothing },
      garbage: { request: () => assert.fail('only conflicts are asked for'), runs: () => [] },
      accounts: { list: nothing, create: nothing, change: nothing, rotate: nothing },
      changes: { read: nothing },
      adminToken: { matches: () => true },
      health: { live: () => [], ready: () => [] },
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      metrics: new Registry(),
    },
    { host: '127.0.0.1', port: 0, limits: { drainMs: 50 } },
  );
  return {
    asked,
    call: async (method: 'GET' | 'POST', path: string, { body }: { readonly body?: string } = {}) => {
      const url = `http://127.0.0.1:${server.port}${path}`;
      const reply = await request(url, {
        method,
        headers: { authorization: 'Bearer token' },
        body: body ?? null,
      });
      return { status: reply.statusCode, text: await reply.body.text() };
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

test('management: conflicts are listed page by page, one by its name, and resolved by the administrator', async () => {
  await using node = await openServer();
  const listOf = async (query: string) => {
    const { text } = await node.call('GET', `/api/v1/conflicts${query}`);
    return conflictList.parse(JSON.parse(text));
  };
  assert.deepEqual(await listOf('?limit=1'), { conflicts: [CONFLICT], next: 'team/app:v1' });
  assert.equal(node.asked.at(-1), 'conflicts after : 1');
  assert.deepEqual(await listOf('?after=app:v1'), { conflicts: [CONFLICT] });
  assert.equal(node.asked.at(-1), 'conflicts after app:v1 100');
  assert.deepEqual(await listOf('?name=team/app:v1'), { conflicts: [CONFLICT] });
  assert.deepEqual(await listOf('?name=team/app:v2'), { conflicts: [] });
  const resolve = async (body: string) => await node.call('POST', '/api/v1/conflicts/resolve', { body });
  const resolved = await resolve(JSON.stringify({ name: 'team/app:v1', to: 'us-east' }));
  assert.deepEqual([resolved.status, JSON.parse(resolved.text)], [200, RESOLVED]);
  assert.equal(node.asked.at(-1), 'resolve team/app:v1 us-east administrator');
});

test('management: what cannot be resolved is refused with the reason', async () => {
  await using node = await openServer();
  for (const [body, status, code] of [
    ['nonsense', 400, 'INVALID'],
    ['', 400, 'INVALID'],
    ['{"name":"team/app:v1"}', 400, 'INVALID'],
    ['{"name":"team/app:v1","to":"x","force":true}', 400, 'INVALID'],
    ['{"name":"team/app","to":"x"}', 400, 'TAG_INVALID'],
    ['{"name":"TEAM:v1","to":"x"}', 400, 'NAME_INVALID'],
    ['{"name":"team/app:v2","to":"us-east"}', 404, 'NOT_FOUND'],
  ] as const) {
    const reply = await node.call('POST', '/api/v1/conflicts/resolve', { body });
    assert.deepEqual([reply.status, JSON.parse(reply.text).error.code], [status, code], body);
  }
});
