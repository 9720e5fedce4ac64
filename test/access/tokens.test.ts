/** Tokens: verified in every region from the index alone; everything that is not ours, now, is refused. */
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { KeyBook } from '#access/key-book.ts';
import { publicKeyText, type SigningKey } from '#access/signing-key.ts';
import { signToken, type TokenClaims } from '#access/token.ts';
import { Tokens } from '#access/tokens.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { systemRandom } from '#runtime/random.ts';
import { type AccessRig, MESH_ID, openAccessRig, type RegionOfRig, until } from './access-rig.ts';

const ACCESS = [{ type: 'repository', name: 'prod/web', actions: ['pull'] }];

test('token: what is none is refused', async () => {
  await using rig = await openTokenRig();
  const token = rig.one.tokens.issueAccess({ name: 'ada', secretId: 'aa' }, ACCESS);
  const [head = '', body = '', signature = ''] = token.split('.');
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const header = { alg: 'ES256', typ: 'JWT', kid: rig.one.key.id };
  const hmac = (signed: string) =>
    createHmac('sha256', publicKeyText(rig.one.key)).update(signed).digest('base64url');
  const symmetric = `${encode({ ...header, alg: 'HS256' })}.${body}`;
  for (const [what, text] of Object.entries({
    empty: '',
    words: 'not a token',
    'two parts': `${head}.${body}`,
    'no signature': `${head}.${body}.`,
    'another signature': `${head}.${body}.${'A'.repeat(86)}`,
    'another body': `${head}.${encode({ ...claimsAt(rig), sub: 'root' })}.${signature}`,
    'without algorithm': `${encode({ ...header, alg: 'none' })}.${body}.${signature}`,
    'symmetric by the public key': `${symmetric}.${hmac(symmetric)}`,
    'another type': `${encode({ ...header, typ: 'at+jwt' })}.${body}.${signature}`,
    'no JSON': `${Buffer.from('{').toString('base64url')}.${body}.${signature}`,
    'too long': `${head}.${body}${'A'.repeat(13_000)}.${signature}`,
    padded: `${token}=`,
  })) {
    assert.equal(await rig.one.tokens.verify(text, 'access'), undefined, what);
  }
  assert.equal((await rig.one.tokens.verify(token, 'access'))?.sub, 'ada');
});

test('token: one for another mesh, another use, or a longer time than we give is refused', async () => {
  await using rig = await openTokenRig();
  for (const [what, claims] of Object.entries({
    mesh: { aud: 'another-mesh' },
    use: { use: 'refresh' as const },
    'a longer life': { exp: claimsAt(rig).iat + 301 },
  })) {
    const token = signToken({ ...claimsAt(rig), ...claims }, rig.one.key);
    assert.equal(await rig.one.tokens.verify(token, 'access'), undefined, what);
  }
  const refresh = rig.one.tokens.issueRefresh({ name: 'ada', secretId: 'aa' });
  assert.equal(await rig.one.tokens.verify(refresh, 'access'), undefined);
  assert.equal((await rig.one.tokens.verify(refresh, 'refresh'))?.secret, 'aa');
  assert.equal(await rig.one.tokens.verify(refresh, 'access'), undefined, 'also when it is remembered');
});

test('token: it ends after five minutes, and clocks may differ by one', async () => {
  await using rig = await openTokenRig();
  const token = rig.one.tokens.issueAccess({ name: 'ada' }, ACCESS);
  const early = signToken({ ...claimsAt(rig), iat: claimsAt(rig).iat + 61 }, rig.one.key);
  const slightly = signToken({ ...claimsAt(rig), iat: claimsAt(rig).iat + 59 }, rig.one.key);
  assert.equal(await rig.one.tokens.verify(early, 'access'), undefined);
  assert.notEqual(await rig.one.tokens.verify(slightly, 'access'), undefined);
  for (const [atMs, isValid] of [
    [0, true],
    [300_000, true],
    [59_000, true],
    [1_000, false],
  ] as const) {
    rig.clock.advance(atMs);
    assert.equal((await rig.one.tokens.verify(token, 'access')) !== undefined, isValid, `${atMs}`);
  }
});

test('token: one of a region is valid in another as soon as its key is known there', async () => {
  await using rig = await openTokenRig();
  const token = rig.one.tokens.issueAccess({ name: 'ada', secretId: 'aa' }, ACCESS);
  assert.deepEqual((await rig.two.tokens.verify(token, 'access'))?.access, ACCESS);
  rig.cut();
  const late = rig.two.tokens.issueAccess({ name: 'bob' }, []);
  assert.equal((await rig.one.tokens.verify(late, 'access'))?.sub, 'bob', 'no region is asked for it');
});

test('token: a key of a region that is not in the mesh signs nothing', async () => {
  await using rig = await openTokenRig();
  const foreign = newKey('3.1');
  await rig.one.write({ change: 'set-key', name: foreign.id, document: publicKeyText(foreign) });
  const token = signToken(claimsAt(rig), foreign);
  assert.equal(await rig.one.tokens.verify(token, 'access'), undefined);
});

