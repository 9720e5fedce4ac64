/**
 * What other regions see: manifests and blobs to read, over mutual TLS, and nothing else.
 *
 * The client's certificate says which region asks, and `Fairway-Hop` must say the same. A call that carries it is
 * answered from what is here: regions that lack some content ask each other once, never in a circle.
 */
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { ContentReader } from '#content/reader.ts';
import { parseApiPath } from '#domain/api-path.ts';
import { RegistryError } from '#domain/errors.ts';
import type { RegionName } from '#domain/region.ts';
import { type Answer, methodNotAllowed } from './answer.ts';
import { readBlob } from './blobs.ts';
import type { Call } from './call.ts';
import { type CallServerDeps, openCallServer } from './call-server.ts';
import type { ListenConfig, Listening, ServerTls } from './listener.ts';
import { readManifest } from './manifests.ts';

export type PeerServerDeps = CallServerDeps & {
  readonly reader: Pick<ContentReader, 'manifest' | 'blob' | 'blobStat'>;
  /**
   * The region that a certificate of our authority belongs to, now; asked for every request, so that a region that
   * left the roster is refused on connections that it already has.
   */
  readonly identify: (certificate: PeerCertificate) => RegionName | undefined;
};

export type PeerServerConfig = ListenConfig & { readonly tls: Required<Omit<ServerTls, 'follow'>> };

export const HOP_HEADER = 'fairway-hop';

/** Serves until it is disposed. Rejects with the system's error when it cannot listen. */
export async function openPeerServer(deps: PeerServerDeps, config: PeerServerConfig): Promise<Listening> {
  const certificates = new WeakMap<TLSSocket, PeerCertificate>();
  return await openCallServer(deps, { ...config, name: 'peer' }, async (call) => {
    const from = askingRegion(deps, call, certificates);
    call.identify({ principal: `region:${from}`, from });
    return await answer(deps, call);
  });
}

/** @throws RegistryError DENIED for a certificate of no region, or of another one than the header's. */
function askingRegion(
  deps: PeerServerDeps,
  call: Call,
  certificates: WeakMap<TLSSocket, PeerCertificate>,
): RegionName {
  const socket = call.request.socket as TLSSocket;
  const certificate = certificates.get(socket) ?? socket.getPeerCertificate();
  certificates.set(socket, certificate);
  const region = deps.identify(certificate);
  if (region === undefined) throw new RegistryError('DENIED', 'the certificate is of no region of this mesh');
  const hop = call.header(HOP_HEADER);
  if (hop === undefined) {
    throw new RegistryError('UNSUPPORTED', 'the header Fairway-Hop is missing', { status: 400 });
  }
  if (hop === region) return region;
  throw new RegistryError(
    'DENIED',
    `Fairway-Hop names another region than the certificate, which is ${region}`,
  );
}

async function answer(deps: PeerServerDeps, call: Call): Promise<Answer> {
  const path = parseApiPath(call.path);
  call.route = path?.route ?? 'none';
  if (path?.route !== 'manifest' && path?.route !== 'blob') {
    throw new RegistryError('UNSUPPORTED', 'peers read manifests and blobs', { status: 404 });
  }
  if (call.method !== 'GET' && call.method !== 'HEAD') throw methodNotAllowed(call.method, ['GET', 'HEAD']);
  return path.route === 'manifest' ? await readManifest(deps, call, path) : await readBlob(deps, call, path);
}
