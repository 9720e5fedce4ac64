/**
 * What must be whole in this region, as far as policies go: pure questions to a set of policies.
 *
 * Tags select; what is wanted is the digest that they point at, with everything below it. Repositories of a proxy
 * are none of replication's business: their tags are no claims.
 */
import type { RegionName } from '#domain/region.ts';
import type { ReplicationSettings } from '#policies/model.ts';
import { type PolicySet, proxyOf, replicatesTo } from '#policies/policy-set.ts';
import type { Presence } from '#storage/metadata.ts';

/** The policies that copy to this region, in order of their names. */
export function policiesFor(set: PolicySet, region: RegionName): readonly ReplicationSettings[] {
  return set.replication
    .filter((policy) => replicatesTo(policy, region))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * The policy on whose behalf the tag's image is copied here: the first that selects it, because one copy serves all.
 * `undefined`: nothing wants it.
 */
export function policyWanting(
  set: PolicySet,
  policies: readonly ReplicationSettings[],
  image: { readonly repository: string; readonly tag: string },
): ReplicationSettings | undefined {
  if (proxyOf(set, image.repository) !== undefined) return undefined;
  return policies.find(({ selection }) => selection.repository(image.repository) && selection.tag(image.tag));
}

export function isComplete(presence: Presence): boolean {
  return presence.manifestsHere === presence.manifests && presence.blobsHere === presence.blobs;
}
