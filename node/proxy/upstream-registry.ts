/** A foreign registry as an `Upstream` of one cache: the same content under the upstream's own names. */
import type { ManifestHead } from '#client/registry-client.ts';
import type { Upstream, UpstreamBlob, UpstreamManifest } from '#content/upstream.ts';
import type { Digest } from '#domain/digest.ts';
import type { Reference, RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { ProxySettings } from '#policies/model.ts';
import type { UpstreamClients } from './upstream-clients.ts';
import { upstreamRepository } from './upstream-name.ts';

export class UpstreamRegistry implements Upstream {
  readonly name: string;
  readonly kind = 'registry';
  readonly #clients: Pick<UpstreamClients, 'get'>;
  readonly #proxy: ProxySettings;

  constructor(clients: Pick<UpstreamClients, 'get'>, proxy: ProxySettings, name: string) {
    this.#clients = clients;
    this.#proxy = proxy;
    this.name = name;
  }

  async openBlob(
    request: { readonly repository: RepositoryName; readonly digest: Digest; readonly offset: number },
    context: RequestContext,
  ): Promise<UpstreamBlob | undefined> {
    const { client, repository } = this.#at(request.repository);
    return repository && (await client.openBlob({ ...request, repository }, context));
  }

  async fetchManifest(
    request: { readonly repository: RepositoryName; readonly reference: Reference },
    context: RequestContext,
  ): Promise<UpstreamManifest | undefined> {
    const { client, repository } = this.#at(request.repository);
    return repository && (await client.fetchManifest({ ...request, repository }, context));
  }

  /** As `fetchManifest`, of the digest alone; one that the registry does not say is `undefined` in the answer. */
  async headManifest(
    request: { readonly repository: RepositoryName; readonly reference: Reference },
    context: RequestContext,
  ): Promise<ManifestHead | undefined> {
    const { client, repository } = this.#at(request.repository);
    return repository && (await client.headManifest({ ...request, repository }, context));
  }

  /** Looked up for every request, as an upstream may be configured anew while it is in use. */
  #at(repository: RepositoryName) {
    const { client, settings } = this.#clients.get(this.name);
    return { client, repository: upstreamRepository(this.#proxy, repository, settings.url) };
  }
}