test('token: a region cannot put a key in the place of another region’s', async () => {
  await using rig = await openTokenRig();
  const forged = newKey('1.77');
  await rig.two.write({ change: 'set-key', name: forged.id, document: publicKeyText(forged) });
  const token = signToken(claimsAt(rig), forged);
  for (const region of [rig.one, rig.two]) {
    await until(async () => (await keyOf(region, forged.id)) !== undefined);
    assert.equal(await region.tokens.verify(token, 'access'), undefined);
  }
  assert.ok(rig.lines.some(({ event }) => event === 'key of another region refused'));
});

test('token: a key that was ended takes its tokens with it, also remembered ones', async () => {
  await using rig = await openTokenRig();
  const token = rig.one.tokens.issueAccess({ name: 'ada' }, ACCESS);
  assert.notEqual(await rig.two.tokens.verify(token, 'access'), undefined);
  await rig.one.write({ change: 'set-key', name: rig.one.key.id, document: '' });
  assert.equal(await rig.one.tokens.verify(token, 'access'), undefined);
  await until(async () => (await rig.two.tokens.verify(token, 'access')) === undefined);
});

test('signing key: a new one ends those of its region before it, and no other region’s', async () => {
  await using rig = await openTokenRig();
  const next = newKey(`1.${Math.floor(rig.clock.nowMs()) + 1}`);
  rig.one.keys.announce(next);
  await until(async () => (await rig.one.keys.find(rig.one.key.id)) === undefined);
  assert.notEqual(await rig.one.keys.find(next.id), undefined);
  assert.notEqual(await rig.one.keys.find(rig.two.key.id), undefined);
});

test('signing key: one that cannot be announced is announced later', async () => {
  await using rig = await openAccessRig();

  const written: string[] = [];
  let isFull = true;
  await using keys = new KeyBook({
    views: rig.one.metadata.views,
    write: async (id) => {
      if (isFull) throw new Error('the disk is full');
      written.push(id);
    },
    onChanged: () => ({ [Symbol.dispose]: () => undefined }),
    isMember: () => true,
    clock: rig.clock,
    random: { fraction: () => 0.5, bytes: (count) => new Uint8Array(count) },
    log: rig.one.log,
  });
  const key = newKey('1.99');
  keys.announce(key);
  await until(async () => rig.lines.some(({ event }) => event === 'signing key not announced yet'));
  isFull = false;
  await until(async () => {
    rig.clock.advance(1000);
    return written.length > 0;
  });
  assert.equal(written[0], '1.99');
});

async function openTokenRig(): Promise<AccessRig> {
  const rig = await openAccessRig();
  for (const region of [rig.one, rig.two]) {
    for (const { key } of [rig.one, rig.two]) {
      await until(async () => (await region.keys.find(key.id)) !== undefined);
    }
  }
  return rig;
}

function claimsAt({ clock }: AccessRig): TokenClaims {
  const seconds = Math.floor(clock.nowMs() / 1000);
  return {
    ...{ iss: 'region-1', sub: 'ada', aud: MESH_ID, jti: 'x', use: 'access', access: ACCESS },
    ...{ iat: seconds, nbf: seconds, exp: seconds + 300 },
  };
}

function newKey(id: string): SigningKey {
  return { id, ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) };
}

async function keyOf({ metadata }: RegionOfRig, name: string) {
  return await metadata.views.get({ kind: CLAIM_KIND.key, repository: '', name });
}

test('token: of a region with a grant only what it may sign counts elsewhere, and at home all', async () => {
  await using rig = await openTokenRig();
  const { one, two, clock } = rig;
  const shop = { type: 'repository', name: 'shop/till', actions: ['pull'] };
  const grant = {
    isWhole: false,
    signsTokens: true,
    maySign: ({ name }: { readonly name: string }) => name.startsWith('shop/'),
  };
  const tokensAt = (region: RegionOfRig, granted: typeof grant) =>
    new Tokens(
      {
        ...{ key: region.key, keys: region.keys, clock, random: systemRandom },
        grantOf: (number) => (number === one.number ? granted : undefined),
      },
      { meshId: MESH_ID, region: 'x' },
    );
  const isTaken = async (tokens: Tokens, text: string, use: TokenClaims['use'] = 'access') =>
    (await tokens.verify(text, use)) !== undefined;
  const [elsewhere, home] = [tokensAt(two, grant), tokensAt(one, grant)];
  const inside = one.tokens.issueAccess({ name: 'ada' }, [shop]);
  const outside = one.tokens.issueAccess({ name: 'ada' }, [shop, ...ACCESS]);
  const refresh = one.tokens.issueRefresh({ name: 'ada', secretId: 'aa' });
  assert.deepEqual(
    [await isTaken(elsewhere, inside), await isTaken(elsewhere, outside)],
    [true, false],
    'one access too many, and the whole token is refused',
  );
  assert.equal(await isTaken(elsewhere, refresh, 'refresh'), false);
  assert.ok((await isTaken(home, outside)) && (await isTaken(home, refresh, 'refresh')));
  const nothing = tokensAt(two, { ...grant, signsTokens: false });
  assert.equal(await isTaken(nothing, one.tokens.issueAccess({ name: 'ada' }, [])), false);
  assert.ok(await isTaken(tokensAt(two, { ...grant, isWhole: true }), outside));
});
