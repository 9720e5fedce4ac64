/**
 * The composition root: one region's node from its configuration, on one disposable stack. Rooms that never see each
 * other meet here, and nowhere else. Disposal runs in reverse: first nobody is let in any more, then work ends, then
 * what it used is closed.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openAdminToken } from '#access/admin-token.ts';
import type { Digest } from '#domain/digest.ts';
import { messageOf } from '#domain/errors.ts';
import { mintEpoch } from '#domain/region.ts';
import { Certificates } from '#http/certificates.ts';
import type { ServerTls } from '#http/listener.ts';
import { openManagementServer } from '#http/management-server.ts';
import { openPeerServer } from '#http/peer-server.ts';
import { openRegistryServer } from '#http/registry-server.ts';
import type { Health } from '#http/views.ts';
import { DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import { ClaimsDriver } from '#mesh/claims/driver.ts';
import { judgeMark } from '#mesh/claims/mark-verdict.ts';
import { ConflictBook } from '#mesh/conflicts/conflict-book.ts';
import { Origination } from '#mesh/membership/origination.ts';
import { Roster } from '#mesh/membership/roster.ts';
import { PolicyBook } from '#mesh/replication/policy-book.ts';
import { startReplication } from '#mesh/replication/replication.ts';
import { Holdings } from '#mesh/routing/holdings.ts';
import { MeshStatusView } from '#mesh/routing/mesh-status.ts';
import { ObservingWriter } from '#mesh/routing/observing-writer.ts';
import { TagObserver } from '#mesh/routing/tag-observer.ts';
import { peerIdentity } from '#mesh/transport/peer-identity.ts';
import { GrpcTransport } from '#mesh/transport/transport-grpc.ts';
import type { PolicySet } from '#policies/policy-set.ts';
import { systemClock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { openMetrics } from '#runtime/metrics.ts';
import { randomId, systemRandom } from '#runtime/random.ts';
import type { BlobPlaces } from '#storage/blob-store.ts';
import { openFilesystemBlobStore } from '#storage/blob-store-filesystem.ts';
import { lockFolder } from '#storage/folder-lock.ts';
import { openSqliteMetadata } from '#storage/metadata-sqlite.ts';
import { MarkFile } from '#storage/rollback-mark.ts';
import { openAccess } from './access.ts';
import { ClaimLog } from './change-log.ts';
import { type Address, type NodeConfig, resolveSecret } from './config.ts';
import { openContent } from './content.ts';
import { applyGrants } from './grants.ts';
import { indexStatus } from './index-status.ts';
import type { KeptCache } from './lifecycle/cache-eviction.ts';
import { useEveryMs } from './lifecycle/collection.ts';
import { GarbageCollector } from './lifecycle/garbage-collector.ts';

/** `newEpoch`: begin another history, because an operator restored this one from a backup. */
export type NodeStart = { readonly newEpoch: boolean };

/**
 * Serves until it is disposed.
 * @throws Error in one line: another process uses the folder, a port is in use, a file is missing or damaged.
 */
