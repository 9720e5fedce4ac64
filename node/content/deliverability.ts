/**
 * Whether a manifest's content can be had here, so that a region never answers a manifest that it knows it cannot
 * deliver: many clients choose a mirror by its manifest and are then stuck with it (DESIGN.md, P3).
 *
 * It is asked on every pull, so answers are remembered: for a minute when everything is here, for a few seconds when
 * something has to come from elsewhere. What cannot be found out in a short time counts as deliverable, because a
 * region refuses only what it knows.
 */
import { LRUCache } from 'lru-cache';
import type { Digest } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import type { ManifestRows } from '#storage/metadata.ts';
import { inParallel } from './in-parallel.ts';
import { orAborted } from './or-aborted.ts';
import type { Sources } from './upstream.ts';

export type DeliverabilityDeps = {
  readonly manifests: Pick<ManifestRows, 'presence'>;
  readonly sources: Sources;
  readonly clock: Clock;
};

const REMEMBERED_MAX = 10_000;
const COMPLETE_MS = 60_000;
const ELSEWHERE_MS = 5000;
/** Sources answer from memory or within their own budget; a pull should not feel this question. */
const BUDGET_MS = 1000;
const QUESTIONS_MAX = 8;

export class Deliverability {
  readonly #deps: DeliverabilityDeps;
  readonly #known: LRUCache<string, true>;

  constructor(deps: DeliverabilityDeps) {
    this.#deps = deps;
    this.#known = new LRUCache({
      max: REMEMBERED_MAX,
      ttl: COMPLETE_MS,
      // Asking the clock costs less than the timer that would spare it.
      ttlResolution: 0,
      perf: { now: () => deps.clock.monotonicMs() },
    });
  }

  /** @throws UnavailableError naming a blob that is neither here nor with any source. */
  async require(repository: RepositoryName, manifest: Digest, context: RequestContext): Promise<void> {
    const key = keyOf(repository, manifest);
    if (this.#known.has(key)) return;
    const { missingBlobs } = await this.#deps.manifests.presence(manifest);
    if (missingBlobs.length > 0) {
      const digests = missingBlobs.map(({ digest }) => digest);
      await this.#requireSources(repository, digests, context);
    }
    this.#known.set(key, true, { ttl: missingBlobs.length > 0 ? ELSEWHERE_MS : COMPLETE_MS });
  }

  /** True when it was found out lately that it can be had; what `require` would say at once. */
  isKnown(repository: RepositoryName, manifest: Digest): boolean {
    return this.#known.has(keyOf(repository, manifest));
  }

  /** A blob that was thought to be here is not. */
  forget(): void {
    this.#known.clear();
  }

  async #requireSources(
    repository: RepositoryName,
    missing: readonly Digest[],
    context: RequestContext,
  ): Promise<void> {
    const late = new AbortController();
    using _timer = this.#deps.clock.after(BUDGET_MS, () => late.abort(new Error('no time left')));
    const ask = async (digest: Digest, signal: AbortSignal) => {
      const asked = this.#deps.sources.of(repository, digest, { ...context, signal });
      const sources = await orAborted(asked, signal);
      if (sources.length > 0) return;
      throw new UnavailableError(`blob ${digest} of ${repository} is neither here nor with anybody known`);
    };
    try {
      const signal = AbortSignal.any([context.signal, late.signal]);
      await inParallel(missing, ask, { limit: QUESTIONS_MAX, signal });
    } catch (thrown) {
      context.signal.throwIfAborted();
      if (!late.signal.aborted) throw thrown;
    }
  }
}

function keyOf(repository: RepositoryName, manifest: Digest): string {
  return `${repository}\n${manifest}`;
}
