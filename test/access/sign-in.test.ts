/** Names and secrets: refused alike whatever is wrong, slowly for who guesses, and not at all for who knows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newKdf, SecretHasher } from '#access/secret-hash.ts';
import { SignIn, type SignInConfig } from '#access/sign-in.ts';
import { RegistryError } from '#domain/errors.ts';
import { silentLog } from '#runtime/log.ts';
import { systemRandom } from '#runtime/random.ts';
import { type AccessRig, CHEAP, contextOf, openAccessRig } from './access-rig.ts';

const NEVER = AbortSignal.any([]);

test('sign-in: everything that is wrong is refused alike, at the price of one hash', async () => {
  await using rig = await openSignInRig();
  await rig.rig.one.editor.create(
    { name: 'gone', kind: 'robot', rights: [], expiresMs: rig.rig.clock.nowMs() + 1, secret: 'right secret' },
    contextOf(),
  );
  rig.rig.clock.advance(1);
  for (const [name, secret] of [
    ['ada', 'wrong'],
    ['ada', `${rig.secret}x`],
    ['ada', rig.secret.slice(0, -1)],
    ['nobody', rig.secret],
    ['No Such:Name', rig.secret],
    ['anonymous', rig.secret],
    ['', rig.secret],
    ['gone', 'right secret'],
  ] as const) {
    rig.hashed.length = 0;
    assert.equal(await rig.check(name, secret), undefined, name);
    assert.deepEqual(rig.hashed, [CHEAP.memoryKib], name);
  }
});

test('sign-in: no secret, and one that is too long, cost nothing', async () => {
  await using rig = await openSignInRig();
  for (const secret of ['', 'x'.repeat(1025)]) assert.equal(await rig.check('ada', secret), undefined);
  assert.deepEqual(rig.hashed, []);
});

test('sign-in: a right pair is computed once, and asked of the account each time', async () => {
  await using rig = await openSignInRig();
  for (let turn = 0; turn < 3; turn += 1) {
    assert.equal((await rig.check('ada', rig.secret))?.account.name, 'ada');
  }
  assert.equal(rig.hashed.length, 1);
  await rig.rig.one.editor.change('ada', { disabled: true }, contextOf());
  assert.equal(await rig.check('ada', rig.secret), undefined);
});

test('sign-in: guesses at one name are slowed from every address, unknown names like known ones', async () => {
  await using rig = await openSignInRig({ perAccount: { free: 2, baseMs: 1000, maxMs: 4000 } });
  for (const name of ['ada', 'nobody']) {
    const waits: number[] = [];
    for (let guess = 0; guess < 7; guess += 1) {
      waits.push(await rig.waitSeconds(name, `wrong ${guess}`, `10.0.${guess}.1`));
      rig.rig.clock.advance((waits.at(-1) ?? 0) * 1000);
      if ((waits.at(-1) ?? 0) > 0) await rig.check(name, `wrong again ${guess}`, `10.1.${guess}.1`);
    }
    assert.deepEqual(waits, [0, 0, 0, 1, 2, 4, 4], name);
  }
});

test('sign-in: guesses from one network are slowed whatever the name', async () => {
  const perAddress = { free: 1, baseMs: 1000, maxMs: 8000 };
  await using rig = await openSignInRig({ perAddress });
  const from = (host: number) => `2001:db8::${host.toString(16)}`;
  assert.deepEqual(await rig.waitSeconds('a', 'wrong', from(1)), 0);
  assert.deepEqual(await rig.waitSeconds('b', 'wrong', from(2)), 0);
  assert.deepEqual(await rig.waitSeconds('c', 'wrong', from(3)), 1);
  assert.deepEqual(await rig.waitSeconds('c', 'wrong', '2001:db8:0:1::3'), 0, 'another network');
  assert.deepEqual(await rig.waitSeconds('c', 'wrong', '10.0.0.1'), 0);
});

test('sign-in: many guesses at the same moment are counted before any is answered', async () => {
  await using rig = await openSignInRig({ perAccount: { free: 4, baseMs: 60_000, maxMs: 60_000 } });
  const guesses = Array.from({ length: 20 }, (_, guess) =>
    rig.waitSeconds('ada', `wrong ${guess}`, `h${guess}`),
  );
  const waits = await Promise.all(guesses);
  assert.equal(waits.filter((wait) => wait === 0).length, 5);
  assert.equal(rig.hashed.length, 5);
});

test('sign-in: who signed in before is not kept out by the guesses of others', async () => {
  await using rig = await openSignInRig({ perAccount: { free: 0, baseMs: 60_000, maxMs: 60_000 } });
  await rig.check('ada', rig.secret);
  await rig.check('ada', 'wrong', 'elsewhere');
  assert.equal(await rig.waitSeconds('ada', 'another', 'elsewhere'), 60);
  assert.equal((await rig.check('ada', rig.secret))?.account.name, 'ada');
});

test('sign-in: a success forgets the failures of its name, not those of its address', async () => {
  const limit = { free: 1, baseMs: 1000, maxMs: 1000 };
  await using rig = await openSignInRig({ perAccount: limit, perAddress: { ...limit, free: 2 } });
  await rig.check('ada', 'wrong', 'h');
  await rig.check('ada', rig.secret, 'h');
  await rig.check('ada', 'wrong', 'h');
  assert.equal(await rig.waitSeconds('bob', 'wrong', 'h'), 0);
  assert.equal(await rig.waitSeconds('bob', 'wrong', 'h'), 1);
  assert.equal(await rig.waitSeconds('ada', 'wrong', 'other'), 0);
});

test('sign-in: failures are forgotten after a quiet while', async () => {
  await using rig = await openSignInRig({ perAccount: { free: 0, baseMs: 1_000_000, maxMs: 10_000_000 } });
  await rig.check('ada', 'wrong');
  assert.equal(await rig.waitSeconds('ada', 'wrong'), 1000);
  rig.rig.clock.advance(15 * 60_000);
  assert.equal(await rig.waitSeconds('ada', 'wrong'), 0);
});

test('sign-in: a full line of hashes is 429 with when to come back, and is nobody’s failure', async () => {
  await using rig = await openSignInRig({ perAddress: { free: 0, baseMs: 60_000, maxMs: 60_000 } });
  const kdf = newKdf(systemRandom, CHEAP);
  const hasher = new SecretHasher();
  const line = Array.from({ length: 34 }, () => hasher.hash('x', kdf, NEVER));
  const full = await hasher.hash('x', kdf, NEVER).catch((thrown: unknown) => thrown);
  assert.ok(full instanceof RegistryError);
  assert.deepEqual([full.status, full.headers['Retry-After']], [429, '1']);
  const signIn = new SignIn(
    { accounts: rig.rig.one.book, hasher, clock: rig.rig.clock, random: systemRandom, log: silentLog },
    { cost: CHEAP, perAddress: { free: 0, baseMs: 60_000, maxMs: 60_000 } },
  );
  const credentials = { name: 'ada', secret: rig.secret, address: 'h' };
  await assert.rejects(signIn.check(credentials, NEVER), { status: 429 });
  await Promise.all(line);
  assert.equal((await signIn.check(credentials, NEVER))?.account.name, 'ada');
});

test('sign-in: a client that left waits in no line', async () => {
  const kdf = newKdf(systemRandom, CHEAP);
  const hasher = new SecretHasher();
  const running = [hasher.hash('x', kdf, NEVER), hasher.hash('x', kdf, NEVER)];
  const gone = new AbortController();
  const waiting = hasher.hash('x', kdf, gone.signal);
  gone.abort(new Error('gone'));
  await assert.rejects(waiting, /gone/);
  await Promise.all(running);
});

test('sign-in: the same secret written in two ways of Unicode is the same', async () => {
  const kdf = newKdf(systemRandom, CHEAP);
  const hasher = new SecretHasher();
  const [composed, decomposed] = await Promise.all(
    ['p\u00e4ssword', 'pa\u0308ssword'].map((text) => hasher.hash(text, kdf, NEVER)),
  );
  assert.deepEqual(composed, decomposed);
});

test('sign-in: the log names accounts that exist, and nothing that was typed', async () => {
  await using rig = await openSignInRig();
  await rig.check('ada', 'wrong-secret', '10.0.0.7');
  await rig.check('hunter2-in-the-wrong-field', 'wrong-secret', '10.0.0.7');
  const refusals = rig.rig.lines.filter(({ event }) => event === 'sign-in refused');
  assert.deepEqual(
    refusals.map(({ fields }) => [fields.address, fields.reason]),
    [
      ['10.0.0.7', 'ada'],
      ['10.0.0.7', 'no such account'],
    ],
  );
  const text = JSON.stringify(rig.rig.lines);
  for (const typed of ['wrong-secret', 'hunter2', rig.secret]) assert.ok(!text.includes(typed), typed);
});

type SignInRig = AsyncDisposable & {
  readonly rig: AccessRig;
  readonly secret: string;
  /** Memory of each hash that was computed. */
  readonly hashed: number[];
  check(name: string, secret: string, address?: string): ReturnType<SignIn['check']>;
  /** What `Retry-After` says; 0 when the try was made, and refused. */
  waitSeconds(name: string, secret: string, address?: string): Promise<number>;
};

async function openSignInRig(config: SignInConfig = {}): Promise<SignInRig> {
  const rig = await openAccessRig();
  const made = await rig.one.editor.create({ name: 'ada', kind: 'person', rights: [] }, contextOf());
  const hashed: number[] = [];
  const hasher = new SecretHasher();
  const counting = {
    hash: (...args: Parameters<SecretHasher['hash']>) => {
      hashed.push(args[1].memoryKib);
      return hasher.hash(...args);
    },
  };
  const signIn = new SignIn(
    { accounts: rig.one.book, hasher: counting, clock: rig.clock, random: systemRandom, log: rig.one.log },
    { cost: CHEAP, ...config },
  );
  const check: SignInRig['check'] = (name, secret, address = 'here') =>
    signIn.check({ name, secret, address }, NEVER);
  return {
    ...{ rig, hashed, check },
    secret: made?.secret ?? assert.fail(),
    waitSeconds: async (name, secret, address) => {
      try {
        assert.equal(await check(name, secret, address), undefined);
        return 0;
      } catch (thrown) {
        assert.ok(thrown instanceof RegistryError && thrown.code === 'TOOMANYREQUESTS', String(thrown));
        return Number(thrown.headers['Retry-After']);
      }
    },
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  };
}
