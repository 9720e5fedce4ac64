/** The access room of a node, joined with the index: accounts and keys are read from it, and written to it. */
import { AccountBook } from '#access/account-book.ts';
import { AccountEditor } from '#access/account-editor.ts';
import { Gate } from '#access/gate.ts';
import { KeyBook } from '#access/key-book.ts';
import { SecretHasher } from '#access/secret-hash.ts';
import { SignIn } from '#access/sign-in.ts';
import { openSigningKey } from '#access/signing-key.ts';
import { Tokens } from '#access/tokens.ts';
import { isLoopback } from '#client/redirect.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { resolveStored } from '#mesh/claims/claim-view.ts';
import type { ClaimsDriver } from '#mesh/claims/driver.ts';
import type { Grants } from '#mesh/claims/granted.ts';
import type { Roster } from '#mesh/membership/roster.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Random } from '#runtime/random.ts';
import type { Metadata } from '#storage/metadata.ts';

export type AccessDeps = {
  /** Owns what is opened here. */
  readonly stack: AsyncDisposableStack;
  readonly metadata: Pick<Metadata, 'views' | 'claims'>;
  readonly claims: Pick<ClaimsDriver, 'write'>;
  /** Reports the keys of views that changed, by this region or another one, after they did. */
  readonly onChanged: ClaimsDriver['onChanged'];
  readonly roster: Roster;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export type AccessConfig = {
  /** Where the signing key is kept. */
  readonly folder: string;
  /** Where the registry listens: without accounts it is open to all where only this machine reaches it. */
  readonly registryHost: string;
};

export type Access = { readonly gate: Gate; readonly accounts: AccountEditor };

/** @throws TypeError when the signing key's file is damaged; the system's error when it cannot be read or written. */
export async function openAccess(deps: AccessDeps, config: AccessConfig): Promise<Access> {
  const { stack, metadata, claims, onChanged, roster, clock, random, log } = deps;
  const { self, meshId } = roster;
  const key = await openSigningKey({ clock, random, log }, { folder: config.folder, region: self.number });
  const keys = stack.use(
    new KeyBook({
      ...{ views: metadata.views, onChanged, clock, random, log },
      isMember: (region) => roster.byNumber(region) !== undefined,
      write: async (name, document, signal) => {
        await claims.write([{ change: 'set-key', name, document }], { principal: SYSTEM, signal });
      },
    }),
  );
  // What no other region would take need not be announced; at home its tokens count anyhow.
  if (roster.grants.of(self.number)?.signsTokens !== false) keys.announce(key);
  const book = stack.use(
    new AccountBook({
      ...{ views: metadata.views, onChanged, clock, log },
      rivals: (name) => rivalsOf({ claims: metadata.claims, grants: roster.grants }, name),
    }),
  );
  const hasher = new SecretHasher();
  const accounts = new AccountEditor({
    ...{ book, hasher, clock, random, log },
    writer: {
      write: async (change, { principal, signal }) => {
        await claims.write([{ change: 'set-account', ...change }], { principal, signal });
      },
    },
  });
  const tokens = new Tokens(
    { key, keys, grantOf: (region) => roster.grants.of(region), clock, random },
    { meshId, region: self.name },
  );
  const signIn = new SignIn({ accounts: book, hasher, clock, random, log });
  const gate = new Gate(
    { accounts: book, signIn, tokens, clock },
    { openWithoutAccounts: isOnThisMachine(config.registryHost) },
  );
  return { gate, accounts };
}

/** Signs what a region writes by itself. */
const SYSTEM = 'fairway';

function isOnThisMachine(host: string): boolean {
  return host === '::1' || isLoopback(host);
}

async function rivalsOf(
  { claims, grants }: { readonly claims: Metadata['claims']; readonly grants: Grants },
  name: string,
): Promise<readonly Uint8Array[]> {
  const key = { kind: CLAIM_KIND.account, repository: '', name };
  const [stored] = await claims.ofKeys([key]);
  return resolveStored(stored?.claims ?? [], key, grants).losers.map((claim) => claim.value);
}
