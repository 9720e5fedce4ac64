/**
 * The mesh as this region sees it: its links, what it has not got yet, what only it holds; and one image, region by
 * region. Asked by people through the management API, so it may ask peers, and says who was silent.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestFromBytes, digestToBytes } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import { parseReference, parseRepositoryName, type Reference, type RepositoryName } from '#domain/name.ts';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Roster, RosterRegion } from '#mesh/membership/roster.ts';
import type { Holding, Link } from '#mesh/transport/transport.ts';
import type {
  BlobRows,
  CachedTagRows,
  ManifestRows,
  TaskRows,
  ViewRow,
  ViewRows,
} from '#storage/metadata.ts';
import type { Holdings } from './holdings.ts';

export type MeshStatusDeps = {
  readonly roster: Roster;
  readonly links: () => readonly Link[];
  readonly index: () => IndexStatus;
  readonly holdings: Holdings;
  readonly views: ViewRows;
  readonly manifests: ManifestRows;
  readonly blobs: BlobRows;
  readonly tasks: TaskRows;
  readonly cachedTags: CachedTagRows;
};

/** Where the replicated index stands; one entry a peer, as far as anything is known of it. */
export type IndexStatus = {
  readonly epoch: Epoch;
  readonly sequence: number;
  /** Epochs of our own that ended; `behindClaims`: at most so many of their claims have not come back. */
  readonly formerEpochs: readonly { readonly epoch: Epoch; readonly behindClaims: number }[];
  readonly peers: ReadonlyMap<RegionNumber, PeerIndexStatus>;
};

export type PeerIndexStatus = {
  readonly behindClaims: number;
  readonly unconfirmedClaims: number;
  readonly lagMs: number;
};

/** Addresses and start of this process, for whoever reads the status. */
export type MeshStatusConfig = {
  readonly registry: string;
  readonly management: string;
  readonly startedMs: number;
};

/** Distinct digests of tags whose copies a status counts: more would make it slow, and the list is then cut. */
const SOLE_COPIES_CHECKED_MAX = 500;
const SCAN_PAGE = 200;
const NOTHING_KNOWN: PeerIndexStatus = { behindClaims: 0, unconfirmedClaims: 0, lagMs: 0 };

type TaggedImage = { readonly repository: RepositoryName; readonly digest: Digest; readonly tags: string[] };

export class MeshStatusView {
  readonly #deps: MeshStatusDeps;
  readonly #config: MeshStatusConfig;

