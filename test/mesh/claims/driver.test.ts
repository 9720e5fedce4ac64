/** The driver on the in-memory transport and store: what a region's other rooms see of the index. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestFromBytes, digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRegionNumber, type RegionNumber } from '#domain/region.ts';
import { resolveStored } from '#mesh/claims/claim-view.ts';
import { DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import { ClaimsDriver } from '#mesh/claims/driver.ts';
import type { MarkVerdict } from '#mesh/claims/mark-verdict.ts';
import type { Message } from '#mesh/claims/message.ts';
import type { LocateRequest } from '#mesh/transport/transport.ts';
import { memoryMesh } from '#mesh/transport/transport-memory.ts';
import type { Clock } from '#runtime/clock.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import type { ClaimRows, ManifestRow } from '#storage/metadata.ts';
import { ClaimRowsMemory } from './claim-rows-memory.ts';
import { deleteTag, digestNamed, epochOf, REPOSITORY, setTag, tagKey } from './tiny-mesh.ts';

const OPTIONS = { principal: 'alice', signal: AbortSignal.any([]) } as const;
/** Time stands still: whatever happens here happens without a timer. */
const STILL: Clock = {
  nowMs: () => 1_700_000_000_000,
  monotonicMs: () => 0,
  sleep: () => Promise.withResolvers<void>().promise,
  every: () => ({ [Symbol.dispose]: () => undefined }),
  after: () => ({ [Symbol.dispose]: () => undefined }),
};

type Seams = {
  readonly claims?: Partial<ClaimRows>;
  readonly manifests?: readonly ManifestRow[];
  readonly send?: (to: RegionNumber, message: Message) => boolean;
  readonly peers?: readonly number[];
  readonly verdict?: MarkVerdict;
};

async function openDriver(number: number, seams: Seams = {}) {
  const self = parseRegionNumber(number);
  const rows = new ClaimRowsMemory({
    region: self,
    epoch: epochOf(number),
    sequence: 0,
    time: HYBRID_TIME_ZERO,
  });
  const metrics = new Registry();
  const deps = {
    claims: { ...rows.asClaimRows(), ...seams.claims },
    manifests: { find: async (digest: string) => seams.manifests?.find((row) => row.digest === digest) },
    transport: { send: seams.send ?? (() => true) },
    clock: STILL,
    log: silentLog,
    metrics,
    mintEpoch: () => epochOf(1000 + number),
    nameOf: (region: RegionNumber) => `region-${region}`,
  };
  const { verdict = 'trusted' } = seams;
  const peers = (seams.peers ?? []).map(parseRegionNumber);
  const driver = await ClaimsDriver.open(deps, { ...DEFAULT_CLAIMS_CONFIG, self, peers, verdict });
  return { driver, rows, metrics };
}

/** Resolves when the driver tells of a changed key that satisfies. */
async function changed(driver: ClaimsDriver, tag: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  using _listening = driver.onChanged((keys) => {
    if (keys.some((key) => key.name === tag)) resolve();
  });
  await promise;
}

function locateRequest(name: string, kind: number = CLAIM_KIND.tag): LocateRequest {
  return { requestId: 'r', kind, repository: REPOSITORY, name };
}

test('driver: a store that refuses makes the write unavailable, and the next one succeeds', async () => {
  let refusals = 1;
  const rows = new ClaimRowsMemory({
    region: parseRegionNumber(1),
    epoch: epochOf(1),
    sequence: 0,
    time: HYBRID_TIME_ZERO,
  });
  const commit: ClaimRows['commit'] = async (batch) => {
    if (refusals-- > 0) throw new Error('the disk is full');
    return rows.commit(batch);
  };
  const { driver } = await openDriver(1, { claims: { commit } });
  await using _closing = driver;
  await assert.rejects(driver.write([setTag('a', 'one')], OPTIONS), (thrown) => {
    return thrown instanceof UnavailableError && /the disk is full/.test(thrown.message);
  });
  assert.equal((await driver.write([setTag('a', 'one')], OPTIONS)).sequence, 1);
});

test('driver: whoever leaves early is let go at once, and the write takes place', async () => {
  const { driver, rows } = await openDriver(1);
  const leaving = new AbortController();
  const abandoned = driver.write([setTag('a', 'one')], { principal: 'alice', signal: leaving.signal });
  leaving.abort(new Error('the client has gone'));
  await assert.rejects(abandoned, /the client has gone/);
  await assert.rejects(
    driver.write([setTag('b', 'two')], { principal: 'alice', signal: leaving.signal }),
    /has gone/,
  );
  await driver[Symbol.asyncDispose]();
  assert.equal(rows.origin.sequence, 1);
});

