/** The content room of a node, joined with everyone that it may read from: peer regions and proxied registries. */
import { BlobUse } from '#content/blob-use.ts';
import type { ClaimWriter } from '#content/claim-writer.ts';
import { Closure } from '#content/closure.ts';
import { Deliverability } from '#content/deliverability.ts';
import { Fill } from '#content/fill.ts';
import { ManifestFetch } from '#content/manifest-fetch.ts';
import { PullNotes } from '#content/pull-notes.ts';
import { ContentReader } from '#content/reader.ts';
import { ContentWriter } from '#content/writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RegionName, RegionNumber } from '#domain/region.ts';
import { isAskedFor } from '#mesh/claims/granted.ts';
import type { MeshId, Roster } from '#mesh/membership/roster.ts';
import { LocateOracle } from '#mesh/routing/locate-oracle.ts';
import { PeerSources } from '#mesh/routing/peer-sources.ts';
import { PeerUpstream } from '#mesh/routing/peer-upstream.ts';
import type { Transport } from '#mesh/transport/transport.ts';
import type { SecretSource } from '#policies/model.ts';
import type { PolicySet } from '#policies/policy-set.ts';
import { ProxyCache } from '#proxy/proxy-cache.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Registry } from '#runtime/metrics.ts';
import type { Random } from '#runtime/random.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import type { Metadata } from '#storage/metadata.ts';
import type { PeerConfig } from './config.ts';
import { joinOracles, joinSources } from './content-sources.ts';

export type ContentDeps = {
  /** Owns what is opened here. */
  readonly stack: AsyncDisposableStack;
  readonly blobs: BlobStore;
  readonly metadata: Metadata;
  readonly transport: Transport;
  readonly claimWriter: ClaimWriter;
  readonly policies: { current(): PolicySet };
  readonly roster: Roster;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Registry;
  readonly resolveSecret: (source: SecretSource) => Promise<string>;
};

export type ContentConfig = {
  readonly meshId: MeshId;
  readonly region: RegionName;
  readonly peers: readonly PeerConfig[];
  /** How often the use of one blob is noted at most. */
  readonly useEveryMs: number;
  readonly tls: { readonly authorityPem: string; readonly certificatePem: string; readonly keyPem: string };
};

export type Content = {
  readonly fill: Fill;
  readonly closure: Closure;
  readonly reader: ContentReader;
  readonly writer: ContentWriter;
  readonly deliverability: Deliverability;
};

export function openContent(deps: ContentDeps, config: ContentConfig): Content {
  const { stack, blobs, metadata, transport, roster, clock, random, log, metrics } = deps;
  const { region } = config;
  const { manifests, views, cachedTags, blobs: rows } = metadata;
  const proxy = stack.use(
    new ProxyCache(
      {
        ...{ cachedTags, manifests, clock, log, metrics },
        policies: deps.policies,
        resolveSecret: deps.resolveSecret,
      },
      { region },
    ),
  );
  const peers = new Map(
    config.peers.map((peer) => [
      peer.number,
      stack.use(
        new PeerUpstream(
          { clock },
          {
            self: region,
            peer: { meshId: config.meshId, region: peer.name, number: peer.number },
            url: `https://${peer.peer.host}:${peer.peer.port}`,
            tls: config.tls,
          },
        ),
      ),
    ]),
  );
  const mayServe = (from: RegionNumber, repository: RepositoryName) =>
    isAskedFor(from, { kind: CLAIM_KIND.tag, repository, name: '' }, roster.grants);
  const sources = joinSources(
    new PeerSources({ peers, links: () => transport.links(), views, mayServe }),
    proxy,
  );
  const oracle = joinOracles(
    new LocateOracle({ roster, transport, claims: metadata.claims, clock, log, metrics }),
    proxy,
  );
  const fill = stack.use(new Fill({ blobs, rows, clock, random, log, metrics }, { region }));
  const use = new BlobUse({ rows: metadata.blobUses, clock }, { everyMs: config.useEveryMs });
  const manifestFetch = new ManifestFetch({ sources, clock, log });
  const closure = new Closure({ blobs, use, manifests, manifestFetch, fill, sources });
  const deliverability = new Deliverability({ manifests, sources, clock });
  const { viewWrites } = metadata;
  const notes = stack.use(new PullNotes({ use, clock, log }, { everyMs: config.useEveryMs }));
  const onPulled = (repository: RepositoryName, digest: Digest) => {
    if (proxy.covers(repository) !== undefined) notes.note(digest);
  };
  const reader = stack.use(
    new ContentReader(
      {
        ...{ blobs, rows, use, manifests, views, viewWrites, fill, manifestFetch, deliverability, oracle },
        ...{ sources, clock, log, onPulled },
      },
      { region },
    ),
  );
  const writer = new ContentWriter({
    ...{ blobs, rows, use, manifests, views, fill, closure, sources, clock, log },
    claimWriter: deps.claimWriter,
    writeGuard: proxy,
  });
  return { fill, closure, deliverability, reader, writer };
}
