/** The client with the counterpart that it asks, and the shape of its refusals. */
import assert from 'node:assert/strict';
import { RegistryClient } from '#client/registry-client.ts';
import { UnavailableError } from '#domain/errors.ts';
import { systemClock } from '#runtime/clock.ts';
import { Counterpart, type Handler, REPOSITORY, TAG } from '#test/client/counterpart.ts';

export const MANIFEST_REQUEST = { repository: REPOSITORY, reference: TAG };
/** Limits that a test can wait for; undici measures them to about a second. */
export const FAST = { connectMs: 1_000, firstByteMs: 60, progressMs: 60 };

type Options = Partial<ConstructorParameters<typeof RegistryClient>[1]>;

export function openClient(url: string, options: Options = {}): RegistryClient {
  return new RegistryClient({ clock: systemClock }, { name: 'hub', url, ...options });
}

export async function start(handler: Handler, options: Options = {}) {
  const stack = new AsyncDisposableStack();
  const registry = stack.use(await Counterpart.start(handler));
  const client = stack.use(openClient(registry.url, options));
  return { registry, client, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

export function unavailable(pattern: RegExp) {
  return (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError, `not an UnavailableError: ${thrown}`);
    assert.match(thrown.message, pattern);
    return true;
  };
}
