/** Accounts as claims: made in one region, in force in all; changes that race take away and never add. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { AccountBook } from '#access/account-book.ts';
import { accountNameFault, accountText, parseAccount } from '#access/account-document.ts';
import type { AccountDraft, AccountWithSecret } from '#access/account-editor.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { UnavailableError } from '#domain/errors.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { silentLog } from '#runtime/log.ts';
import { contextOf, openAccessRig, type RegionOfRig, until } from './access-rig.ts';

const PULL_ALL = [{ repositories: ['**'], actions: ['pull' as const] }];
const HOUR_MS = 3_600_000;
const WEB = parseRepositoryName('prod/web');

test('account: names that could be read as something else are refused', () => {
  for (const name of [
    '',
    'Ada',
    'a:b',
    '-a',
    'a-',
    'a b',
    'ä',
    'a\n',
    'administrator',
    'fairway',
    'x'.repeat(129),
  ]) {
    assert.notEqual(accountNameFault(name), undefined, name);
  }
  for (const name of ['a', 'ada', 'ada@example.com', 'ci_1', 'x'.repeat(128), 'anonymous']) {
    assert.equal(accountNameFault(name), undefined, name);
  }
});

test('account: a name that is taken is not taken over, be it disabled or expired', async () => {
  await using rig = await openAccessRig();
  const { editor } = rig.one;
  await create(rig.one, { name: 'ada', expiresMs: rig.clock.nowMs() + HOUR_MS });
  await editor.change('ada', { disabled: true }, contextOf());
  rig.clock.advance(2 * HOUR_MS);
  assert.equal(await editor.create(draft({ name: 'ada' }), contextOf()), undefined);
});

test('account: what is unknown, or has no secret, is neither changed nor rotated', async () => {
  await using rig = await openAccessRig();
  const { editor } = rig.one;
  await create(rig.one, { name: 'anonymous' });
  assert.equal(await editor.change('nobody', { disabled: true }, contextOf()), undefined);
  assert.equal(await editor.rotate('nobody', { graceMs: 0 }, contextOf()), undefined);
  assert.equal(await editor.rotate('anonymous', { graceMs: 0 }, contextOf()), undefined);
  assert.deepEqual(
    (await editor.list()).map(({ name, secrets }) => [name, secrets.length]),
    [['anonymous', 0]],
  );
});

test('account: one that would not fit a claim is refused, and nothing is written', async () => {
  await using rig = await openAccessRig();
  const repositories = Array.from({ length: 40 }, (_, position) => `${'a'.repeat(200)}${position}`);
  const rights = [{ repositories, actions: ['pull' as const] }];
  await assert.rejects(rig.one.editor.create(draft({ name: 'ada', rights }), contextOf()), z.ZodError);
  assert.deepEqual(await rig.one.editor.list(), []);
  assert.equal(await rig.one.book.isEmpty(), true);
});

test('account: a change that was made from an older state is refused', async () => {
  await using rig = await openAccessRig();
  await create(rig.one, { name: 'ada' });
  const before = await rig.one.book.stored('ada');
  await rig.one.editor.change('ada', { disabled: true }, contextOf());
  const document = accountText(before?.account?.document ?? assert.fail());
  for (const replaces of [before?.dot, undefined]) {
    const change = { change: 'set-account', name: 'ada', document, replaces } as const;
    await assert.rejects(rig.one.write(change), UnavailableError);
  }
  assert.equal((await rig.one.book.find('ada'))?.isInForce(rig.clock.nowMs()), false);
});

test('account: a value that this version cannot read grants nothing, and is not overwritten', async () => {
  await using rig = await openAccessRig();
  const document = '{"version":2,"kind":"ghost"}';
  await rig.one.write({ change: 'set-account', name: 'ada', document, replaces: undefined });
  assert.equal(await rig.one.book.isEmpty(), false);
  assert.equal(await rig.one.book.find('ada'), undefined);
  assert.equal(await rig.one.editor.change('ada', { disabled: false }, contextOf()), undefined);
  assert.equal(await rig.one.editor.create(draft({ name: 'ada' }), contextOf()), undefined);
  assert.equal((await rig.one.editor.list())[0]?.state, 'unreadable');
});

test('account: parameters that would cost every region its memory are not read', async () => {
  const document = parseAccount(Buffer.from(accountText(SAMPLE)));
  assert.deepEqual(document, SAMPLE);
  for (const kdf of [
    { memoryKib: 4_000_000 },
    { passes: 1000 },
    { parallelism: 64 },
    { algorithm: 'scrypt' },
  ]) {
    const text = JSON.stringify({ ...SAMPLE, kdf: { ...SAMPLE.kdf, ...kdf } });
    assert.equal(parseAccount(Buffer.from(text)), undefined, text);
  }
});

test('account: its claim is canonical, and holds no secret', async () => {
  await using rig = await openAccessRig();
  const { secret } = await create(rig.one, { name: 'ada' });
  const row = await rig.one.metadata.views.get({ kind: CLAIM_KIND.account, repository: '', name: 'ada' });
  const text = Buffer.from(row?.value ?? []).toString();
  assert.equal(text, accountText(parseAccount(Buffer.from(text)) ?? assert.fail()));
  assert.match(text, /^\{"disabled":false,"kdf":\{"algorithm":"argon2id","memoryKib":8,/);
  assert.ok(secret !== undefined && secret.length >= 36 && !text.includes(secret.slice(4)));
  assert.ok(!JSON.stringify(rig.lines).includes(secret));
  assert.ok(rig.lines.some(({ event }) => event === 'account changed'));
});

test('account: made in one region it is in force in another; disabled there it is refused here at once', async () => {
  await using rig = await openAccessRig();
  const { secret } = await create(rig.one, { name: 'ada', rights: PULL_ALL });
  assert.equal(await signsIn(rig.one, 'ada', secret), true);
  await until(() => signsIn(rig.two, 'ada', secret));
  await rig.two.editor.change('ada', { disabled: true }, contextOf('grace'));
  assert.equal(await signsIn(rig.two, 'ada', secret), false);
  await until(async () => !(await signsIn(rig.one, 'ada', secret)));
  const [entry] = await rig.one.editor.list();
  assert.deepEqual([entry?.state, entry?.changedBy, entry?.conflict], ['disabled', 'grace', false]);
  await rig.one.editor.change('ada', { disabled: false }, contextOf());
  assert.equal(await signsIn(rig.one, 'ada', secret), true);
});

test('account: a disable that races with a later grant is not lost', async () => {
  await using rig = await openAccessRig();
  const { secret } = await create(rig.one, { name: 'ada' });
  await until(() => signsIn(rig.two, 'ada', secret));
  rig.cut();
  await rig.one.editor.change('ada', { disabled: true }, contextOf());
  await rig.two.editor.change('ada', { rights: PULL_ALL }, contextOf());
  assert.equal(await signsIn(rig.two, 'ada', secret), true);
  rig.heal();
  for (const region of [rig.one, rig.two]) {
    await until(async () => (await region.book.stored('ada'))?.conflict === true);
    assert.equal(await signsIn(region, 'ada', secret), false);
    const [entry] = await region.editor.list();
    assert.deepEqual([entry?.conflict, entry?.state], [true, 'disabled']);
  }
  const rotated = await rig.one.editor.rotate('ada', { graceMs: 0 }, contextOf());
  assert.deepEqual([rotated?.account.state, rotated?.account.conflict], ['disabled', false]);
  assert.equal(await signsIn(rig.one, 'ada', rotated?.secret), false, 'no other change undoes it');
  await until(async () => (await rig.two.book.stored('ada'))?.conflict === false);
  await rig.two.editor.change('ada', { disabled: false }, contextOf());
  await until(() => signsIn(rig.one, 'ada', rotated?.secret));
  assert.equal((await rig.one.editor.list())[0]?.conflict, false);
});

test('account: of rights that race only what all of them grant is granted', async () => {
  await using rig = await openAccessRig();
  await create(rig.one, { name: 'ada' });
  await until(async () => (await rig.two.book.find('ada')) !== undefined);
  rig.cut();
  const right = (glob: string, ...actions: ('pull' | 'push')[]) => [{ repositories: [glob], actions }];
  await rig.one.editor.change('ada', { rights: right('prod/**', 'pull', 'push') }, contextOf());
  await rig.two.editor.change('ada', { rights: right('**', 'pull') }, contextOf());
  rig.heal();
  for (const { book } of [rig.one, rig.two]) {
    await until(async () => (await book.stored('ada'))?.conflict === true);
    const account = await book.find('ada');
    const web = [account?.allows(WEB, 'pull'), account?.allows(WEB, 'push'), account?.allows(WEB, 'delete')];
    assert.deepEqual(web, [true, false, false]);
    assert.equal(account?.allows(parseRepositoryName('team/web'), 'pull'), false);
  }
});

test('account: rotations that race leave the secret that both kept', async () => {
  await using rig = await openAccessRig();
  const { secret } = await create(rig.one, { name: 'ada', expiresMs: rig.clock.nowMs() + 9 * HOUR_MS });
  await until(() => signsIn(rig.two, 'ada', secret));
  rig.cut();
  const made = [
    await rig.one.editor.rotate('ada', { graceMs: 2 * HOUR_MS }, contextOf()),
    await rig.two.editor.rotate('ada', { graceMs: HOUR_MS }, contextOf()),
  ];
  rig.heal();
  for (const region of [rig.one, rig.two]) {
    await until(async () => (await region.book.stored('ada'))?.conflict === true);
    assert.equal(await signsIn(region, 'ada', secret), true);
    for (const rotation of made) assert.equal(await signsIn(region, 'ada', rotation?.secret), false);
  }
  rig.clock.advance(HOUR_MS);
  assert.equal(await signsIn(rig.one, 'ada', secret), false, 'the shorter grace counts');
});

test('account: rights are by glob with exclusions, each action by itself', async () => {
  await using rig = await openAccessRig();
  const rights = [
    { repositories: ['prod/**', '!prod/secret/**'], actions: ['pull' as const] },
    { repositories: ['prod/web'], actions: ['push' as const] },
  ];
  await create(rig.one, { name: 'ada', rights });
  const account = (await rig.one.book.find('ada')) ?? assert.fail();
  const may = (name: string) =>
    (['pull', 'push', 'delete'] as const).filter((action) =>
      account.allows(parseRepositoryName(name), action),
    );
  assert.deepEqual(may('prod/web'), ['pull', 'push']);
  assert.deepEqual(may('prod/api/v2'), ['pull']);
  assert.deepEqual(may('prod/secret/keys'), []);
  assert.deepEqual(may('production'), []);
});

test('account: rights change without another secret', async () => {
  await using rig = await openAccessRig();
  const { secret } = await create(rig.one, { name: 'ada' });
  assert.equal((await rig.one.book.find('ada'))?.allows(WEB, 'pull'), false);
  await rig.one.editor.change('ada', { rights: PULL_ALL }, contextOf());
  assert.equal((await rig.one.book.find('ada'))?.allows(WEB, 'pull'), true);
  assert.equal(await signsIn(rig.one, 'ada', secret), true);
});

test('account: an expiry ends it everywhere without a message, and can be lifted', async () => {
  await using rig = await openAccessRig();
  const { secret } = await create(rig.one, { name: 'ada', expiresMs: rig.clock.nowMs() + HOUR_MS });
  await until(() => signsIn(rig.two, 'ada', secret));
  rig.clock.advance(HOUR_MS);
  for (const region of [rig.one, rig.two]) assert.equal(await signsIn(region, 'ada', secret), false);
  assert.equal((await rig.one.editor.list())[0]?.state, 'expired');
  await rig.one.editor.change('ada', { expiresMs: null }, contextOf());
  assert.equal(await signsIn(rig.one, 'ada', secret), true);
});

test('account: during a rotation both secrets are valid, then the older one ends', async () => {
  await using rig = await openAccessRig();
  const first = await create(rig.one, { name: 'ada', rights: PULL_ALL });
  const second = await rig.one.editor.rotate('ada', { graceMs: HOUR_MS }, contextOf());
  assert.equal(second?.account.secrets.length, 2);
  for (const { secret } of [first, second ?? assert.fail()]) {
    assert.equal(await signsIn(rig.one, 'ada', secret), true);
  }
  rig.clock.advance(HOUR_MS);
  assert.equal(await signsIn(rig.one, 'ada', first.secret), false);
  assert.equal(await signsIn(rig.one, 'ada', second?.secret), true);
  assert.equal((await rig.one.book.find('ada'))?.allows(WEB, 'pull'), true);
});

test('account: a third secret ends the first, and a rotation without grace ends all before it', async () => {
  await using rig = await openAccessRig();
  const { editor } = rig.one;
  const first = await create(rig.one, { name: 'ada' });
  const second = await editor.rotate('ada', { graceMs: HOUR_MS }, contextOf());
  const third = await editor.rotate('ada', { graceMs: HOUR_MS }, contextOf());
  const valid = async () =>
    await Promise.all([first, second, third].map((made) => signsIn(rig.one, 'ada', made?.secret)));
  assert.deepEqual(await valid(), [false, true, true]);
  const leaked = await editor.rotate('ada', { graceMs: 0, secret: 'one of my own choice' }, contextOf());
  assert.deepEqual([await valid(), leaked?.secret], [[false, false, false], undefined]);
  assert.equal(await signsIn(rig.one, 'ada', 'one of my own choice'), true);
});

test('account: the safety net reads again what no event has told', async () => {
  await using rig = await openAccessRig();
  const asked: string[] = [];

  using book = new AccountBook({
    views: {
      ...rig.one.metadata.views,
      get: async (key) => {
        asked.push(key.name);
        return await rig.one.metadata.views.get(key);
      },
    },
    rivals: async () => [],
    onChanged: () => ({ [Symbol.dispose]: () => undefined }),
    clock: rig.clock,
    log: silentLog,
  });
  await book.find('ada');
  await create(rig.one, { name: 'ada' });
  assert.deepEqual([await book.find('ada'), asked.length], [undefined, 1]);
  rig.clock.advance(10_001);
  assert.equal((await book.find('ada'))?.name, 'ada');
});

test('account: a store that does not answer lets nobody in, and is asked again', async () => {
  await using rig = await openAccessRig();

  let broken = true;
  const fault = async () => {
    if (broken) throw new UnavailableError('the disk is gone');
  };
  using book = new AccountBook({
    views: {
      ...rig.one.metadata.views,
      get: (key) => fault().then(() => rig.one.metadata.views.get(key)),
      count: (kind) => fault().then(() => rig.one.metadata.views.count(kind)),
    },
    rivals: async () => [],
    onChanged: () => ({ [Symbol.dispose]: () => undefined }),
    clock: rig.clock,
    log: silentLog,
  });
  await assert.rejects(book.find('ada'), UnavailableError);
  await assert.rejects(book.isEmpty(), UnavailableError);
  broken = false;
  assert.deepEqual([await book.find('ada'), await book.isEmpty()], [undefined, true]);
});

const SAMPLE = {
  version: 1 as const,
  kind: 'robot' as const,
  disabled: false,
  rights: [{ repositories: ['prod/**'], actions: ['pull' as const] }],
  kdf: {
    algorithm: 'argon2id' as const,
    memoryKib: 19_456,
    passes: 2,
    parallelism: 1,
    salt: 'AAAAAAAAAAAAAAAAAAAAAA',
  },
  secrets: [{ id: '00112233aabbccdd', hash: 'A'.repeat(43), createdMs: 1 }],
};

function draft(about: Partial<AccountDraft> & { readonly name: string }): AccountDraft {
  return { kind: 'person', rights: [], ...about };
}

async function create(
  region: RegionOfRig,
  about: Partial<AccountDraft> & { readonly name: string },
): Promise<AccountWithSecret> {
  return (await region.editor.create(draft(about), contextOf())) ?? assert.fail(`${about.name} was there`);
}

async function signsIn(region: RegionOfRig, name: string, secret: string | undefined): Promise<boolean> {
  const credentials = { name, secret: secret ?? '', address: 'here' };
  return (await region.signIn.check(credentials, AbortSignal.any([]))) !== undefined;
}
