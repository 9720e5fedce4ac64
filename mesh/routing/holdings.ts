/**
 * Who holds what, asked and answered: for a list of manifests, how much of each one's closure is durable in a
 * region. Answers are facts of the moment, from the rows of committed blobs; nothing is stored of what peers say.
 */
import { type Digest, isDigest } from '#domain/digest.ts';
import { messageOf } from '#domain/errors.ts';
import type { RegionNumber } from '#domain/region.ts';
import { asking, type RequestContext, requestFields } from '#domain/request-context.ts';
import type { Holding, HoldingsReply, HoldingsRequest, Transport } from '#mesh/transport/transport.ts';
import type { Log } from '#runtime/log.ts';
import type { ManifestRows, Presence } from '#storage/metadata.ts';

export type HoldingsDeps = {
  readonly manifests: Pick<ManifestRows, 'find' | 'presence'>;
  /** True while a fill of this blob is in the air. */
  readonly isFilling: (digest: Digest) => boolean;
  readonly transport: Pick<Transport, 'holdings'>;
  readonly log: Log;
};

/** What one question may ask; the seam refuses more. */
export const HOLDINGS_MAX = 1000;
/** A peer that has not answered by then counts as silent: a status is a question of a person who waits. */
const ANSWER_TIMEOUT_MS = 2000;

export class Holdings {
  readonly #deps: HoldingsDeps;

  constructor(deps: HoldingsDeps) {
    this.#deps = deps;
  }

  /** What this region holds of one manifest; `undefined` when it knows nothing of it. */
  async here(digest: Digest): Promise<Holding | undefined> {
    const presence = await this.#deps.manifests.presence(digest);
    if (presence.manifestsHere === 0) return undefined;
    return {
      digest,
      state: this.#stateOf(presence),
      sizeBytes: presence.sizeBytes,
      sizeBytesHere: presence.sizeBytesHere,
      bytesBySource: presence.bytesBySource,
      storedMs: presence.newestStoredMs,
    };
  }

  /** Answers a peer. Malformed digests are passed over: nobody holds them. */
  async answer(request: HoldingsRequest): Promise<HoldingsReply> {
    const holdings: Holding[] = [];
    for (const digest of request.digests.slice(0, HOLDINGS_MAX)) {
      const holding = isDigest(digest) ? await this.here(digest) : undefined;
      if (holding !== undefined) holdings.push(holding);
    }
    return { holdings };
  }

  /** Asks one peer; `undefined` when it is silent. */
  async at(
    peer: RegionNumber,
    digests: readonly Digest[],
    context: RequestContext,
  ): Promise<ReadonlyMap<string, Holding> | undefined> {
    const signal = AbortSignal.any([context.signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
    try {
      const reply = await this.#deps.transport.holdings(peer, { ...asking(context), digests }, signal);
      return new Map(reply.holdings.map((holding) => [holding.digest, holding]));
    } catch (thrown) {
      context.signal.throwIfAborted();
      this.#deps.log.debug('peer was silent', {
        ...requestFields(context),
        peer: String(peer),
        reason: messageOf(thrown),
      });
      return undefined;
    }
  }

  #stateOf(presence: Presence): Holding['state'] {
    if (isComplete(presence)) return 'complete';
    return presence.missingBlobs.some((blob) => this.#deps.isFilling(blob.digest)) ? 'filling' : 'known';
  }
}

/** Everything of the closure that must be here is here. */
export function isComplete(presence: Presence): boolean {
  return presence.manifestsHere === presence.manifests && presence.blobsHere === presence.blobs;
}
