/** A proxy cache with its upstream: a small registry that a test fills, stops and breaks. */
import { HOST_LIMITS } from '#client/host-limits.ts';
import { type Digest, digestOf } from '#domain/digest.ts';
import { parseRegionName } from '#domain/region.ts';
import type { ProxySettings, SecretSource, UpstreamSettings } from '#policies/model.ts';
import { NO_POLICIES, type PolicySet } from '#policies/policy-set.ts';
import { ProxyCache } from '#proxy/proxy-cache.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import type { CachedTagRow, CachedTagRows, ManifestRow, ManifestRows } from '#storage/metadata.ts';
import { Counterpart, type Handler, sendError, sendManifest } from '#test/client/counterpart.ts';
import { ManualClock } from '#test/client/manual-clock.ts';

export const TIME_TO_LIVE_MS = 600_000;

/** Manifests by tag or digest under the upstream's own repository names; everything else is 404. */
export class FakeRegistry implements AsyncDisposable {
  readonly counterpart: Counterpart;
  readonly #content: Map<string, Buffer>;
  readonly #state: { override: Handler | undefined };

  private constructor(
    counterpart: Counterpart,
    content: Map<string, Buffer>,
    state: { override: Handler | undefined },
  ) {
    this.counterpart = counterpart;
    this.#content = content;
    this.#state = state;
  }

  static async start(): Promise<FakeRegistry> {
    const content = new Map<string, Buffer>();
    const state: { override: Handler | undefined } = { override: undefined };
    const counterpart = await Counterpart.start((request, response) => {
      if (state.override !== undefined) return state.override(request, response);
      const bytes = content.get(request.url ?? '');
      if (bytes === undefined) sendError(response, 404);
      else if (request.url?.includes('/blobs/')) response.end(bytes);
      else sendManifest(response, bytes);
    });
    return new FakeRegistry(counterpart, content, state);
  }

  get url(): string {
    return this.counterpart.url;
  }

  /** `GET manifests/latest`, for every request so far. */
  get asked(): readonly string[] {
    return this.counterpart.seen.map(
      ({ method, path }) => `${method} ${path.split('/').slice(-2).join('/')}`,
    );
  }

  setTag(repository: string, tag: string, manifest: Uint8Array): Digest {
    const digest = digestOf(manifest);
    this.#content.set(`/v2/${repository}/manifests/${tag}`, Buffer.from(manifest));
    this.#content.set(`/v2/${repository}/manifests/${digest}`, Buffer.from(manifest));
    return digest;
  }

  setBlob(repository: string, bytes: Uint8Array): Digest {
    const digest = digestOf(bytes);
    this.#content.set(`/v2/${repository}/blobs/${digest}`, Buffer.from(bytes));
    return digest;
  }

  remove(repository: string, path: string): void {
    this.#content.delete(`/v2/${repository}/${path}`);
  }

  /** Until it is mended by `undefined`. */
  break(handler: Handler | undefined): void {
    this.#state.override = handler;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.counterpart[Symbol.asyncDispose]();
  }
}

export class FakeCachedTags implements Pick<CachedTagRows, 'get' | 'put' | 'remove'> {
  readonly rows = new Map<string, CachedTagRow>();

  async get(repository: string, tag: string): Promise<CachedTagRow | undefined> {
    return this.rows.get(`${repository}:${tag}`);
  }

  async put(row: CachedTagRow): Promise<void> {
    this.rows.set(`${row.repository}:${row.tag}`, row);
  }

  async remove(repository: string, tag: string): Promise<void> {
    this.rows.delete(`${repository}:${tag}`);
  }
}

export class FakeManifests implements Pick<ManifestRows, 'find' | 'isLinked' | 'record'> {
  readonly rows = new Map<Digest, ManifestRow>();
  readonly links = new Set<string>();

  async find(digest: Digest): Promise<ManifestRow | undefined> {
    return this.rows.get(digest);
  }

  async isLinked(repository: string, digest: Digest): Promise<boolean> {
    return this.links.has(`${repository}@${digest}`);
  }

  async record(repository: string, manifest: ManifestRow): Promise<void> {
    this.rows.set(manifest.digest, manifest);
    this.links.add(`${repository}@${manifest.digest}`);
  }
}

export type Setup = {
  readonly whenDown?: 'stale' | 'fail';
  readonly upstreams?: readonly UpstreamSettings[];
  readonly proxy?: Partial<ProxySettings>;
  readonly resolveSecret?: (source: SecretSource) => Promise<string>;
  readonly askBudgetMs?: number;
};

/** A cache of prefix `hub` over `upstreams`, or over one registry of its own called `hub`. */
export async function startProxy(setup: Setup = {}) {
  const stack = new AsyncDisposableStack();
  const registry = stack.use(await FakeRegistry.start());
  const clock = new ManualClock();
  const cachedTags = new FakeCachedTags();
  const manifests = new FakeManifests();
  const metrics = new Registry();
  const upstreams = setup.upstreams ?? [{ name: 'hub', url: registry.url }];
  const proxy: ProxySettings = {
    name: 'docker-hub',
    prefix: 'hub',
    upstreams: upstreams.map(({ name }) => name),
    freshness: { timeToLiveMs: TIME_TO_LIVE_MS, whenDown: setup.whenDown ?? 'stale' },
    ...setup.proxy,
  };
  const policies: { set: PolicySet } = { set: { ...NO_POLICIES, proxies: [proxy], upstreams } };
  const cache = stack.use(
    new ProxyCache(
      {
        policies: { current: () => policies.set },
        cachedTags,
        manifests,
        clock,
        metrics,
        log: silentLog,
        resolveSecret: setup.resolveSecret ?? (() => Promise.reject(new Error('no secrets here'))),
      },
      {
        region: parseRegionName('eu-west'),
        limits: { ...HOST_LIMITS, failuresMax: 1_000 },
        ...(setup.askBudgetMs === undefined ? {} : { askBudgetMs: setup.askBudgetMs }),
      },
    ),
  );
  const lookups = async (): Promise<Readonly<Record<string, number>>> => {
    const metric = await metrics.getSingleMetric('fairway_proxy_tag_lookups_total')?.get();
    return Object.fromEntries(
      (metric?.values ?? []).map(({ labels, value }) => [String(labels['outcome']), value]),
    );
  };
  return {
    registry,
    clock,
    cachedTags,
    manifests,
    policies,
    cache,
    lookups,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