test('driver: a database that is not trusted begins another epoch before the first write, and says why', async () => {
  const { driver, rows, metrics } = await openDriver(1, { verdict: 'mark-missing' });
  await using _closing = driver;
  assert.equal(rows.origin.epoch, epochOf(1001));
  assert.deepEqual(await driver.write([setTag('a', 'one')], OPTIONS), {
    region: 1,
    epoch: epochOf(1001),
    sequence: 1,
  });
  const text = await metrics.metrics();
  assert.match(text, /fairway_epochs_total\{reason="mark-missing"\} 1/);
  assert.match(text, /fairway_epochs_total\{reason="peer-ahead"\} 0/);
});

test('driver: a peer that holds more of us begins another epoch, and writes wait for it', async () => {
  const { driver, rows } = await openDriver(1, { peers: [2] });
  await using _closing = driver;
  const heads = [{ region: parseRegionNumber(1), epoch: epochOf(1), have: 5, safe: 5 }];
  driver.received(parseRegionNumber(2), { type: 'summary', heads });
  const dot = await driver.write([setTag('a', 'one')], OPTIONS);
  assert.deepEqual([dot.epoch, dot.sequence], [epochOf(1001), 1]);
  assert.equal(rows.origin.epoch, epochOf(1001));
});

test('driver: it ends after what is under way was answered, and begins nothing then', async () => {
  const { driver, rows } = await openDriver(1);
  const writing = driver.write([setTag('a', 'one')], OPTIONS);
  const closing = driver[Symbol.asyncDispose]();
  await assert.rejects(driver.write([setTag('b', 'two')], OPTIONS), UnavailableError);
  await closing;
  assert.deepEqual(await writing, { region: 1, epoch: epochOf(1), sequence: 1 });
  assert.equal(rows.origin.sequence, 1);
});

test('driver: garbage is refused and counted', async () => {
  const { driver, metrics } = await openDriver(2, { peers: [1] });
  await using _closing = driver;
  const [region, epoch] = [parseRegionNumber(1), epochOf(1)];
  const claims = [{ sequence: 1, bytes: new Uint8Array(99) }];
  driver.received(region, { type: 'delta', region, epoch, from: 0, to: 1, head: 1, exact: true, claims });
  driver.received(region, { type: 'delta', region, epoch, from: 5, to: 6, head: 6, exact: true, claims: [] });
  const text = await metrics.metrics();
  assert.match(text, /fairway_index_events_total\{event="refused-delta"\} 1/);
  assert.match(text, /fairway_index_events_total\{event="gap"\} 1/);
});

test('driver: a tag is in the other regions without any timer', async () => {
  const mesh = memoryMesh([1, 2, 3], STILL);
  await using stack = new AsyncDisposableStack();
  const regions = await Promise.all(
    [1, 2, 3].map(async (number) => {
      const transport = stack.use(mesh.transport(number));
      const peers = [1, 2, 3].filter((peer) => peer !== number);
      const opened = await openDriver(number, { peers, send: (to, message) => transport.send(to, message) });
      const driver = stack.use(opened.driver);
      return { ...opened, driver, transport };
    }),
  );
  for (const { driver, transport } of regions) {
    await transport.start({
      received: (from, message) => driver.received(from, message),
      linkUp: (peer) => driver.linkUp(peer),
      linkDown: (peer) => driver.linkDown(peer),
      locate: (_from, request) => driver.locate(request),
      holdings: async () => ({ holdings: [] }),
    });
  }
  const [first, second, third] = regions;
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  const arrived = Promise.all([changed(second.driver, 'a'), changed(third.driver, 'a')]);
  await first.driver.write([setTag('a', 'one')], OPTIONS);
  await arrived;
  for (const { rows } of [second, third]) {
    assert.deepEqual(digestFromBytes(rows.view(tagKey('a'))?.value ?? new Uint8Array(0)), digestNamed('one'));
  }
  const located = await third.transport.locate(parseRegionNumber(1), locateRequest('a'), OPTIONS.signal);
  assert.equal(resolveStored(located.claims, tagKey('a')).live, true);
});

