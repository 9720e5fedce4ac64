/** What a name means in the whole mesh, asked over the in-memory transport. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestOf, digestToBytes } from '#domain/digest.ts';
import type { Dot } from '#domain/dot.ts';
import { UnavailableError } from '#domain/errors.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { parseEpoch, parseRegionName, parseRegionNumber } from '#domain/region.ts';
import { encodeClaim } from '#mesh/claims/claim-codec.ts';
import { Roster } from '#mesh/membership/roster.ts';
import { LocateOracle } from '#mesh/routing/locate-oracle.ts';
import type { LocateReply, LocateRequest, Transport } from '#mesh/transport/transport.ts';
import { memoryMesh } from '#mesh/transport/transport-memory.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import { contextOf, manifestBytes } from '#test/client/counterpart.ts';
import { ManualClock } from '#test/client/manual-clock.ts';

const HERE = 1;
const REGIONS = ['eu-west', 'us-east', 'ap-south'];
const REPOSITORY = parseRepositoryName('team/app');
const TAG_KEY = { kind: CLAIM_KIND.tag, repository: REPOSITORY, name: 'latest' };
const [A, B] = [digestOf('a'), digestOf('b')];

function dotOf(region: number, sequence: number): Dot {
  return { region: parseRegionNumber(region), epoch: parseEpoch('0123456789abcdef'), sequence };
}

type ClaimText = {
  readonly dot: Dot;
  readonly digest?: Digest;
  readonly context?: readonly Dot[];
  readonly ms?: number;
};

/** A claim of the key; without a digest it is a delete. */
function claim(key: ClaimKey, { dot, digest, context = [], ms = 1 }: ClaimText): Uint8Array {
  return encodeClaim({
    ...key,
    state: digest === undefined ? 'deleted' : 'live',
    dot,
    time: { ms, counter: 0 },
    context,
    value: digest === undefined ? new Uint8Array() : digestToBytes(digest),
    principal: 'somebody',
  });
}

type Answer = (request: LocateRequest) => Promise<LocateReply>;
const NOTHING: Answer = async () => ({ claims: [] });
const NEVER: Answer = () => new Promise(() => undefined);

function saying(...claims: readonly Uint8Array[]): Answer {
  return async () => ({ claims });
}

