/** The door of a registry that has no accounts: everybody may do everything. */
import { Gate } from '#access/gate.ts';
import type { RegistryServerDeps } from '#http/registry-server.ts';
import { systemClock } from '#runtime/clock.ts';

export function openGate(): RegistryServerDeps['gate'] {
  const refuse = async () => undefined;
  return new Gate(
    {
      accounts: { isEmpty: async () => true, isKnownEmpty: true, find: refuse },
      signIn: { check: refuse },
      tokens: { verify: refuse, issueAccess: () => 'access', issueRefresh: () => 'refresh' },
      clock: systemClock,
    },
    { openWithoutAccounts: true },
  );
}