test('driver: it shows what peers hold, and what is missing', async () => {
  const { driver, metrics } = await openDriver(1, { peers: [2] });
  await using _closing = driver;
  const two = parseRegionNumber(2);
  driver.linkUp(two);
  await driver.write([setTag('a', 'one')], OPTIONS);
  const heads = [{ region: two, epoch: epochOf(2), have: 5, safe: 5 }];
  driver.received(two, { type: 'summary', heads });
  const [follower] = driver.status().followers;
  assert.deepEqual(
    [follower?.linkUp, follower?.following, follower?.behindClaims, follower?.unconfirmedClaims],
    [true, false, 5, 1],
  );
  assert.match(await metrics.metrics(), /fairway_index_behind_claims\{peer="region-2"\} 5/);
  const cursors = [{ region: parseRegionNumber(1), epoch: epochOf(1), have: 1, safe: 1 }];
  driver.received(two, { type: 'ack', cursors });
  assert.equal(driver.status().followers[0]?.unconfirmedClaims, 0);
});

test('driver: a listener that left hears nothing more', async () => {
  const { driver } = await openDriver(1);
  await using _closing = driver;
  const heard: string[] = [];
  const listening = driver.onChanged((keys) => heard.push(...keys.map(({ name }) => name)));
  await driver.write([setTag('a', 'one')], OPTIONS);
  listening[Symbol.dispose]();
  await driver.write([setTag('b', 'two')], OPTIONS);
  assert.deepEqual(heard, ['a']);
});

test('driver: a peer that answers while it is being sent to is heard afterwards', async () => {
  const answers: Message[] = [];
  const one = parseRegionNumber(1);
  const two = parseRegionNumber(2);
  const opened = await openDriver(1, {
    peers: [2],
    send: (_to, message) => {
      answers.push(message);
      if (message.type === 'delta') {
        const { region, epoch, to } = message;
        opened.driver.received(two, { type: 'ack', cursors: [{ region, epoch, have: to, safe: to }] });
      }
      return true;
    },
  });
  await using driver = opened.driver;
  driver.received(two, { type: 'follow', cursors: [], creditBytes: 1 });
  await driver.write([setTag('a', 'one')], OPTIONS);
  await driver.write([setTag('b', 'two')], OPTIONS);
  await driver[Symbol.asyncDispose]();
  const sent = answers.filter((message) => message.type === 'delta');
  assert.deepEqual(
    sent.map(({ region, from, to }) => [region, from, to]),
    [
      [one, 0, 1],
      [one, 1, 2],
    ],
  );
});

test('driver: locate answers claims, and the manifest where it is known and small', async () => {
  const manifestOf = (text: string) => {
    const bytes = new TextEncoder().encode(text);
    return { digest: digestOf(bytes), mediaType: MEDIA_TYPE.ociManifest, bytes };
  };
  const [small, large] = [manifestOf('{}'), manifestOf(' '.repeat(65_537))];
  const { driver } = await openDriver(1, { manifests: [small, large] });
  await using _closing = driver;
  const tag = (name: string, row: ManifestRow) =>
    ({ change: 'set-tag', repository: REPOSITORY, tag: name, digest: row.digest }) as const;
  await driver.write(
    [tag('small', small), tag('large', large), setTag('unknown', 'x'), tag('gone', small)],
    OPTIONS,
  );
  await driver.write([deleteTag('gone')], OPTIONS);
  const { digest: _digest, ...body } = small;
  assert.deepEqual(await driver.locate(locateRequest('never')), { claims: [] });
  for (const [name, manifest] of [
    ['small', body],
    ['large', undefined],
    ['unknown', undefined],
    ['gone', undefined],
  ] as const) {
    const reply = await driver.locate(locateRequest(name));
    assert.equal(resolveStored(reply.claims, tagKey(name)).live, name !== 'gone');
    assert.deepEqual(reply.manifest, manifest);
  }
});

test('driver: locate of a manifest answers it by its digest', async () => {
  const bytes = new TextEncoder().encode(
    JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [] }),
  );
  const manifest = { digest: digestOf(bytes), mediaType: MEDIA_TYPE.ociIndex, bytes };
  const { driver } = await openDriver(1, { manifests: [manifest] });
  await using _closing = driver;
  assert.deepEqual(await driver.locate(locateRequest(manifest.digest, CLAIM_KIND.manifest)), { claims: [] });
  await driver.write([{ change: 'add-manifest', repository: REPOSITORY, manifest }], OPTIONS);
  const reply = await driver.locate(locateRequest(manifest.digest, CLAIM_KIND.manifest));
  assert.deepEqual(reply.manifest, { mediaType: MEDIA_TYPE.ociIndex, bytes });
});
