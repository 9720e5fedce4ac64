/**
 * Joins the two families that content asks without telling them apart: the mesh's peers and the proxied registries.
 * A repository below a proxy's prefix asks its upstreams; every other one asks the mesh.
 */
import type { Sources, TagOracle, Upstream } from '#content/upstream.ts';
import type { RepositoryName } from '#domain/name.ts';

export type ProxySide = TagOracle & {
  covers(repository: RepositoryName): unknown;
  upstreamsOf(repository: RepositoryName): readonly Upstream[];
};

/** For a proxied repository the peers that have the blob come first: they are nearer than the internet, and free. */
export function joinSources(mesh: Sources, proxy: ProxySide): Sources {
  return {
    of: async (repository, digest, context) => {
      const peers = await mesh.of(repository, digest, context);
      return proxy.covers(repository) === undefined ? peers : [...peers, ...proxy.upstreamsOf(repository)];
    },
  };
}

export function joinOracles(mesh: TagOracle, proxy: ProxySide): TagOracle {
  return {
    resolve: async (repository, tag, context) => {
      const oracle = proxy.covers(repository) === undefined ? mesh : proxy;
      return await oracle.resolve(repository, tag, context);
    },
  };
}