/** Region 1's oracle; regions 2 and 3 answer as they are told. */
async function start(
  answers: { readonly usEast: Answer; readonly apSouth: Answer },
  local: readonly Uint8Array[] = [],
) {
  const stack = new AsyncDisposableStack();
  const clock = new ManualClock();
  const mesh = memoryMesh([1, 2, 3], clock);
  const asked: { readonly region: number; readonly request: LocateRequest }[] = [];
  const join = async (number: number, answer: Answer): Promise<Transport> => {
    const transport = stack.use(mesh.transport(number));
    await transport.start({
      received: () => undefined,
      linkUp: () => undefined,
      linkDown: () => undefined,
      locate: (_from, request) => {
        asked.push({ region: number, request });
        return answer(request);
      },
      holdings: async () => ({ holdings: [] }),
    });
    return transport;
  };
  const transport = await join(HERE, NOTHING);
  await join(2, answers.usEast);
  await join(3, answers.apSouth);
  const roster = new Roster({
    meshId: 'test',
    self: 'eu-west',
    regions: REGIONS.map((name, position) => ({ name, number: position + 1, role: 'core' })),
  });
  const metrics = new Registry();
  const oracle = new LocateOracle({
    roster,
    transport,
    claims: { ofKeys: async (keys) => keys.map((key) => ({ key, revision: 0, claims: local })) },
    clock,
    log: silentLog,
    metrics,
  });
  return { oracle, mesh, clock, asked, metrics, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Lets everything that can happen without time passing happen. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test('locate oracle: a region that never answers is silent after 400 ms, and absence is not known', async () => {
  await using under = await start({ usEast: NOTHING, apSouth: NEVER });
  const asking = under.oracle.resolve(REPOSITORY, 'latest', contextOf());
  await settle();
  under.clock.advance(399);
  await settle();
  assert.equal(under.clock.pending, 1, 'only the silent region is still waited for');
  under.clock.advance(1);
  assert.deepEqual(await asking, { outcome: 'unknown', silent: ['ap-south'] });
  assert.equal(under.clock.pending, 0);
});

test('locate oracle: a region to which the link is down is silent at once', async () => {
  await using under = await start({ usEast: NOTHING, apSouth: NEVER });
  under.mesh.cut(HERE, 3);
  const answer = await under.oracle.resolve(REPOSITORY, 'latest', contextOf());
  assert.deepEqual(answer, { outcome: 'unknown', silent: ['ap-south'] });
  assert.deepEqual(
    under.asked.map(({ region }) => region),
    [2],
  );
});

test('locate oracle: an answer that cannot be read, or is of another key, is silence', async () => {
  const other = claim({ ...TAG_KEY, name: 'other' }, { dot: dotOf(2, 1), digest: A });
  for (const bytes of [Buffer.from('garbage'), other]) {
    await using under = await start({ usEast: saying(bytes), apSouth: NOTHING });
    const answer = await under.oracle.resolve(REPOSITORY, 'latest', contextOf());
    assert.deepEqual(answer, { outcome: 'unknown', silent: ['us-east'] });
  }
});

test('locate oracle: a delete that one region knows wins over what the fastest one says', async () => {
  const pushed = claim(TAG_KEY, { dot: dotOf(2, 1), digest: A, ms: 9 });
  const deleted = claim(TAG_KEY, { dot: dotOf(3, 1), context: [dotOf(2, 1)], ms: 1 });
  const late = Promise.withResolvers<void>();
  await using under = await start({
    usEast: saying(pushed),
    apSouth: async () => {
      await late.promise;
      return { claims: [deleted] };
    },
  });
  let settled = false;
  const asking = under.oracle.resolve(REPOSITORY, 'latest', contextOf()).finally(() => {
    settled = true;
  });
  await settle();
  assert.equal(settled, false, 'one live answer is not enough');
  late.resolve();
  assert.deepEqual(await asking, { outcome: 'absent' });
});

test('locate oracle: a delete that only this region knows wins too', async () => {
  const pushed = claim(TAG_KEY, { dot: dotOf(2, 1), digest: A });
  const deleted = claim(TAG_KEY, { dot: dotOf(HERE, 1), context: [dotOf(2, 1)] });
  await using under = await start({ usEast: saying(pushed), apSouth: saying(pushed) }, [deleted]);
  assert.deepEqual(await under.oracle.resolve(REPOSITORY, 'latest', contextOf()), { outcome: 'absent' });
});

test('locate oracle: a claim that names no digest is no answer to build on', async () => {
  const broken = encodeClaim({
    ...TAG_KEY,
    state: 'live',
    dot: dotOf(2, 1),
    time: { ms: 1, counter: 0 },
    context: [],
    value: Buffer.from('not a digest'),
    principal: 'somebody',
  });
  await using under = await start({ usEast: saying(broken), apSouth: NOTHING });
  await assert.rejects(under.oracle.resolve(REPOSITORY, 'latest', contextOf()), UnavailableError);
});

test('locate oracle: a client that leaves gets its own reason, and no timer stays', async () => {
  await using under = await start({ usEast: NEVER, apSouth: NEVER });
  const controller = new AbortController();
  const gone = new Error('the client has gone');
  const asking = under.oracle.resolve(REPOSITORY, 'latest', contextOf(controller.signal));
  await settle();
  controller.abort(gone);
  await assert.rejects(asking, gone);
  await settle();
  assert.equal(under.clock.pending, 0);
});

test('locate oracle: too many different names at a time are refused, and served again afterwards', async () => {
  const held = Promise.withResolvers<LocateReply>();
  await using under = await start({ usEast: () => held.promise, apSouth: NOTHING });
  const asking = Array.from({ length: 256 }, (_, i) =>
    under.oracle.resolve(REPOSITORY, `t${i}`, contextOf()),
  );
  await assert.rejects(under.oracle.resolve(REPOSITORY, 'more', contextOf()), /too many names/);
  const joined = under.oracle.resolve(REPOSITORY, 't0', contextOf());
  held.resolve({ claims: [] });
  assert.ok((await Promise.all([...asking, joined])).every(({ outcome }) => outcome === 'absent'));
  assert.deepEqual(await under.oracle.resolve(REPOSITORY, 'more', contextOf()), { outcome: 'absent' });
});

test('locate oracle: absent when every region says so, remembered for a second and no longer', async () => {
  await using under = await start({ usEast: NOTHING, apSouth: NOTHING });
  const resolve = () => under.oracle.resolve(REPOSITORY, 'latest', contextOf());
  assert.deepEqual(await resolve(), { outcome: 'absent' });
  assert.equal(under.asked.length, 2);
  const { requestId, trace } = contextOf();
  assert.deepEqual(under.asked[0]?.request, { requestId, trace, ...TAG_KEY });
  under.clock.advance(999);
  assert.deepEqual(await resolve(), { outcome: 'absent' });
  assert.equal(under.asked.length, 2);
  under.clock.advance(1);
  assert.deepEqual(await resolve(), { outcome: 'absent' });
  assert.equal(under.asked.length, 4);
});

test('locate oracle: what is not known is asked for again at once', async () => {
  await using under = await start({ usEast: NOTHING, apSouth: NOTHING });
  under.mesh.cut(HERE, 3);
  await under.oracle.resolve(REPOSITORY, 'latest', contextOf());
  under.mesh.heal(HERE, 3);
  assert.deepEqual(await under.oracle.resolve(REPOSITORY, 'latest', contextOf()), { outcome: 'absent' });
});

test('locate oracle: a tag that one region knows is found, although another one is silent', async () => {
  const pushed = claim(TAG_KEY, { dot: dotOf(2, 1), digest: A });
  await using under = await start({ usEast: saying(pushed), apSouth: NOTHING });
  under.mesh.cut(HERE, 3);
  const answer = await under.oracle.resolve(REPOSITORY, 'latest', contextOf());
  assert.deepEqual(answer, { outcome: 'found', digest: A, source: { kind: 'region', name: 'us-east' } });
});

test('locate oracle: the later of two pushes that knew each other wins, whatever the clocks say', async () => {
  const first = claim(TAG_KEY, { dot: dotOf(2, 1), digest: A, ms: 1_000 });
  const second = claim(TAG_KEY, { dot: dotOf(3, 1), digest: B, ms: 1, context: [dotOf(2, 1)] });
  await using under = await start({ usEast: saying(first), apSouth: saying(first, second) });
  const answer = await under.oracle.resolve(REPOSITORY, 'latest', contextOf());
  assert.deepEqual(answer, { outcome: 'found', digest: B, source: { kind: 'region', name: 'ap-south' } });
});

test('locate oracle: what is passed on by another region names that region, what only we know names us', async () => {
  const pushed = claim(TAG_KEY, { dot: dotOf(2, 1), digest: A });
  {
    await using under = await start({ usEast: NOTHING, apSouth: saying(pushed) });
    under.mesh.cut(HERE, 2);
    const answer = await under.oracle.resolve(REPOSITORY, 'latest', contextOf());
    assert.deepEqual(answer, { outcome: 'found', digest: A, source: { kind: 'region', name: 'ap-south' } });
  }
  await using under = await start({ usEast: NOTHING, apSouth: NOTHING }, [pushed]);
  const answer = await under.oracle.resolve(REPOSITORY, 'latest', contextOf());
  assert.deepEqual(answer, { outcome: 'found', digest: A, source: { kind: 'local', name: 'eu-west' } });
});

test('locate oracle: a manifest is found by digest, with its bytes only if they are its own', async () => {
  const bytes = manifestBytes('a');
  const digest = digestOf(bytes);
  const key = { kind: CLAIM_KIND.manifest, repository: REPOSITORY, name: digest };
  const known = claim(key, { dot: dotOf(2, 1), digest });
  const mediaType = MEDIA_TYPE.ociManifest;
  const lie = { mediaType, bytes: manifestBytes('b') };
  await using under = await start({
    usEast: async () => ({ claims: [known], manifest: lie }),
    apSouth: async () => ({ claims: [known], manifest: { mediaType, bytes } }),
  });
  const answer = await under.oracle.findManifest(REPOSITORY, digest, contextOf());
  assert.ok(answer.outcome === 'found');
  assert.equal(answer.digest, digest);
  assert.equal(answer.manifest?.mediaType, mediaType);
  assert.deepEqual(Buffer.from(answer.manifest?.bytes ?? []), Buffer.from(bytes));
});

test('locate oracle: however many ask for a name at the same moment, each region is asked once', async () => {
  const pushed = claim(TAG_KEY, { dot: dotOf(2, 1), digest: A });
  await using under = await start({ usEast: saying(pushed), apSouth: NOTHING });
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => under.oracle.resolve(REPOSITORY, 'latest', contextOf())),
  );
  assert.ok(answers.every(({ outcome }) => outcome === 'found'));
  assert.equal(under.asked.length, 2);
  const counted = await under.metrics.getSingleMetric('fairway_locate_total')?.get();
  assert.deepEqual(
    counted?.values.map(({ labels, value }) => [labels['outcome'], value]),
    [['found', 1]],
  );
});

test('locate oracle: on behalf of another region nobody is asked', async () => {
  const pushed = claim(TAG_KEY, { dot: dotOf(2, 1), digest: A });
  const context = { ...contextOf(), from: parseRegionName('us-east') };
  await using under = await start({ usEast: saying(pushed), apSouth: NOTHING });
  assert.deepEqual(await under.oracle.resolve(REPOSITORY, 'latest', context), { outcome: 'absent' });
  assert.equal(under.asked.length, 0);
});
