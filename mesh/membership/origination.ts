/**
 * A region that keeps to its own grant: what it may not originate it refuses at its own door, where the client can be
 * told why. Others do not rely on that; they hold every claim against the grant when it arrives.
 */
import type { ClaimWriter, IndexChange } from '#content/claim-writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { Dot } from '#domain/dot.ts';
import { RegistryError } from '#domain/errors.ts';
import { keyOfChange } from '#mesh/claims/changes.ts';
import type { ClaimsDriver } from '#mesh/claims/driver.ts';
import { type GrantedKey, grantText } from './grant.ts';
import type { Roster } from './roster.ts';

type WriteOptions = Parameters<ClaimsDriver['write']>[1];

export class Origination implements ClaimWriter {
  readonly #claims: Pick<ClaimsDriver, 'write'>;
  readonly #roster: Roster;

  constructor(claims: Pick<ClaimsDriver, 'write'>, roster: Roster) {
    this.#claims = claims;
    this.#roster = roster;
  }

  /** @throws RegistryError DENIED, before anything is written, when a change is outside of this region's grant. */
  async write(changes: readonly IndexChange[], options: WriteOptions): Promise<Dot> {
    for (const change of changes) this.#refuseUnlessGranted(keyOfChange(change));
    return await this.#claims.write(changes, options);
  }

  /** Before any byte of a push is taken. @throws RegistryError DENIED. */
  refuseUnlessGranted(repository: string): void {
    this.#refuseUnlessGranted({ kind: CLAIM_KIND.tag, repository, name: '' });
  }

  #refuseUnlessGranted(key: GrantedKey): void {
    const { self, grants } = this.#roster;
    if (grants.of(self.number)?.mayWrite(key) !== false) return;
    const message =
      `region ${self.name} may not write ${whatOf(key)}: the roster grants it ${grantText(self.grant)}. ` +
      'Write it in a core region, or have the grant of this region changed in the configuration of every region';
    throw new RegistryError('DENIED', message, { detail: { region: self.name, grant: self.grant ?? {} } });
  }
}

function whatOf({ kind, repository, name }: GrantedKey): string {
  if (kind === CLAIM_KIND.policy) return `policies (${name})`;
  if (kind === CLAIM_KIND.account) return `accounts (${name})`;
  return kind === CLAIM_KIND.key ? 'keys of tokens' : repository;
}
