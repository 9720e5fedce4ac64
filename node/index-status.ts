/** The driver's view of the index, per peer: what the status of a region shows. */
import type { RegionNumber } from '#domain/region.ts';
import type { CoreStatus } from '#mesh/claims/core-status.ts';
import type { IndexStatus, PeerIndexStatus } from '#mesh/routing/mesh-status.ts';

/** What a peer announced and we lack counts for that peer's own claims, over all of its epochs. */
export function indexStatus(status: CoreStatus): IndexStatus {
  const peers = new Map<RegionNumber, PeerIndexStatus>();
  for (const follower of status.followers) {
    const origins = status.origins.filter((origin) => origin.region === follower.region);
    const behindClaims = origins.reduce((sum, origin) => sum + origin.behindClaims, 0);
    const lagMs = Math.max(0, ...origins.map((origin) => origin.lagMs));
    peers.set(follower.region, { behindClaims, lagMs, unconfirmedClaims: follower.unconfirmedClaims });
  }
  const formerEpochs = status.origins
    .filter(({ region, epoch }) => region === status.region && epoch !== status.epoch)
    .map(({ epoch, behindClaims }) => ({ epoch, behindClaims }));
  return { epoch: status.epoch, sequence: status.head, formerEpochs, peers };
}
