/** A registry server behind a real door: accounts in an index, tokens signed and verified, over real sockets. */
import assert from 'node:assert/strict';
import type { Right } from '#access/account-document.ts';
import { parseAuthChallenges } from '#client/auth-challenge.ts';
import {
  type AccessRig,
  type AccessRigConfig,
  contextOf,
  openAccessRig,
  until,
} from '#test/access/access-rig.ts';
import { RegistryUnderTest, type Reply } from './registry-under-test.ts';

export type AuthRig = AsyncDisposable & {
  readonly access: AccessRig;
  readonly registry: RegistryUnderTest;
  /** Makes an account; its secret. */
  account(name: string, ...rights: readonly Right[]): Promise<string>;
};

export type TokenReply = {
  readonly token: string;
  readonly access_token: string;
  readonly expires_in: number;
  readonly issued_at: string;
  readonly refresh_token?: string;
};

export const right = (glob: string, ...actions: Right['actions']): Right => ({
  repositories: [glob],
  actions,
});

export function basic(name: string, secret: string): { readonly authorization: string } {
  return { authorization: `Basic ${Buffer.from(`${name}:${secret}`).toString('base64')}` };
}

export function bearer(token: string): { readonly authorization: string } {
  return { authorization: `Bearer ${token}` };
}

/** The one challenge of an answer, which must be for a bearer token. */
export function challengeOf(reply: Reply): Readonly<Record<string, string>> {
  const challenges = parseAuthChallenges(String(reply.headers['www-authenticate']));
  assert.deepEqual(
    challenges.map(({ scheme }) => scheme),
    ['bearer'],
  );
  return challenges[0]?.parameters ?? {};
}

export function tokenOf(reply: Reply): TokenReply {
  assert.equal(reply.status, 200, reply.bytes.toString());
  return JSON.parse(reply.bytes.toString()) as TokenReply;
}

/** The payload of a token, unverified. */
export function claimsOf(token: string): { readonly access: readonly unknown[]; readonly sub: string } {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
}

export async function openAuthRig(config: AccessRigConfig = {}): Promise<AuthRig> {
  await using stack = new AsyncDisposableStack();
  const access = stack.use(await openAccessRig(config));
  const { one } = access;
  await until(async () => (await one.keys.find(one.key.id)) !== undefined);
  const registry = stack.use(await RegistryUnderTest.open({ gate: one.gate }));
  const owned = stack.move();
  return {
    ...{ access, registry },
    account: async (name, ...rights) => {
      const made = await one.editor.create({ name, kind: 'robot', rights }, contextOf());
      return made?.secret ?? '';
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
