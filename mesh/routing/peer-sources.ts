/**
 * Which peers to ask for some content, best first.
 *
 * Nobody keeps a list of who holds which blob; there are good guesses instead, and a wrong one costs a round trip and
 * a 404. In this order: the region whose claim announces the manifest; the region that last delivered something of
 * the repository; regions that announced any of its manifests; then whoever is nearest. A region to which the link is
 * down comes after all others: its HTTP address is tried only when nobody else has it, and fails fast.
 * An edge region is asked only for repositories that it may write: what it alone says that another one holds, it may
 * have put there itself.
 * Limits: at most 16 peers; a blob that only a seventeenth holds is not found before replication brings it nearer.
 */
import { LRUCache } from 'lru-cache';
import type { Sources, Upstream } from '#content/upstream.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RegionNumber } from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Link } from '#mesh/transport/transport.ts';
import type { ViewRows } from '#storage/metadata.ts';

export type PeerSourcesDeps = {
  readonly peers: ReadonlyMap<RegionNumber, Upstream>;
  readonly links: () => readonly Link[];
  readonly views: Pick<ViewRows, 'get' | 'list'>;
  /** Whether what this region has of a repository may be read from it. Absent: of all. */
  readonly mayServe?: (region: RegionNumber, repository: RepositoryName) => boolean;
};

const SOURCES_MAX = 16;
/** Repositories of which we remember who delivered last; a forgotten one is guessed anew. */
const DELIVERIES_MAX = 10_000;
/** Manifests looked at to guess where a repository is pushed: most are pushed in one region only. */
const MANIFESTS_SAMPLED = 16;

type Evidence = {
  readonly announced: ReadonlySet<RegionNumber>;
  readonly delivered: RegionNumber | undefined;
};

export class PeerSources implements Sources {
  readonly #deps: PeerSourcesDeps;
  readonly #deliveries = new LRUCache<RepositoryName, RegionNumber>({ max: DELIVERIES_MAX });

  constructor(deps: PeerSourcesDeps) {
    this.#deps = deps;
  }

  /** Empty on behalf of another region, which asks the others itself. */
  async of(
    repository: RepositoryName,
    digest: Digest,
    context: RequestContext,
  ): Promise<readonly Upstream[]> {
    if (context.from !== undefined) return [];
    const announcer = await this.#announcerOf(repository, digest);
    const evidence: Evidence = {
      announced: announcer === undefined ? await this.#announcersIn(repository) : new Set([announcer]),
      delivered: announcer === undefined ? this.#deliveries.get(repository) : undefined,
    };
    const links = new Map(this.#deps.links().map((link) => [link.peer, link]));
    return [...this.#deps.peers]
      .filter(([region]) => this.#deps.mayServe?.(region, repository) !== false)
      .map(([region, upstream]) => ({ region, upstream, rank: rankOf(region, links.get(region), evidence) }))
      .sort((a, b) => compareRanks(a.rank, b.rank) || a.region - b.region)
      .slice(0, SOURCES_MAX)
      .map(({ region, upstream }) => this.#noting(region, upstream));
  }

  /** The region whose claim of this manifest is in force. */
  async #announcerOf(repository: RepositoryName, digest: Digest): Promise<RegionNumber | undefined> {
    const view = await this.#deps.views.get({ kind: CLAIM_KIND.manifest, repository, name: digest });
    return view?.live === true && this.#deps.peers.has(view.dot.region) ? view.dot.region : undefined;
  }

  async #announcersIn(repository: RepositoryName): Promise<ReadonlySet<RegionNumber>> {
    const views = await this.#deps.views.list(CLAIM_KIND.manifest, repository, '', MANIFESTS_SAMPLED);
    return new Set(views.map(({ dot }) => dot.region));
  }

  /** The peer, remembered for the repository when it delivers. */
  #noting(region: RegionNumber, upstream: Upstream): Upstream {
    const note = <Content>(repository: RepositoryName, content: Content): Content => {
      if (content !== undefined) this.#deliveries.set(repository, region);
      return content;
    };
    return {
      name: upstream.name,
      kind: upstream.kind,
      openBlob: async (request, context) =>
        note(request.repository, await upstream.openBlob(request, context)),
      fetchManifest: async (request, context) =>
        note(request.repository, await upstream.fetchManifest(request, context)),
    };
  }
}

/** Compared from left to right; lower is better. A link that was never measured counts as the longest. */
type Rank = readonly [down: number, guess: number, roundTripMs: number];

function rankOf(region: RegionNumber, link: Link | undefined, { announced, delivered }: Evidence): Rank {
  const guess = region === delivered ? 0 : announced.has(region) ? 1 : 2;
  return [link?.up === true ? 0 : 1, guess, link?.roundTripMs || Number.MAX_SAFE_INTEGER];
}

function compareRanks(a: Rank, b: Rank): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}
