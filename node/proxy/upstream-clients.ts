/**
 * One client per configured upstream registry, for as long as its settings stay the same: connections, tokens and
 * what was learned of the host live in it. When the settings change, a new client takes over at once and the former
 * one ends with its last download.
 */
import type { Credentials } from '#client/bearer-auth.ts';
import { RegistryClient } from '#client/registry-client.ts';
import type { RegistrySessionConfig } from '#client/registry-session.ts';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import type { SecretSource, UpstreamSettings } from '#policies/model.ts';
import type { PolicySet } from '#policies/policy-set.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { TaskGroup } from '#runtime/task-group.ts';
import { upstreamAddress } from './upstream-name.ts';

export type UpstreamClientsDeps = {
  readonly policies: { current(): PolicySet };
  /** Reads a secret of this region. Rejects with the reason, without the secret in it. */
  readonly resolveSecret: (source: SecretSource) => Promise<string>;
  readonly clock: Clock;
  readonly log: Log;
};

/** Time and host limits of the clients. Default: those of `#client`. */
export type UpstreamClientsConfig = Pick<RegistrySessionConfig, 'timeouts' | 'limits'>;

export type UpstreamClient = { readonly settings: UpstreamSettings; readonly client: RegistryClient };

export class UpstreamClients implements AsyncDisposable {
  readonly #deps: UpstreamClientsDeps;
  readonly #config: UpstreamClientsConfig;
  readonly #open = new Map<string, UpstreamClient>();
  readonly #retiring: TaskGroup;
  #seen: readonly UpstreamSettings[] = [];

  constructor(deps: UpstreamClientsDeps, config: UpstreamClientsConfig) {
    this.#deps = deps;
    this.#config = config;
    this.#retiring = new TaskGroup((err) => deps.log.warn('upstream client did not close cleanly', { err }));
  }

  /** @throws UnavailableError when no upstream of this name is configured. */
  get(name: string): UpstreamClient {
    this.#followPolicies();
    const open = this.#open.get(name);
    if (open !== undefined) return open;
    const settings = this.#seen.find((upstream) => upstream.name === name);
    if (settings === undefined) {
      throw new UnavailableError(
        `upstream "${name}" is not configured; apply an UpstreamRegistry of that name`,
      );
    }
    const opened = { settings, client: this.#openClient(settings) };
    this.#open.set(name, opened);
    return opened;
  }

  /** Breaks off what is still under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { client } of this.#open.values()) this.#retire(client);
    this.#open.clear();
    await this.#retiring[Symbol.asyncDispose]();
  }

  #followPolicies(): void {
    const { upstreams } = this.#deps.policies.current();
    if (upstreams === this.#seen) return;
    this.#seen = upstreams;
    for (const [name, { settings, client }] of this.#open) {
      const next = upstreams.find((upstream) => upstream.name === name);
      if (next !== undefined && JSON.stringify(next) === JSON.stringify(settings)) continue;
      this.#open.delete(name);
      this.#retire(client);
    }
  }

  #retire(client: RegistryClient): void {
    this.#retiring.start((signal) => client.retire(signal));
  }

  #openClient({ name, url, credentials }: UpstreamSettings): RegistryClient {
    return new RegistryClient(
      { clock: this.#deps.clock },
      {
        ...this.#config,
        name,
        url: upstreamAddress(url),
        ...(credentials === undefined ? {} : { credentials: () => this.#readCredentials(name, credentials) }),
      },
    );
  }

  async #readCredentials(
    name: string,
    credentials: NonNullable<UpstreamSettings['credentials']>,
  ): Promise<Credentials> {
    try {
      const [username, password] = await Promise.all([
        this.#deps.resolveSecret(credentials.username),
        this.#deps.resolveSecret(credentials.password),
      ]);
      return { username, password };
    } catch (cause) {
      throw new UnavailableError(
        `the credentials of upstream "${name}" cannot be read in this region: ${messageOf(cause)}`,
        { cause },
      );
    }
  }
}
