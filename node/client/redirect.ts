/**
 * Where a redirect may lead. Registries keep blobs on other hosts and send clients there; what they may not do is
 * lead us from a public address into the network that we stand in, or from encryption to none.
 *
 * Source: RFC 9110, section 15.4. The rule for addresses is the one that go-containerregistry keeps. Limit: it looks
 * at literal addresses; a public name that resolves to a private address is the resolver's matter.
 */
import { BlockList, isIP } from 'node:net';
import { UnavailableError } from '#domain/errors.ts';

const INSIDE = new BlockList();
INSIDE.addSubnet('0.0.0.0', 8, 'ipv4');
INSIDE.addSubnet('10.0.0.0', 8, 'ipv4');
INSIDE.addSubnet('100.64.0.0', 10, 'ipv4');
INSIDE.addSubnet('127.0.0.0', 8, 'ipv4');
INSIDE.addSubnet('169.254.0.0', 16, 'ipv4');
INSIDE.addSubnet('172.16.0.0', 12, 'ipv4');
INSIDE.addSubnet('192.168.0.0', 16, 'ipv4');
INSIDE.addSubnet('::', 127, 'ipv6');
INSIDE.addSubnet('fc00::', 7, 'ipv6');
INSIDE.addSubnet('fe80::', 10, 'ipv6');

export function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

/** @throws UnavailableError when there is no target, or none that may be followed. */
export function redirectTarget(from: URL, location: string | undefined): URL {
  const target = URL.parse(location ?? '', from);
  if (location === undefined || target === null) {
    throw new UnavailableError(`${from.host} redirected to no readable address`);
  }
  if (target.protocol !== 'https:' && target.protocol !== from.protocol) {
    throw new UnavailableError(
      `${from.host} redirected from ${from.protocol} to ${target.protocol}, which is not followed`,
    );
  }
  if (target.hostname !== from.hostname && isInside(target.hostname) && !isInside(from.hostname)) {
    throw new UnavailableError(`${from.host} redirected into a private network, which is not followed`);
  }
  return target;
}

/** A literal private, link-local or loopback address, or `localhost`. */
export function isInside(hostname: string): boolean {
  const address = hostname.replace(/^\[(.*)\]$/, '$1');
  const version = isIP(address);
  if (version === 0) return hostname === 'localhost' || hostname.endsWith('.localhost');
  return INSIDE.check(address, version === 6 ? 'ipv6' : 'ipv4');
}

/** True for addresses that never leave this machine. */
export function isLoopback(hostname: string): boolean {
  return /^(?:localhost|.*\.localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(hostname);
}
