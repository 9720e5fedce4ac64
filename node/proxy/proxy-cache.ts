/**
 * Pull-through caches: a repository prefix whose content comes from registries outside of the mesh.
 *
 * Content is named by digest and never goes stale, so fills keep it like any other and nobody asks for it again. A
 * tag is a row of this region's cache: while it is fresh it is answered as it is; then the upstream is asked for its
 * digest (by HEAD, which rate limits do not count), and for the manifest only when that is not here yet. When no
 * upstream answers, the policy says whether the cached digest is good enough. What an upstream says it does not have
 * is forgotten here too, at once.
 * Limits: upstreams are asked in order, one after the other, within one budget; tags are checked when asked for, never
 * ahead of it.
 */
import type { ContentSource, TagAnswer, TagOracle, Upstream, UpstreamManifest } from '#content/upstream.ts';
import type { Digest } from '#domain/digest.ts';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import { parseTag, type RepositoryName, type Tag } from '#domain/name.ts';
import type { RegionName } from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { ProxySettings } from '#policies/model.ts';
import { proxyOf } from '#policies/policy-set.ts';
import { deadline } from '#runtime/clock.ts';
import { Flight } from '#runtime/flight.ts';
import { Counter, type Registry } from '#runtime/metrics.ts';
import type { CachedTagRow, CachedTagRows, ManifestRows } from '#storage/metadata.ts';
import { UpstreamClients, type UpstreamClientsConfig, type UpstreamClientsDeps } from './upstream-clients.ts';
import { UpstreamRegistry } from './upstream-registry.ts';

export type ProxyCacheDeps = UpstreamClientsDeps & {
  readonly cachedTags: Pick<CachedTagRows, 'get' | 'put' | 'remove'>;
  readonly manifests: Pick<ManifestRows, 'find' | 'isLinked' | 'record'>;
  readonly metrics: Registry;
};

export type ProxyCacheConfig = UpstreamClientsConfig & {
  /** This region, as the source of what is answered from the cache. */
  readonly region: RegionName;
  /**
   * How long all upstreams together may take to say what a tag is, in ms. Default 8000: docker gives up at 15,000,
   * and a client that waits longer than that gets nothing from a stale answer.
   */
  readonly askBudgetMs?: number;
};

type Outcome = 'hit' | 'miss' | 'stale' | 'absent' | 'failed';
type Asked = { readonly outcome: Outcome; readonly answer: TagAnswer };
type Question = {
  readonly proxy: ProxySettings;
  readonly repository: RepositoryName;
  readonly tag: Tag;
  readonly row: CachedTagRow | undefined;
};

const ASK_BUDGET_MS = 8_000;

export class ProxyCache implements TagOracle, AsyncDisposable {
  readonly #deps: ProxyCacheDeps;
  readonly #config: ProxyCacheConfig;
  readonly #clients: UpstreamClients;
  readonly #flight = new Flight<string, Asked>();
  readonly #lookups: Counter<'proxy' | 'outcome'>;

