/** The management API over real sockets: what is refused comes first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { request } from 'undici';
import { z } from 'zod';
import { digestOf } from '#domain/digest.ts';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { imageStatus, meshStatus, policyList, taskList } from '#http/management-schemas.ts';
import { openManagementServer } from '#http/management-server.ts';
import type { ImageStatus, MeshStatus, PolicyEntry } from '#http/views.ts';
import { systemClock } from '#runtime/clock.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import type { TaskRow, TaskState } from '#storage/metadata.ts';
import { type LogLine, recordingLog } from './registry-under-test.ts';

const TOKEN = 'correct-token';

for (const [what, authorization] of [
  ['no token', undefined],
  ['a wrong token', 'Bearer wrong'],
  ['another scheme', `Basic ${TOKEN}`],
  ['two tokens', `Bearer ${TOKEN} ${TOKEN}`],
  ['an empty token', 'Bearer '],
] as const) {
  test(`management: ${what} is 401 everywhere, and nothing is asked`, async () => {
    await using node = await NodeUnderTest.open();
    for (const [method, path] of [
      ['GET', '/api/v1/status'],
      ['GET', '/api/v1/images?name=app'],
      ['GET', '/api/v1/policies'],
      ['POST', '/api/v1/policies'],
      ['DELETE', '/api/v1/policies/a'],
      ['GET', '/api/v1/tasks'],
      ['GET', '/api/v1/accounts'],
      ['POST', '/api/v1/accounts'],
      ['PATCH', '/api/v1/accounts/ada'],
      ['POST', '/api/v1/accounts/ada/rotate'],
      ['GET', '/api/v1/log'],
      ['GET', '/api/v1/gc'],
      ['POST', '/api/v1/gc'],
      ['GET', '/api/v1/conflicts'],
      ['POST', '/api/v1/conflicts/resolve'],
    ] as const) {
      const reply = await node.call(method, path, { authorization });
      assert.deepEqual([reply.status, errorOf(reply).code], [401, 'UNAUTHORIZED'], `${method} ${path}`);
      assert.match(String(reply.headers['www-authenticate']), /^Bearer /);
    }
    assert.deepEqual(node.asked, []);
  });
}

for (const [path, parameter] of [
  ['/api/v1/images', 'name'],
  ['/api/v1/images?name=', 'name'],
  ['/api/v1/images?name=app&nme=x', 'nme'],
  ['/api/v1/tasks?state=sleeping', 'state'],
  ['/api/v1/tasks?limit=0', 'limit'],
  ['/api/v1/tasks?limit=1001', 'limit'],
  ['/api/v1/tasks?limit=x', 'limit'],
  ['/api/v1/conflicts?limit=201', 'limit'],
  ['/api/v1/conflicts?tag=x', 'tag'],
] as const) {
  test(`management: ${path} is 400 and names ${parameter}`, async () => {
    await using node = await NodeUnderTest.open();
    const reply = await node.call('GET', path);
    assert.deepEqual([reply.status, errorOf(reply).code], [400, 'INVALID']);
    assert.match(errorOf(reply).message, new RegExp(parameter));
    assert.deepEqual(node.asked, []);
  });
}

for (const [name, code] of [
  ['APP', 'NAME_INVALID'],
  ['app:-v', 'TAG_INVALID'],
  ['app@sha256:x', 'DIGEST_INVALID'],
] as const) {
  test(`management: the image ${name} is 400 ${code}`, async () => {
    await using node = await NodeUnderTest.open();
    const reply = await node.call('GET', `/api/v1/images?name=${encodeURIComponent(name)}`);
    assert.deepEqual([reply.status, errorOf(reply).code], [400, code]);
  });
}

test('management: errors of others keep their meaning, and ours say nothing but the id', async () => {
  await using node = await NodeUnderTest.open();
  for (const [fault, status, code] of [
    [new RegistryError('MANIFEST_UNKNOWN', 'no such image'), 404, 'MANIFEST_UNKNOWN'],
    [new UnavailableError('nobody answered', { tried: ['us-east: silent'] }), 503, 'UNAVAILABLE'],
    [new TypeError('secret detail'), 500, 'INTERNAL'],
  ] as const) {
    node.fault = fault;
    const reply = await node.call('GET', '/api/v1/images?name=app');
    assert.deepEqual([reply.status, errorOf(reply).code], [status, code]);
    if (status === 503) assert.deepEqual(errorOf(reply).tried, ['us-east: silent']);
    if (status !== 500) continue;
    assert.ok(!reply.text.includes('secret'));
    assert.ok(reply.text.includes(String(reply.headers['fairway-request-id'])));
    assert.ok(node.lines.some((line) => line.level === 'error' && line.fields.err === fault));
  }
});

test('management: a refused policy is 422 with every problem and its place', async () => {
  await using node = await NodeUnderTest.open();
  const problems = [
    { file: 'a.yaml', line: 3, column: 7, message: 'expected a list' },
    { file: 'a.yaml', line: 9, column: 1, message: 'unknown key' },
  ];
  node.fault = Object.assign(new Error('2 problems'), { problems });
  const reply = await node.call('POST', '/api/v1/policies?file=a.yaml', { body: 'kind: Nonsense' });
  assert.equal(reply.status, 422);
  assert.deepEqual(errorOf(reply), { code: 'POLICY_REFUSED', message: '2 problems', problems });
});

test('management: a text over the limit is 413, and an unknown path or policy 404', async () => {
  await using node = await NodeUnderTest.open();
  const large = await node.call('POST', '/api/v1/policies', { body: 'x'.repeat(1024 * 1024 + 1) });
  assert.deepEqual([large.status, errorOf(large).code], [413, 'TOO_LARGE']);
  const path = await node.call('GET', '/api/v1/nothing');
  assert.deepEqual([path.status, errorOf(path).code], [404, 'NOT_FOUND']);
  const malformed = await node.call('GET', '/api/v1/%zz');
  assert.deepEqual([malformed.status, errorOf(malformed).code], [400, 'INVALID']);
  const policy = await node.call('DELETE', '/api/v1/policies/none');
  assert.deepEqual([policy.status, errorOf(policy).code], [404, 'NOT_FOUND']);
});

test('management: liveness, readiness, metrics and the document are open', async () => {
  await using node = await NodeUnderTest.open();
  const anonymous = { authorization: undefined };
  assert.equal((await node.call('GET', '/livez', anonymous)).status, 200);
  assert.equal((await node.call('GET', '/readyz', anonymous)).status, 200);
  node.notReady.push('the store is being opened');
  const ready = await node.call('GET', '/readyz', anonymous);
  assert.deepEqual([ready.status, ready.text], [503, '{"ok":false,"reasons":["the store is being opened"]}']);
  assert.equal((await node.call('GET', '/livez', anonymous)).status, 200);
  const metrics = await node.call('GET', '/metrics', anonymous);
  assert.match(String(metrics.headers['content-type']), /^text\/plain; version=0\.0\.4/);
});

test('management: the document describes every path, its parameters and its answers', async () => {
  await using node = await NodeUnderTest.open();
  const reply = await node.call('GET', '/api/v1/openapi.json', { authorization: undefined });
  const document = JSON.parse(reply.text);
  assert.equal(document.openapi, '3.1.0');
  const operations = Object.entries<object>(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  );
  assert.deepEqual(operations.sort(), [
    'delete /api/v1/policies/{name}',
    'get /api/v1/accounts',
    'get /api/v1/conflicts',
    'get /api/v1/gc',
    'get /api/v1/images',
    'get /api/v1/log',
    'get /api/v1/policies',
    'get /api/v1/status',
    'get /api/v1/tasks',
    'patch /api/v1/accounts/{name}',
    'post /api/v1/accounts',
    'post /api/v1/accounts/{name}/rotate',
    'post /api/v1/conflicts/resolve',
    'post /api/v1/gc',
    'post /api/v1/policies',
  ]);
  const [name] = document.paths['/api/v1/images'].get.parameters;
  assert.deepEqual([name.name, name.in, name.required, name.schema.type], ['name', 'query', true, 'string']);
  const tasks = document.paths['/api/v1/tasks'].get;
  assert.deepEqual(
    tasks.parameters.map((parameter: { required: boolean }) => parameter.required),
    [false, false],
  );
  const status = document.paths['/api/v1/status'].get.responses['200'].content['application/json'].schema;
  assert.deepEqual(Object.keys(status.properties).sort(), Object.keys(STATUS).sort());
});

test('management: status, image, policies and tasks are answered in their published shapes', async () => {
  await using node = await NodeUnderTest.open();
  const status = await node.call('GET', '/api/v1/status');
  assert.deepEqual(meshStatus.parse(JSON.parse(status.text)), STATUS);
  const digest = digestOf('x');
  for (const [name, expected] of [
    ['team/app', 'image team/app latest'],
    ['team/app:v1', 'image team/app v1'],
    [`team/app@${digest}`, `image team/app ${digest}`],
    [`team/app:v1@${digest}`, `image team/app ${digest}`],
  ] as const) {
    const image = await node.call('GET', `/api/v1/images?name=${encodeURIComponent(name)}`);
    assert.deepEqual(imageStatus.parse(JSON.parse(image.text)), IMAGE);
    assert.equal(node.asked.at(-1), expected);
  }
  const policies = await node.call('GET', '/api/v1/policies');
  assert.deepEqual(policyList.parse(JSON.parse(policies.text)).policies, [POLICY]);
  for (const [query, expected] of [
    ['', 'tasks queued,running,parked 100'],
    ['?state=done&limit=5', 'tasks done 5'],
    ['?state=done&state=parked', 'tasks done,parked 100'],
  ] as const) {
    const tasks = await node.call('GET', `/api/v1/tasks${query}`);
    assert.equal(taskList.parse(JSON.parse(tasks.text)).tasks[0]?.policy, TASK.policy);
    assert.equal(node.asked.at(-1), expected);
  }
});

test('management: a policy is applied and removed by the administrator', async () => {
  await using node = await NodeUnderTest.open();
  const body = 'kind: ReplicationPolicy\n';
  for (const type of ['application/yaml', 'text/plain', undefined]) {
    const applied = await node.call('POST', '/api/v1/policies?file=a.yaml', { body, type });
    assert.equal(applied.status, 200);
    assert.deepEqual(JSON.parse(applied.text), { applied: [APPLIED] });
    assert.equal(node.asked.at(-1), `apply a.yaml administrator ${body}`);
  }
  const removed = await node.call('DELETE', '/api/v1/policies/everywhere');
  assert.deepEqual([removed.status, removed.text], [204, '']);
  assert.equal(node.asked.at(-1), 'remove everywhere');
});

type Reply = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
};
type CallOptions = {
  readonly authorization?: string | undefined;
  readonly body?: string;
  readonly type?: string | undefined;
};

class NodeUnderTest implements AsyncDisposable {
  readonly asked: string[] = [];
  readonly lines: LogLine[] = [];
  readonly notReady: string[] = [];
  fault: unknown;
  readonly #stack = new AsyncDisposableStack();
  port = 0;

  static async open(): Promise<NodeUnderTest> {
    const node = new NodeUnderTest();
    const server = await openManagementServer(
      {
        mesh: {
          status: async () => node.#answer('status', STATUS),
          image: async (repository, reference) => node.#answer(`image ${repository} ${reference}`, IMAGE),
        },
        policies: {
          list: async () => node.#answer('list', [POLICY]),
          apply: async (text, file, context) =>
            node.#answer(`apply ${file} ${context.principal} ${text}`, [APPLIED]),
          remove: async (name) => node.#answer(`remove ${name}`, name === POLICY.name),
        },
        conflicts: {
          list: async () => node.#answer('conflicts', { conflicts: [] }),
          find: async () => node.#answer('conflict', undefined),
          resolve: async () => node.#answer('resolve', undefined),
        },
        tasks: {
          list: async ({ states, limit }) => node.#answer(`tasks ${states.join(',')} ${limit}`, [TASK]),
        },
        accounts: {
          list: async () => node.#answer('accounts', []),
          create: async ({ name }) => node.#answer(`create ${name}`, undefined),
          rotate: async (name) => node.#answer(`rotate ${name}`, undefined),
          change: async (name) => node.#answer(`change ${name}`, undefined),
        },
        changes: {
          read: async ({ limit }) => node.#answer(`log ${limit}`, { changes: [] }),
        },
        garbage: { request: () => assert.fail('nobody asked for it'), runs: () => [] },
        adminToken: { matches: (candidate) => candidate === TOKEN },
        health: { live: () => [], ready: () => node.notReady },
        clock: systemClock,
        random: systemRandom,
        log: recordingLog(node.lines),
        metrics: new Registry(),
      },
      { host: '127.0.0.1', port: 0, limits: { drainMs: 50 } },
    );
    node.#stack.use(server);
    node.port = server.port;
    return node;
  }

  #answer<Value>(asked: string, value: Value): Value {
    this.asked.push(asked);
    if (this.fault !== undefined) throw this.fault;
    return value;
  }

  async call(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    options: CallOptions = {},
  ): Promise<Reply> {
    const authorization = 'authorization' in options ? options.authorization : `Bearer ${TOKEN}`;
    const reply = await request(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: {
        ...(authorization === undefined ? {} : { authorization }),
        ...(options.type === undefined ? {} : { 'content-type': options.type }),
      },
      body: options.body ?? null,
    });
    return { status: reply.statusCode, headers: reply.headers, text: await reply.body.text() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

const failed = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    problems: z.array(z.unknown()).optional(),
    tried: z.array(z.string()).optional(),
  }),
});

function errorOf(reply: Reply): z.infer<typeof failed>['error'] {
  return failed.parse(JSON.parse(reply.text)).error;
}

const STATUS: MeshStatus = {
  mesh: 'demo',
  region: 'eu-west',
  epoch: '00000000000000aa',
  sequence: 7,
  formerEpochs: [],
  registry: 'http://127.0.0.1:5001',
  management: 'http://127.0.0.1:5101',
  startedMs: 1,
  tags: 2,
  manifests: 3,
  blobs: { count: 4, sizeBytes: 5 },
  tasks: { queued: 1, running: 0, done: 6, parked: 0 },
  peers: [
    {
      region: 'us-east',
      up: true,
      sinceMs: 1,
      roundTripMs: 0.4,
      reason: '',
      behindClaims: 0,
      unconfirmedClaims: 1,
      lagMs: 0,
    },
  ],
  soleCopies: [{ repository: 'app', digest: digestOf('x'), tags: ['v1'] }],
  soleCopiesCapped: false,
};

const IMAGE: ImageStatus = {
  repository: 'team/app',
  reference: 'v1',
  digest: digestOf('x'),
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  tags: ['v1'],
  conflict: false,
  regions: [
    {
      region: 'eu-west',
      state: 'complete',
      sizeBytes: 10,
      sizeBytesHere: 10,
      bytesBySource: { push: 10 },
      storedMs: 1,
    },
  ],
};

const POLICY: PolicyEntry = {
  kind: 'ReplicationPolicy',
  name: 'everywhere',
  document: 'kind: ReplicationPolicy\n',
  appliedBy: 'administrator',
  appliedIn: 'eu-west',
  appliedMs: 1,
};

const APPLIED = { kind: 'ReplicationPolicy', name: 'everywhere', change: 'created' } as const;

const TASK: TaskRow = {
  id: 1,
  policy: 'everywhere',
  repository: parseRepositoryName('app'),
  digest: digestOf('x'),
  tag: 'v1',
  nowMs: 1,
  state: 'queued' satisfies TaskState,
  attempts: 0,
  dueMs: 1,
  bytes: 0,
  reason: '',
  changedMs: 1,
};