  constructor(deps: MeshStatusDeps, config: MeshStatusConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  async status(context: RequestContext) {
    const { roster, views, blobs, tasks } = this.#deps;
    const index = this.#deps.index();
    const [tags, manifests, totals, counts, sole] = await Promise.all([
      views.count(CLAIM_KIND.tag),
      views.count(CLAIM_KIND.manifest),
      blobs.totals(),
      tasks.counts(),
      this.#soleCopies(context),
    ]);
    return {
      mesh: roster.meshId,
      region: roster.self.name,
      epoch: index.epoch,
      sequence: index.sequence,
      formerEpochs: index.formerEpochs,
      ...this.#config,
      tags,
      manifests,
      blobs: totals,
      tasks: counts,
      peers: roster.peers.map((peer) => this.#peer(peer, index)),
      ...sole,
    };
  }

  /** @throws RegistryError MANIFEST_UNKNOWN when this region knows no such image. */
  async image(repository: string, reference: string, context: RequestContext) {
    const name = parseRepositoryName(repository);
    const digest = await this.#resolve(name, parseReference(reference));
    const [manifest, tags, here, others] = await Promise.all([
      this.#deps.manifests.find(digest),
      this.#deps.views.withValue(CLAIM_KIND.tag, name, digestToBytes(digest)),
      this.#deps.holdings.here(digest),
      Promise.all(this.#deps.roster.peers.map(async (peer) => await this.#imageAt(peer, digest, context))),
    ]);
    const self = { region: this.#deps.roster.self.name, ...imageState(here) };
    return {
      repository,
      reference,
      digest,
      mediaType: manifest?.mediaType ?? '',
      tags: tags.map((tag) => tag.name),
      conflict: tags.some((tag) => tag.conflict),
      regions: [self, ...others],
    };
  }

  #peer(peer: RosterRegion, index: IndexStatus) {
    const link = this.#deps.links().find((candidate) => candidate.peer === peer.number);
    return {
      region: peer.name,
      up: link?.up ?? false,
      sinceMs: link?.sinceMs ?? this.#config.startedMs,
      roundTripMs: link?.roundTripMs ?? 0,
      reason: link?.reason ?? 'never reached',
      ...(index.peers.get(peer.number) ?? NOTHING_KNOWN),
    };
  }

  async #imageAt(peer: RosterRegion, digest: Digest, context: RequestContext) {
    const answer = await this.#deps.holdings.at(peer.number, [digest], context);
    if (answer === undefined)
      return { region: peer.name, ...imageState(undefined), state: 'silent' as const };
    return { region: peer.name, ...imageState(answer.get(digest)) };
  }

  async #resolve(repository: RepositoryName, reference: Reference): Promise<Digest> {
    if ('digest' in reference) return reference.digest;
    const key = { kind: CLAIM_KIND.tag, repository, name: reference.tag };
    const [view, cached] = await Promise.all([
      this.#deps.views.get(key),
      this.#deps.cachedTags.get(repository, reference.tag),
    ]);
    const digest = view?.live ? digestFromBytes(view.value) : cached?.digest;
    if (digest !== undefined) return digest;
    throw new RegistryError('MANIFEST_UNKNOWN', `this region knows no ${repository}:${reference.tag}`);
  }

  /** Tagged images that are whole here, and whole in no peer that answered. */
  async #soleCopies(context: RequestContext) {
    const { images, capped } = await this.#taggedImages();
    const digests = [...new Set(images.map((image) => image.digest))];
    const holdings = await Promise.all(digests.map(async (digest) => await this.#deps.holdings.here(digest)));
    const mine = digests.filter((_, position) => holdings[position]?.state === 'complete');
    const answers =
      mine.length === 0
        ? []
        : await Promise.all(
            this.#deps.roster.peers.map(
              async (peer) => await this.#deps.holdings.at(peer.number, mine, context),
            ),
          );
    const sole = new Set(
      mine.filter((digest) => !answers.some((answer) => answer?.get(digest)?.state === 'complete')),
    );
    return { soleCopies: images.filter((image) => sole.has(image.digest)), soleCopiesCapped: capped };
  }

  async #taggedImages(): Promise<{ readonly images: readonly TaggedImage[]; readonly capped: boolean }> {
    const images = new Map<string, TaggedImage>();
    let after = { repository: '', name: '' };
    for (;;) {
      const page = await this.#deps.views.scan(CLAIM_KIND.tag, after, SCAN_PAGE);
      for (const row of page) {
        if (images.size >= SOLE_COPIES_CHECKED_MAX) return { images: [...images.values()], capped: true };
        addTag(images, row);
      }
      const last = page.at(-1);
      if (last === undefined || page.length < SCAN_PAGE)
        return { images: [...images.values()], capped: false };
      after = { repository: last.repository, name: last.name };
    }
  }
}

function addTag(images: Map<string, TaggedImage>, row: ViewRow): void {
  const digest = digestFromBytes(row.value);
  if (digest === undefined) return;
  const key = `${row.repository}@${digest}`;
  const known = images.get(key) ?? { repository: row.repository as RepositoryName, digest, tags: [] };
  known.tags.push(row.name);
  images.set(key, known);
}

function imageState(holding: Holding | undefined) {
  return {
    state: holding?.state ?? ('absent' as const),
    sizeBytes: holding?.sizeBytes ?? 0,
    sizeBytesHere: holding?.sizeBytesHere ?? 0,
    bytesBySource: holding?.bytesBySource ?? {},
    storedMs: holding?.storedMs ?? 0,
  };
}