  constructor(deps: ProxyCacheDeps, config: ProxyCacheConfig) {
    this.#deps = deps;
    this.#config = config;
    this.#clients = new UpstreamClients(deps, config);
    this.#lookups = new Counter({
      name: 'fairway_proxy_tag_lookups_total',
      help: 'Tags of proxy caches that clients asked for: hit (fresh), miss (asked upstream), stale, absent, failed',
      labelNames: ['proxy', 'outcome'],
      registers: [deps.metrics],
    });
  }

  /** The cache that serves this repository. */
  covers(repository: RepositoryName): ProxySettings | undefined {
    return proxyOf(this.#deps.policies.current(), repository);
  }

  /** Why nothing can be pushed to this repository, and what to do instead; `undefined` when a cache has no say in it. */
  refuseWrite(repository: RepositoryName): string | undefined {
    const proxy = this.covers(repository);
    if (proxy === undefined) return undefined;
    return (
      `"${repository}" belongs to the proxy cache "${proxy.name}" of ${proxy.upstreams.join(', ')}, which is read ` +
      `only: push to a repository outside of "${proxy.prefix}/", or to the upstream itself`
    );
  }

  /** Where a fill may read this repository's content from, best first; empty when no cache serves it. */
  upstreamsOf(repository: RepositoryName): readonly Upstream[] {
    return this.#registriesOf(this.covers(repository));
  }

  /** `absent` also for a repository that no cache serves. @throws UnavailableError when it cannot be known. */
  async resolve(repository: RepositoryName, tag: string, context: RequestContext): Promise<TagAnswer> {
    const proxy = this.covers(repository);
    if (proxy === undefined) return { outcome: 'absent' };
    const row = await this.#deps.cachedTags.get(repository, tag);
    const isFresh = row !== undefined && this.#isFresh(row, proxy);
    // Another region that asks is told what is here; it asks upstreams itself.
    if (row !== undefined && (isFresh || context.from !== undefined)) {
      this.#count(proxy, 'hit');
      return found(row.digest, { kind: 'local', name: this.#config.region });
    }
    if (context.from !== undefined) return { outcome: 'absent' };
    return await this.#ask({ proxy, repository, tag: parseTag(tag), row }, context);
  }

  /** Breaks off what is still under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#clients[Symbol.asyncDispose]();
  }

  #registriesOf(proxy: ProxySettings | undefined): readonly UpstreamRegistry[] {
    if (proxy === undefined) return [];
    return proxy.upstreams.map((name) => new UpstreamRegistry(this.#clients, proxy, name));
  }

  /** A row from the future (the clock was set back) is not believed. */
  #isFresh(row: CachedTagRow, proxy: ProxySettings): boolean {
    const ageMs = this.#deps.clock.nowMs() - row.checkedMs;
    return ageMs >= 0 && ageMs < proxy.freshness.timeToLiveMs;
  }

  async #ask(question: Question, context: RequestContext): Promise<TagAnswer> {
    const { proxy, repository, tag } = question;
    try {
      const { outcome, answer } = await this.#flight.join(`${repository}:${tag}`, context.signal, (signal) =>
        this.#askAll(question, { ...context, signal }),
      );
      this.#count(proxy, outcome);
      return answer;
    } catch (thrown) {
      if (!context.signal.aborted) this.#count(proxy, 'failed');
      throw thrown;
    }
  }

  /** The first upstream that has the tag says what it is; it is absent when all of them say so. */
  async #askAll(question: Question, context: RequestContext): Promise<Asked> {
    const { proxy, repository, tag } = question;
    const budgetMs = this.#config.askBudgetMs ?? ASK_BUDGET_MS;
    const budget = deadline(context.signal, budgetMs);
    const failures: string[] = [];
    for (const upstream of this.#registriesOf(proxy)) {
      try {
        const answer = await this.#askOne(upstream, question, { ...context, signal: budget });
        if (answer !== undefined) return { outcome: 'miss', answer };
      } catch (thrown) {
        context.signal.throwIfAborted();
        if (!budget.aborted && !(thrown instanceof UnavailableError)) throw thrown;
        failures.push(
          budget.aborted ? `${upstream.name}: no answer within ${budgetMs} ms` : messageOf(thrown),
        );
      }
    }
    if (failures.length > 0) return this.#withoutUpstream(question, failures);
    await this.#deps.cachedTags.remove(repository, tag);
    return { outcome: 'absent', answer: { outcome: 'absent' } };
  }

  async #askOne(
    upstream: UpstreamRegistry,
    { repository, tag }: Question,
    context: RequestContext,
  ): Promise<TagAnswer | undefined> {
    const head = await upstream.headManifest({ repository, reference: { tag } }, context);
    if (head === undefined) return undefined;
    const isKnown = head.digest !== undefined && (await this.#isKnown(repository, head.digest));
    const manifest = isKnown ? undefined : await this.#fetch(upstream, { repository, tag, ...head }, context);
    const digest = manifest?.digest ?? head.digest;
    if (digest === undefined) return undefined;
    await this.#remember({ repository, tag, digest }, manifest);
    return { ...found(digest, { kind: 'upstream', name: upstream.name }), ...(manifest && { manifest }) };
  }

  /** Where the store refuses, the tag is answered all the same, and asked for again by the next one. */
  async #remember(
    row: Omit<CachedTagRow, 'checkedMs'>,
    manifest: UpstreamManifest | undefined,
  ): Promise<void> {
    const { manifests, cachedTags, clock, log } = this.#deps;
    const { repository, tag, digest } = row;
    try {
      if (manifest !== undefined) await manifests.record(repository, manifest);
      await cachedTags.put({ ...row, checkedMs: clock.nowMs() });
    } catch (thrown) {
      if (!(thrown instanceof UnavailableError)) throw thrown;
      log.warn('tag not cached', { repository, tag, digest, err: thrown });
    }
  }

  /** True when the manifest's bytes are here; they are then linked to the repository, where another one brought them. */
  async #isKnown(repository: RepositoryName, digest: Digest): Promise<boolean> {
    const manifest = await this.#deps.manifests.find(digest);
    if (manifest === undefined) return false;
    if (!(await this.#deps.manifests.isLinked(repository, digest))) {
      await this.#deps.manifests.record(repository, manifest);
    }
    return true;
  }

  /** By digest where the HEAD named one, so that a tag that moves in between is not mixed up. */
  async #fetch(
    upstream: UpstreamRegistry,
    wanted: { readonly repository: RepositoryName; readonly tag: Tag; readonly digest: Digest | undefined },
    context: RequestContext,
  ): Promise<UpstreamManifest | undefined> {
    const { repository, tag, digest } = wanted;
    const reference = digest === undefined ? { tag } : { digest };
    const manifest = await upstream.fetchManifest({ repository, reference }, context);
    if (manifest !== undefined || digest === undefined) return manifest;
    throw new UnavailableError(
      `upstream "${upstream.name}" names ${digest} for the tag ${tag}, and does not have it`,
    );
  }

  #withoutUpstream({ proxy, repository, tag, row }: Question, failures: readonly string[]): Asked {
    if (row !== undefined && proxy.freshness.whenDown === 'stale') {
      this.#deps.log.warn('stale tag served', {
        repository,
        tag,
        policy: proxy.name,
        reason: failures.join('; '),
      });
      const source: ContentSource = { kind: 'stale', name: proxy.upstreams[0] ?? proxy.name };
      return { outcome: 'stale', answer: found(row.digest, source) };
    }
    const cached = row === undefined ? 'it is not cached' : 'the cache is to fail rather than be stale';
    throw new UnavailableError(
      `no upstream of the proxy cache "${proxy.name}" could say what ${repository}:${tag} is, and ${cached}: ` +
        failures.join('; '),
      { tried: failures },
    );
  }

  #count(proxy: ProxySettings, outcome: Outcome): void {
    this.#lookups.inc({ proxy: proxy.name, outcome });
  }
}

function found(digest: Digest, source: ContentSource): TagAnswer & { readonly outcome: 'found' } {
  return { outcome: 'found', digest, source };
}
