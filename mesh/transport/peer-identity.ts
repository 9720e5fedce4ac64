/**
 * Who a certificate says its holder is: `spiffe://<mesh>/region/<name>/<number>`, the one URI among its subject
 * alternative names. TLS has proven by then that our authority signed it; this reads what was signed.
 *
 * Source: SPIFFE X.509-SVID, sections 2 and 5.2: exactly one URI name, and whoever has more or none has no identity.
 */
import { parseRegionName, parseRegionNumber, type RegionName, type RegionNumber } from '#domain/region.ts';
import { type MeshId, parseMeshId } from '#mesh/membership/roster.ts';

export type PeerIdentity = {
  readonly meshId: MeshId;
  readonly region: RegionName;
  readonly number: RegionNumber;
};

const SPIFFE_ID = /^spiffe:\/\/([a-z0-9-]+)\/region\/([a-z0-9-]+)\/([1-9][0-9]{0,4})$/;

export function spiffeId({ meshId, region, number }: PeerIdentity): string {
  return `spiffe://${meshId}/region/${region}/${number}`;
}

/**
 * Of a certificate as `TLSSocket.getPeerCertificate()` gives it, whose `subjectaltname` is text like
 * `DNS:localhost, URI:spiffe://…`. Node quotes a name that has a comma or quote in it, so that a name cannot pass
 * for two; our URIs have neither.
 */
export function peerIdentity(certificate: {
  readonly subjectaltname?: string | undefined;
}): PeerIdentity | undefined {
  const uris = (certificate.subjectaltname ?? '').split(', ').filter((name) => name.startsWith('URI:'));
  const [, mesh, region, number] = SPIFFE_ID.exec(uris[0]?.slice('URI:'.length) ?? '') ?? [];
  if (uris.length !== 1 || mesh === undefined || region === undefined || number === undefined) {
    return undefined;
  }
  try {
    return {
      meshId: parseMeshId(mesh),
      region: parseRegionName(region),
      number: parseRegionNumber(Number(number)),
    };
  } catch (thrown) {
    if (thrown instanceof TypeError) return undefined;
    throw thrown;
  }
}

export function sameIdentity(a: PeerIdentity | undefined, b: PeerIdentity): boolean {
  return a !== undefined && spiffeId(a) === spiffeId(b);
}