export async function startNode(
  config: NodeConfig,
  log: Log,
  start: NodeStart = { newEpoch: false },
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const [clock, random] = [systemClock, systemRandom];
  const startedMs = clock.nowMs();
  const metrics = openMetrics();
  const { region, peers } = config;
  const tls = readTls(config);
  const roster = new Roster({
    meshId: config.meshId,
    self: region.name,
    regions: [region, ...peers],
    former: config.former,
  });

  stack.use(await lockFolder(config.data));
  const adminToken = await openAdminToken({ random, log }, config.data);
  const blobs = await openFilesystemBlobStore({ root: config.data }, { random, clock });
  const epochForNewDatabase = mintEpoch(startedMs, Math.floor(random.fraction() * 0x10000));
  const path = join(config.data, 'metadata.sqlite');
  const mark = stack.use(await MarkFile.open({ mark: join(config.data, 'mark.json'), database: path }));
  const metadata = stack.use(
    await openSqliteMetadata({ path, region: region.number, epochForNewDatabase }, { log }),
  );
  const verdict = judgeMark(mark.mark, await mark.start(randomId(random)));
  await applyGrants({ claims: metadata.claims, roster, clock, random, log }, config.data);

  const transport = stack.use(
    new GrpcTransport(
      { clock, random, log, metrics },
      {
        meshId: config.meshId,
        self: { region: region.name, number: region.number, epoch: () => claims.status().epoch },
        listen: config.mesh,
        tls,
        peers: peers.map(({ number, name, mesh }) => ({ number, name, address: addressText(mesh) })),
      },
    ),
  );
  const claims: ClaimsDriver = stack.use(
    await ClaimsDriver.open(
      {
        ...{ claims: metadata.claims, manifests: metadata.manifests, transport, clock, log, metrics },
        mintEpoch: () => mintEpoch(clock.nowMs(), Math.floor(random.fraction() * 0x10000)),
        nameOf: (number) => roster.nameOf(number),
        grants: roster.grants,
      },
      {
        ...DEFAULT_CLAIMS_CONFIG,
        self: region.number,
        peers: peers.map((peer) => peer.number),
        verdict: start.newEpoch ? 'asked' : verdict,
      },
    ),
  );
  await mark.confirm();
  const origination = new Origination(claims, roster);
  const onChanged = (listener: Parameters<ClaimsDriver['onChanged']>[0]) => claims.onChanged(listener);
  const policies = stack.use(
    await PolicyBook.open({ views: metadata.views, claims: origination, roster, onChanged, clock, log }),
  );
  const observer = new TagObserver({ roster, transport, clock, log, metrics }, { observe: config.observe });
  const claimWriter = new ObservingWriter({ claims: origination, observer });
  const conflicts = new ConflictBook({
    ...{ views: metadata.views, rows: metadata.claims, claims: origination, observer, roster, log, metrics },
  });
  const content = openContent(
    {
      ...{ stack, blobs, metadata, transport, claimWriter, policies, roster, clock, random, log, metrics },
      resolveSecret: async (source) => resolveSecret(source),
    },
    {
      ...{ meshId: roster.meshId, region: region.name, peers, tls },
      useEveryMs: useEveryMs(config.gc.graceMs),
    },
  );
  const access = await openAccess(
    { stack, metadata, claims: origination, onChanged, roster, clock, random, log },
    { folder: config.data, registryHost: config.registry.host },
  );
  const holdings = new Holdings({
    manifests: metadata.manifests,
    isFilling: (digest) => content.fill.isFilling(digest),
    transport,
    log,
  });
  stack.use(
    startReplication(
      { metadata, policies, onChanged, closure: content.closure, clock, random, log, metrics },
      { region: region.name },
    ),
  );

  const garbage = stack.use(
    new GarbageCollector(
      {
        ...{ rows: metadata.garbage, uses: metadata.blobUses, blobs, files: blobs },
        ...{ clock, random, log, metrics },
        caches: {
          kept: () => keptCaches(policies.current()),
          onEvicted: () => content.deliverability.forget(),
        },
      },
      { ...config.gc, useEveryMs: useEveryMs(config.gc.graceMs) },
    ),
  );
  garbage.start();

  let phase = 'starting';
  const health: Health = {
    live: () => [],
    ready: () => (phase === 'serving' ? [] : [`the node is ${phase}`]),
  };
  const servers = { clock, random, log, metrics, health };
  const certificates = stack.use(new Certificates({ clock, log, metrics }));
  const https = {
    registry: await certificates.open('registry', config.https.registry),
    management: await certificates.open('management', config.https.management),
  };
  const mesh = new MeshStatusView(
    {
      ...{ roster, holdings, views: metadata.views, manifests: metadata.manifests, blobs: metadata.blobs },
      ...{ tasks: metadata.tasks, cachedTags: metadata.cachedTags },
      links: () => transport.links(),
      index: () => indexStatus(claims.status()),
    },
    { registry: addressText(config.registry), management: addressText(config.management), startedMs },
  );
  await transport.start({
    received: (from, message) => claims.received(from, message),
    linkUp: (peer) => claims.linkUp(peer),
    linkDown: (peer) => claims.linkDown(peer),
    locate: async (_from, request) => await claims.locate(request),
    holdings: async (_from, request) => await holdings.answer(request),
  });
  stack.use(
    await listening('peer', config.peer, () =>
      openPeerServer(
        {
          ...servers,
          reader: content.reader,
          identify: (certificate) => {
            const identity = peerIdentity(certificate);
            const known =
              identity !== undefined && roster.byName(identity.region)?.number === identity.number;
            return known && identity.meshId === roster.meshId ? identity.region : undefined;
          },
        },
        { ...config.peer, tls: { key: tls.keyPem, cert: tls.certificatePem, ca: tls.authorityPem } },
      ),
    ),
  );
  stack.use(
    await listening('management', config.management, () =>
      openManagementServer(
        {
          ...{
            ...servers,
            mesh,
            policies,
            conflicts,
            tasks: metadata.tasks,
            accounts: access.accounts,
            adminToken,
          },
          garbage,
          changes: new ClaimLog({
            ...{ claims: metadata.claims, grants: roster.grants },
            nameOf: (number) => roster.nameOf(number),
          }),
        },
        { ...config.management, ...withTls(https.management) },
      ),
    ),
  );
  stack.use(
    await listening('registry', config.registry, () =>
      openRegistryServer(
        {
          ...{ ...servers, gate: access.gate, reader: content.reader, writer: content.writer, origination },
          ...{ views: metadata.views, manifests: metadata.manifests, cachedTags: metadata.cachedTags },
          ...accelRedirect(config, blobs),
        },
        { ...config.registry, ...withTls(https.registry), region: region.name },
      ),
    ),
  );
  if (config.insecurePlainHttp) log.warn('plain HTTP was allowed on addresses that others may reach');
  phase = 'serving';
  stack.defer(() => {
    phase = 'stopping';
  });
  log.info('node started', { address: addressText(config.registry), durationMs: clock.nowMs() - startedMs });
  return stack.move();
}

