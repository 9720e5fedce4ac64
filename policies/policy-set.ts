/**
 * Policies side by side: what they say together, and where they contradict each other or name what is not there.
 *
 * `apply` refuses a text that brings such a problem. What two regions applied without seeing each other may still
 * have one: then the later of two proxies that overlap, and a proxy without a known upstream, are left out.
 */
import type { RegionName } from '#domain/region.ts';
import type {
  DocumentPath,
  PolicyDocument,
  ProxySettings,
  ReplicationSettings,
  UpstreamSettings,
} from './model.ts';
import type { PolicyProblem } from './problem.ts';
import { suggest } from './suggest.ts';

/** What is in force. */
export type PolicySet = {
  readonly replication: readonly ReplicationSettings[];
  readonly proxies: readonly ProxySettings[];
  readonly upstreams: readonly UpstreamSettings[];
};

export const NO_POLICIES: PolicySet = { replication: [], proxies: [], upstreams: [] };

/** What the documents are checked against; `undefined` for a check of files alone, where nobody knows the mesh. */
export type KnownMesh = { readonly regions: readonly RegionName[] } | undefined;

/** @returns the policies that can be in force, and every problem; of two that clash, the later one has it. */
export function resolvePolicies(
  documents: readonly PolicyDocument[],
  mesh: KnownMesh,
): { readonly set: PolicySet; readonly problems: readonly PolicyProblem[] } {
  const problems: PolicyProblem[] = [];
  const replication: ReplicationSettings[] = [];
  const proxies: ProxySettings[] = [];
  const upstreams = documents.flatMap((one) => (one.kind === 'UpstreamRegistry' ? [one.settings] : []));
  for (const document of documents) {
    if (document.kind === 'ReplicationPolicy') {
      // A region that left is no reason to stop copying to those that are there.
      problems.push(...(mesh === undefined ? [] : regionProblems(document.settings, document, mesh.regions)));
      replication.push(document.settings);
    }
    if (document.kind === 'ProxyCache') {
      const found = [
        ...overlapProblems(document.settings, document, proxies),
        ...(mesh === undefined ? [] : upstreamProblems(document.settings, document, upstreams)),
      ];
      problems.push(...found);
      if (found.length === 0) proxies.push(document.settings);
    }
  }
  return { set: { replication, proxies, upstreams }, problems };
}

/** True when the images that the policy selects must be whole in this region. */
export function replicatesTo(policy: ReplicationSettings, region: RegionName): boolean {
  const { regions, except } = policy.to;
  return !policy.suspend && !except.includes(region) && (regions === 'all' || regions.includes(region));
}

/** The proxy that serves this repository. */
export function proxyOf(set: PolicySet, repository: string): ProxySettings | undefined {
  return set.proxies.find((proxy) => isBelow(repository, proxy.prefix));
}

function isBelow(repository: string, prefix: string): boolean {
  return repository === prefix || repository.startsWith(`${prefix}/`);
}

type Placed = Pick<PolicyDocument, 'place'>;

function regionProblems(
  policy: ReplicationSettings,
  document: Placed,
  known: readonly RegionName[],
): readonly PolicyProblem[] {
  const { regions, except } = policy.to;
  const named: readonly (readonly [RegionName, DocumentPath])[] = [
    ...(regions === 'all' ? [] : regions.map((name, at) => [name, ['spec', 'to', 'regions', at]] as const)),
    ...except.map((name, at) => [name, ['spec', 'to', 'except', at]] as const),
  ];
  const expected = `one of ${known.toSorted().join(', ')}`;
  return named
    .filter(([name]) => !known.includes(name))
    .map(([name, path]) => ({
      ...document.place(path),
      message: `unknown region "${name}"; ${hint(name, known, expected)}`,
      expected,
    }));
}

function upstreamProblems(
  proxy: ProxySettings,
  document: Placed,
  upstreams: readonly UpstreamSettings[],
): readonly PolicyProblem[] {
  const known = upstreams.map((upstream) => upstream.name).toSorted();
  const expected = known.length === 0 ? 'an UpstreamRegistry of that name' : `one of ${known.join(', ')}`;
  return proxy.upstreams.flatMap((name, at) => {
    if (known.includes(name)) return [];
    const message = `ProxyCache/${proxy.name} needs UpstreamRegistry/${name}, which is not there; ${hint(name, known, expected)}`;
    return [{ ...document.place(['spec', 'upstreams', at]), message, expected }];
  });
}

function overlapProblems(
  proxy: ProxySettings,
  document: Placed,
  earlier: readonly ProxySettings[],
): readonly PolicyProblem[] {
  return earlier
    .filter((other) => isBelow(proxy.prefix, other.prefix) || isBelow(other.prefix, proxy.prefix))
    .map((other) => ({
      ...document.place(['spec', 'serve', 'prefix']),
      message: `prefix "${proxy.prefix}" overlaps with "${other.prefix}" of ProxyCache/${other.name}`,
    }));
}

function hint(name: string, known: readonly string[], expected: string): string {
  const meant = suggest(name, known);
  return meant === undefined ? `expected ${expected}` : `did you mean "${meant}"? Expected ${expected}`;
}
