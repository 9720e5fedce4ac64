/**
 * Names on the other side: what a repository below a cache's prefix is called at its upstream, and where that is.
 *
 * Docker Hub is the one registry whose address is not its name, and whose official images have a folder that people
 * leave out. Source: the reference grammar of CNCF distribution (`docker.io`, `library/`).
 */
import { parseRepositoryName, type RepositoryName } from '#domain/name.ts';
import type { ProxySettings } from '#policies/model.ts';

const DOCKER_HUB = 'https://registry-1.docker.io';
const DOCKER_HUB_HOSTS: ReadonlySet<string> = new Set([
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
  'registry.hub.docker.com',
]);

/** Where the registry answers that people call `url`. */
export function upstreamAddress(url: string): string {
  return isDockerHub(url) ? DOCKER_HUB : url;
}

/** `undefined` for the prefix alone, which is no repository of the upstream. */
export function upstreamRepository(
  proxy: Pick<ProxySettings, 'prefix'>,
  repository: RepositoryName,
  url: string,
): RepositoryName | undefined {
  if (!repository.startsWith(`${proxy.prefix}/`)) return undefined;
  const rest = repository.slice(proxy.prefix.length + 1);
  return parseRepositoryName(isDockerHub(url) && !rest.includes('/') ? `library/${rest}` : rest);
}

function isDockerHub(url: string): boolean {
  return DOCKER_HUB_HOSTS.has(URL.parse(url)?.hostname ?? '');
}