function keptCaches({ proxies }: PolicySet): readonly KeptCache[] {
  return proxies.flatMap(({ name, prefix, keep }) =>
    keep === undefined ? [] : [{ name, prefix, keepBytes: keep.perRegionBytes }],
  );
}

function accelRedirect({ accelRedirect: accel }: NodeConfig, blobs: BlobPlaces) {
  if (accel === undefined) return {};
  return { accelRedirect: (digest: Digest) => `${accel.location}${blobs.placeOf(digest)}` };
}

function readTls(config: NodeConfig) {
  const read = (file: string) => {
    try {
      return readFileSync(file, 'utf8');
    } catch (cause) {
      throw new Error(`cannot read ${file}: ${messageOf(cause)}`, { cause });
    }
  };
  const { authority, certificate, key } = config.tls;
  return { authorityPem: read(authority), certificatePem: read(certificate), keyPem: read(key) };
}

function withTls(tls: ServerTls | undefined): { readonly tls?: ServerTls } {
  return tls === undefined ? {} : { tls };
}

async function listening<Server>(
  what: string,
  address: Address,
  open: () => Promise<Server>,
): Promise<Server> {
  try {
    return await open();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const reason = code === 'EADDRINUSE' ? 'the address is in use by another program' : messageOf(cause);
    throw new Error(`cannot listen on ${addressText(address)} (${what}): ${reason}`, { cause });
  }
}

function addressText(address: Address): string {
  return `${address.host}:${address.port}`;
}
