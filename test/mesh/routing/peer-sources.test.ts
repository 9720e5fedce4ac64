/** Whom to ask first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Upstream } from '#content/upstream.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestOf } from '#domain/digest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { parseEpoch, parseRegionName, parseRegionNumber } from '#domain/region.ts';
import { PeerSources } from '#mesh/routing/peer-sources.ts';
import type { Link } from '#mesh/transport/transport.ts';
import type { ClaimKey, ViewRow } from '#storage/metadata.ts';
import { contextOf } from '#test/client/counterpart.ts';

const REPOSITORY = parseRepositoryName('team/app');
const OTHER = parseRepositoryName('team/other');
const [MANIFEST, BLOB] = [digestOf('manifest'), digestOf('blob')];
const BLOB_REQUEST = { repository: REPOSITORY, digest: BLOB, offset: 0 };

type Peer = {
  readonly number: number;
  readonly up?: boolean;
  readonly roundTripMs?: number;
  readonly has?: boolean;
};

async function* nothing(): AsyncGenerator<Uint8Array> {
  yield* [];
}

function upstreamOf({ number, has = false }: Peer): Upstream {
  return {
    name: `region-${number}`,
    kind: 'region',
    openBlob: async () => (has ? { sizeBytes: 0, body: nothing() } : undefined),
    fetchManifest: async () => undefined,
  };
}

function linkOf({ number, up = true, roundTripMs = 10 }: Peer): Link {
  return { peer: parseRegionNumber(number), up, sinceMs: 0, roundTripMs, reason: up ? '' : 'cut' };
}

function view(announcer: number, digest: Digest, live = true): ViewRow {
  return {
    kind: CLAIM_KIND.manifest,
    repository: REPOSITORY,
    name: digest,
    live,
    value: new Uint8Array(),
    dot: { region: parseRegionNumber(announcer), epoch: parseEpoch('0123456789abcdef'), sequence: 1 },
    changedMs: 0,
    principal: 'somebody',
    conflict: false,
  };
}

function start(peers: readonly Peer[], views: readonly ViewRow[] = []) {
  const sources = new PeerSources({
    peers: new Map(peers.map((peer) => [parseRegionNumber(peer.number), upstreamOf(peer)])),
    links: () => peers.map(linkOf),
    views: {
      get: async (key: ClaimKey) =>
        views.find(({ repository, name }) => repository === key.repository && name === key.name),
      list: async (_kind, repository, _after, limit) =>
        views.filter((row) => row.live && row.repository === repository).slice(0, limit),
    },
  });
  const names = async (digest: Digest, repository = REPOSITORY) =>
    (await sources.of(repository, digest, contextOf())).map(({ name }) => name);
  return { sources, names };
}

test('peer sources: nobody on behalf of another region', async () => {
  const { sources } = start([{ number: 2 }]);
  const context = { ...contextOf(), from: parseRegionName('us-east') };
  assert.deepEqual(await sources.of(REPOSITORY, BLOB, context), []);
});

test('peer sources: a region whose link is down comes last, even when it announced the manifest', async () => {
  const { names } = start(
    [{ number: 2, up: false, roundTripMs: 1 }, { number: 3, roundTripMs: 200 }, { number: 4 }],
    [view(2, MANIFEST)],
  );
  assert.deepEqual(await names(MANIFEST), ['region-4', 'region-3', 'region-2']);
});

test('peer sources: at most sixteen, the nearest of them', async () => {
  const { names } = start(Array.from({ length: 20 }, (_, i) => ({ number: i + 2, roundTripMs: 100 - i })));
  const found = await names(BLOB);
  assert.equal(found.length, 16);
  assert.equal(found[0], 'region-21');
});

test('peer sources: the nearest first, and a link that was never measured last', async () => {
  const { names } = start([
    { number: 2, roundTripMs: 0 },
    { number: 3, roundTripMs: 80 },
    { number: 4, roundTripMs: 20 },
  ]);
  assert.deepEqual(await names(BLOB), ['region-4', 'region-3', 'region-2']);
});

test('peer sources: the region that announced a manifest comes before nearer ones, unless it was deleted', async () => {
  const peers = [
    { number: 2, roundTripMs: 5 },
    { number: 3, roundTripMs: 80 },
  ];
  assert.deepEqual(await start(peers, [view(3, MANIFEST)]).names(MANIFEST), ['region-3', 'region-2']);
  assert.deepEqual(await start(peers, [view(3, MANIFEST, false)]).names(MANIFEST), ['region-2', 'region-3']);
});

test('peer sources: for a blob, regions that announced manifests of its repository come first', async () => {
  const peers = [
    { number: 2, roundTripMs: 5 },
    { number: 3, roundTripMs: 80 },
  ];
  const { names } = start(peers, [view(3, MANIFEST), view(1, digestOf('our own'))]);
  assert.deepEqual(await names(BLOB), ['region-3', 'region-2']);
  assert.deepEqual(await names(BLOB, OTHER), ['region-2', 'region-3']);
});

test('peer sources: who delivered something of a repository is asked first for the next', async () => {
  const { sources, names } = start(
    [
      { number: 2, roundTripMs: 5 },
      { number: 3, roundTripMs: 40 },
      { number: 4, roundTripMs: 80, has: true },
    ],
    [view(3, MANIFEST)],
  );
  assert.deepEqual(await names(BLOB), ['region-3', 'region-2', 'region-4']);
  for (const upstream of await sources.of(REPOSITORY, BLOB, contextOf())) {
    await upstream.openBlob(BLOB_REQUEST, contextOf());
  }
  assert.deepEqual(await names(digestOf('next')), ['region-4', 'region-3', 'region-2']);
  assert.deepEqual(await names(digestOf('next'), OTHER), ['region-2', 'region-3', 'region-4']);
});
