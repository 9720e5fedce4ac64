/**
 * Manifests from elsewhere: the same as a fill, for what is small enough to be held in memory. One request per
 * digest however many ask; every answer is verified, whoever sent it, before anybody sees it.
 */
import { algorithmOf, type Digest, digestOf } from '#domain/digest.ts';
import { messageOf, RegistryError, UnavailableError } from '#domain/errors.ts';
import { MANIFEST_BYTES_MAX, parseManifest } from '#domain/manifest.ts';
import type { RepositoryName } from '#domain/name.ts';
import { type RequestContext, requestFields } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import { Flight } from '#runtime/flight.ts';
import type { Log } from '#runtime/log.ts';
import type { ManifestRow } from '#storage/metadata.ts';
import { contentSource } from './candidates.ts';
import { orAborted } from './or-aborted.ts';
import type { ContentSource, Sources, Upstream, UpstreamManifest } from './upstream.ts';

export type ManifestFetchDeps = {
  readonly sources: Sources;
  readonly clock: Clock;
  readonly log: Log;
};

export type ManifestFetchConfig = {
  /** How long one source may take for the whole manifest. Default 5000: 4 MiB over a long link. */
  readonly sourceMs?: number;
  /** No further source is asked after this. Default 10000: clients give up at 15 s. */
  readonly totalMs?: number;
};

export type FetchedManifest = ManifestRow & { readonly source: ContentSource };

export class ManifestFetch {
  readonly #deps: ManifestFetchDeps;
  readonly #config: Required<ManifestFetchConfig>;
  readonly #flight = new Flight<string, FetchedManifest | undefined>();

  constructor(deps: ManifestFetchDeps, config: ManifestFetchConfig = {}) {
    this.#deps = deps;
    this.#config = { sourceMs: 5000, totalMs: 10_000, ...config };
  }

  /**
   * Verified bytes, not recorded. `undefined`: every source says that it does not have it.
   * @throws UnavailableError that names each source and why it failed.
   */
  async fetch(
    repository: RepositoryName,
    digest: Digest,
    context: RequestContext,
  ): Promise<FetchedManifest | undefined> {
    return await this.#flight.join(`${repository}\n${digest}`, context.signal, (signal) =>
      this.#ask(repository, digest, { ...context, signal }),
    );
  }

  async #ask(
    repository: RepositoryName,
    digest: Digest,
    context: RequestContext,
  ): Promise<FetchedManifest | undefined> {
    const { sources, clock, log } = this.#deps;
    const startedMs = clock.monotonicMs();
    const tried: string[] = [];
    let failed = false;
    for (const upstream of await orAborted(sources.of(repository, digest, context), context.signal)) {
      if (clock.monotonicMs() - startedMs > this.#config.totalMs) {
        tried.push(`${upstream.name}: not asked, no time left`);
        failed = true;
        continue;
      }
      try {
        const found = await this.#askOne(upstream, { repository, digest }, context);
        if (found !== undefined) return { ...found, source: contentSource(upstream) };
        tried.push(`${upstream.name}: does not have it`);
      } catch (thrown) {
        context.signal.throwIfAborted();
        const reason = messageOf(thrown);
        log.warn('source of a manifest failed', {
          ...requestFields(context),
          repository,
          digest,
          upstream: upstream.name,
          reason,
        });
        tried.push(`${upstream.name}: ${reason}`);
        failed = true;
      }
    }
    if (failed)
      throw new UnavailableError(`no source delivered manifest ${digest} of ${repository}`, { tried });
    return undefined;
  }

  async #askOne(
    upstream: Upstream,
    { repository, digest }: { readonly repository: RepositoryName; readonly digest: Digest },
    context: RequestContext,
  ): Promise<ManifestRow | undefined> {
    const late = new AbortController();
    const signal = AbortSignal.any([context.signal, late.signal]);
    using _timer = this.#deps.clock.after(this.#config.sourceMs, () =>
      late.abort(new UnavailableError(`did not answer within ${this.#config.sourceMs} ms`)),
    );
    const asked = upstream.fetchManifest({ repository, reference: { digest } }, { ...context, signal });
    const found = await orAborted(asked, signal);
    return found === undefined ? undefined : verified(found, digest);
  }
}

/** @throws UnavailableError when the bytes are not what was asked for, or no manifest. */
export function verified(manifest: UpstreamManifest, digest: Digest): ManifestRow {
  const { bytes, mediaType } = manifest;
  if (bytes.byteLength > MANIFEST_BYTES_MAX) {
    throw new UnavailableError(`sent a manifest of ${bytes.byteLength} bytes`);
  }
  const actual = digestOf(bytes, algorithmOf(digest));
  if (actual !== digest) throw new UnavailableError(`sent a manifest with the digest ${actual}`);
  try {
    return { digest, mediaType: parseManifest(bytes, mediaType).mediaType, bytes };
  } catch (cause) {
    if (!(cause instanceof RegistryError)) throw cause;
    throw new UnavailableError(`sent what is no manifest: ${cause.message}`, { cause });
  }
}
