/**
 * A peer region as an `Upstream`: its peer HTTP address, over mutual TLS, with the header that stops loops.
 *
 * The certificate must be the one of the region that we mean to ask, whatever its address resolves to; a valid one of
 * another region is refused. Names are the same on both sides. The peer answers from what it holds and asks nobody,
 * so that its silence means something soon.
 */
import { HOST_LIMITS, type HostLimitsConfig } from '#client/host-limits.ts';
import { type ClientTls, PEER_TIMEOUTS, type Timeouts } from '#client/http-exchange.ts';
import { RegistryClient } from '#client/registry-client.ts';
import type { Upstream, UpstreamBlob, UpstreamManifest } from '#content/upstream.ts';
import type { Digest } from '#domain/digest.ts';
import type { Reference, RepositoryName } from '#domain/name.ts';
import type { RegionName } from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import { type PeerIdentity, peerIdentity, sameIdentity } from '#mesh/transport/peer-identity.ts';
import type { Clock } from '#runtime/clock.ts';

export type PeerUpstreamConfig = {
  /** This region: whoever asks a peer says so. */
  readonly self: RegionName;
  readonly peer: PeerIdentity;
  /** The peer's HTTP address, `https://host:port`. */
  readonly url: string;
  readonly tls: Pick<ClientTls, 'authorityPem' | 'certificatePem' | 'keyPem'>;
  /** Default: `PEER_TIMEOUTS`. */
  readonly timeouts?: Timeouts;
  /** Default: `PEER_LIMITS`. */
  readonly limits?: HostLimitsConfig;
};

/** A long link is only filled by many blobs at a time; a peer that restarts is asked again after a second. */
export const PEER_LIMITS: HostLimitsConfig = {
  ...HOST_LIMITS,
  concurrency: { question: 64, blob: 32 },
  openMs: 1_000,
};

/** The region that asks; `node/http` refuses a peer's request without it. */
const HOP_HEADER = 'fairway-hop';

export class PeerUpstream implements Upstream, AsyncDisposable {
  readonly name: RegionName;
  readonly kind = 'region';
  readonly #client: RegistryClient;

  /** @throws TypeError when `url` is no http(s) address. */
  constructor(deps: { readonly clock: Clock }, config: PeerUpstreamConfig) {
    const { self, peer, url, tls } = config;
    this.name = peer.region;
    this.#client = new RegistryClient(deps, {
      name: peer.region,
      url,
      headers: { [HOP_HEADER]: self },
      timeouts: config.timeouts ?? PEER_TIMEOUTS,
      limits: config.limits ?? PEER_LIMITS,
      tls: {
        ...tls,
        checkServerIdentity: (host, certificate) =>
          sameIdentity(peerIdentity(certificate), peer)
            ? undefined
            : new Error(`the certificate of ${host} is not the one of region ${peer.region}`),
      },
    });
  }

  async openBlob(
    request: { readonly repository: RepositoryName; readonly digest: Digest; readonly offset: number },
    context: RequestContext,
  ): Promise<UpstreamBlob | undefined> {
    return await this.#client.openBlob(request, context);
  }

  async fetchManifest(
    request: { readonly repository: RepositoryName; readonly reference: Reference },
    context: RequestContext,
  ): Promise<UpstreamManifest | undefined> {
    return await this.#client.fetchManifest(request, context);
  }

  /** Breaks off what is still under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }
}
