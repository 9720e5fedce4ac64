/** Tokens and passwords, against a registry and a token service that check what they are shown. */
import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { test } from 'node:test';
import type { Credentials } from '#client/bearer-auth.ts';
import { RegistryClient } from '#client/registry-client.ts';
import { UnavailableError } from '#domain/errors.ts';
import { parseRepositoryName } from '#domain/name.ts';
import {
  Counterpart,
  contextOf,
  manifestBytes,
  REPOSITORY,
  sendError,
  sendManifest,
  TAG,
} from '#test/client/counterpart.ts';
import { ManualClock } from '#test/client/manual-clock.ts';

const MANIFEST = manifestBytes('a');
const REQUEST = { repository: REPOSITORY, reference: TAG };
const SCOPE = 'repository:library/alpine:pull';
const ME: Credentials = { username: 'me', password: 'pass:word' };
const BASIC_ME = `Basic ${Buffer.from('me:pass:word').toString('base64')}`;

type Service = {
  /** What the token service answers; default: a token for the scope. */
  readonly answer?: (query: URLSearchParams, request: IncomingMessage, response: ServerResponse) => void;
  readonly realm?: (tokens: string) => string;
  readonly credentials?: Credentials;
};

/** A registry that wants `Bearer <scope>#<generation>`, and its token service on another port. */
async function start(service: Service = {}) {
  const stack = new AsyncDisposableStack();
  const clock = new ManualClock();
  const state = { generation: 1 };
  const tokens = stack.use(
    await Counterpart.start((request, response) => {
      const query = new URL(request.url ?? '', 'http://tokens').searchParams;
      if (service.answer !== undefined) return service.answer(query, request, response);
      response.end(
        JSON.stringify({ token: `${query.getAll('scope').join('+')}#${state.generation}`, expires_in: 300 }),
      );
    }),
  );
  const registry = stack.use(
    await Counterpart.start((request, response) => {
      const scope = `repository:${/^\/v2\/(.+)\/manifests\//.exec(request.url ?? '')?.[1]}:pull`;
      if (request.headers.authorization === `Bearer ${scope}#${state.generation}`) {
        sendManifest(response, MANIFEST);
        return;
      }
      const realm = service.realm?.(tokens.url) ?? `${tokens.url}/token`;
      sendError(response, 401, {
        'www-authenticate': `Bearer realm="${realm}",service="test registry",scope="${scope}"`,
      });
    }),
  );
  const { credentials } = service;
  const client = stack.use(
    new RegistryClient(
      { clock },
      {
        name: 'hub',
        url: registry.url,
        ...(credentials === undefined ? {} : { credentials: async () => credentials }),
      },
    ),
  );
  return { clock, state, tokens, registry, client, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function unavailable(pattern: RegExp) {
  return (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError, `not an UnavailableError: ${thrown}`);
    assert.match(thrown.message, pattern);
    return true;
  };
}

for (const realm of ['http://tokens.example.test/token', 'ftp://127.0.0.1/token', '', 'token']) {
  test(`bearer auth: credentials do not go to the realm "${realm}"`, async () => {
    let reads = 0;
    await using under = await start({ realm: () => realm });
    await using client = new RegistryClient(
      { clock: under.clock },
      {
        name: 'hub',
        url: under.registry.url,
        credentials: async () => {
          reads += 1;
          return ME;
        },
      },
    );
    await assert.rejects(client.fetchManifest(REQUEST, contextOf()), unavailable(/"hub" asks for a token/));
    assert.equal(under.tokens.seen.length, 0);
    assert.ok(reads <= 1);
  });
}

for (const { what, body, pattern } of [
  { what: 'no JSON', body: '<html>', pattern: /without a token/ },
  { what: 'no token', body: '{"expires_in":300}', pattern: /without a token/ },
  {
    what: 'a token that would split the header',
    body: '{"token":"a\\r\\nb: c"}',
    pattern: /without a token/,
  },
]) {
  test(`bearer auth: a token service that answers ${what} is unavailable`, async () => {
    await using under = await start({ answer: (_query, _request, response) => response.end(body) });
    await assert.rejects(under.client.fetchManifest(REQUEST, contextOf()), unavailable(pattern));
  });
}

test('bearer auth: a token service that refuses the credentials is named with them', async () => {
  await using under = await start({
    credentials: ME,
    answer: (_query, _request, response) => sendError(response, 401),
  });
  await assert.rejects(
    under.client.fetchManifest(REQUEST, contextOf()),
    unavailable(/"hub".*refused access \(401\).*with its credentials/),
  );
});

test('bearer auth: a token that the registry does not take is tried once, not for ever', async () => {
  await using under = await start({
    answer: (_query, _request, response) => response.end('{"token":"useless"}'),
  });
  await assert.rejects(
    under.client.fetchManifest(REQUEST, contextOf()),
    unavailable(/refused access \(401\)/),
  );
  assert.equal(under.registry.seen.length, 2);
  assert.equal(under.tokens.seen.length, 1);
});

test('bearer auth: credentials that cannot be read are an error of their own', async () => {
  await using under = await start();
  await using client = new RegistryClient(
    { clock: under.clock },
    {
      name: 'hub',
      url: under.registry.url,
      credentials: () => Promise.reject(new UnavailableError('HUB_PASSWORD is not set')),
    },
  );
  await assert.rejects(client.fetchManifest(REQUEST, contextOf()), unavailable(/HUB_PASSWORD is not set/));
  assert.equal(under.tokens.seen.length, 0);
});

test('bearer auth: a challenge of an unknown scheme, or for a password that is not there, ends at once', async () => {
  for (const challenge of ['Negotiate', 'Basic realm="registry"']) {
    await using registry = await Counterpart.start((_request, response) =>
      sendError(response, 401, { 'www-authenticate': challenge }),
    );
    await using client = new RegistryClient({ clock: new ManualClock() }, { name: 'hub', url: registry.url });
    await assert.rejects(
      client.fetchManifest(REQUEST, contextOf()),
      unavailable(/"hub".*wants credentials for manifest latest of library\/alpine/),
    );
    assert.equal(registry.seen.length, 1);
  }
});

test('bearer auth: an anonymous token is fetched once, for the scope, and used until it ends', async () => {
  await using under = await start();
  assert.ok(await under.client.fetchManifest(REQUEST, contextOf()));
  assert.ok(await under.client.fetchManifest(REQUEST, contextOf()));
  assert.equal(under.tokens.seen.length, 1);
  assert.equal(under.registry.seen.length, 3);
  const [asked] = under.tokens.seen;
  const query = new URL(asked?.path ?? '', 'http://tokens').searchParams;
  assert.deepEqual(query.getAll('scope'), [SCOPE]);
  assert.equal(query.get('service'), 'test registry');
  assert.equal(asked?.headers.authorization, undefined);
  under.clock.advance(294_999);
  assert.ok(await under.client.fetchManifest(REQUEST, contextOf()));
  assert.equal(under.tokens.seen.length, 1);
  under.clock.advance(1);
  assert.ok(await under.client.fetchManifest(REQUEST, contextOf()));
  assert.equal(under.tokens.seen.length, 2);
});

test('bearer auth: each repository has its own token', async () => {
  await using under = await start();
  const other = { ...REQUEST, repository: parseRepositoryName('library/debian') };
  assert.ok(await under.client.fetchManifest(REQUEST, contextOf()));
  assert.ok(await under.client.fetchManifest(other, contextOf()));
  assert.equal(under.tokens.seen.length, 2);
});

test('bearer auth: a token that was revoked early is replaced', async () => {
  await using under = await start();
  assert.ok(await under.client.fetchManifest(REQUEST, contextOf()));
  under.state.generation += 1;
  assert.ok(await under.client.fetchManifest(REQUEST, contextOf()));
  assert.equal(under.tokens.seen.length, 2);
});

test('bearer auth: however many ask at the same moment, one token is fetched', async () => {
  const held: (() => void)[] = [];
  const asked = Promise.withResolvers<void>();
  await using under = await start({
    answer: (query, _request, response) => {
      held.push(() => response.end(JSON.stringify({ access_token: `${query.get('scope')}#1` })));
      asked.resolve();
    },
  });
  const all = Promise.all(Array.from({ length: 20 }, () => under.client.fetchManifest(REQUEST, contextOf())));
  await asked.promise;
  for (const answer of held) answer();
  assert.ok((await all).every((manifest) => manifest !== undefined));
  assert.equal(under.tokens.seen.length, 1);
});

test('bearer auth: credentials are shown to the token service, and only there', async () => {
  await using under = await start({ credentials: ME });
  assert.ok(await under.client.fetchManifest(REQUEST, contextOf()));
  assert.deepEqual(
    under.tokens.seen.map(({ headers }) => headers.authorization),
    [BASIC_ME],
  );
  assert.deepEqual(
    under.registry.seen.map(({ headers }) => headers.authorization),
    [undefined, `Bearer ${SCOPE}#1`],
  );
});

test('bearer auth: a registry that wants a password gets it, and is not made to ask again', async () => {
  await using registry = await Counterpart.start((request, response) => {
    if (request.headers.authorization === BASIC_ME) sendManifest(response, MANIFEST);
    else sendError(response, 401, { 'www-authenticate': 'Basic realm="registry"' });
  });
  await using client = new RegistryClient(
    { clock: new ManualClock() },
    { name: 'hub', url: registry.url, credentials: async () => ME },
  );
  assert.ok(await client.fetchManifest(REQUEST, contextOf()));
  assert.ok(await client.fetchManifest(REQUEST, contextOf()));
  assert.equal(registry.seen.length, 3);
});
