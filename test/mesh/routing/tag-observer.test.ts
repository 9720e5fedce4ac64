/** Looks before tag writes, over the in-memory transport: who is asked, how long, and what the write is told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IndexChange } from '#content/claim-writer.ts';
import { UnavailableError } from '#domain/errors.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { Roster } from '#mesh/membership/roster.ts';
import { ObservingWriter } from '#mesh/routing/observing-writer.ts';
import { TagObserver, type TagObserverConfig } from '#mesh/routing/tag-observer.ts';
import type { LocateReply, LocateRequest } from '#mesh/transport/transport.ts';
import { memoryMesh } from '#mesh/transport/transport-memory.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import { ManualClock } from '#test/client/manual-clock.ts';
import { claimOf } from '#test/mesh/claims/claims-by-hand.ts';
import { deleteTag, digestNamed, epochOf, REPOSITORY, setTag, tagKey } from '#test/mesh/claims/tiny-mesh.ts';

const REGIONS = ['eu-west', 'us-east', 'ap-south'];
type Answer = (request: LocateRequest) => Promise<LocateReply>;
const NEVER: Answer = () => new Promise(() => undefined);
const [ONE, TWO] = [claimOf(1, { name: 'a' }).bytes, claimOf(2, { name: 'a' }).bytes];

/** The look of region 1; regions 2 and 3 answer as they are told. */
async function start(
  usEast: Answer,
  apSouth: Answer,
  { roundTripMs, ...config }: TagObserverConfig & { readonly roundTripMs?: number } = {},
) {
  const stack = new AsyncDisposableStack();
  const clock = new ManualClock();
  const mesh = memoryMesh([1, 2, 3], clock);
  const asked: string[] = [];
  const requests: LocateRequest[] = [];
  const join = async (number: number, answer: Answer) => {
    const transport = stack.use(mesh.transport(number));
    await transport.start({
      received: () => undefined,
      linkUp: () => undefined,
      linkDown: () => undefined,
      locate: (_from, request) => {
        requests.push(request);
        asked.push(...[request, ...(request.also ?? [])].map(({ name }) => `${number} ${name}`));
        return answer(request);
      },
      holdings: async () => ({ holdings: [] }),
    });
    return transport;
  };
  const transport = await join(1, NEVER);
  await join(2, usEast);
  await join(3, apSouth);
  const roster = new Roster({
    meshId: 'test',
    self: 'eu-west',
    regions: REGIONS.map((name, position) => ({ name, number: position + 1, role: 'core' })),
  });
  const metrics = new Registry();
  const links = () =>
    transport.links().map((link) => ({ ...link, roundTripMs: roundTripMs ?? link.roundTripMs }));
  const observer = new TagObserver(
    {
      roster,
      transport: { links, locate: (...question) => transport.locate(...question) },
      clock,
      log: silentLog,
      metrics,
    },
    config,
  );
  const outcomes = async () => {
    const sample = await metrics.getSingleMetric('fairway_looks_total')?.get();
    return Object.fromEntries((sample?.values ?? []).map(({ labels, value }) => [labels['outcome'], value]));
  };
  return {
    observer,
    mesh,
    clock,
    asked,
    requests,
    outcomes,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function saying(...claims: readonly Uint8Array[]): Answer {
  return async () => ({ claims });
}

function lookContext(signal = new AbortController().signal) {
  return { requestId: 'r1', signal };
}

/** Lets everything that can happen without time passing happen. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

for (const [roundTripMs, budgetMs] of [
  [0, 150],
  [100, 150],
  [280, 330],
  [5_000, 1_000],
] as const) {
  test(`tag observer: a region ${roundTripMs} ms away that hangs is left out after ${budgetMs} ms`, async () => {
    await using under = await start(saying(ONE), NEVER, { roundTripMs });
    const looking = under.observer.look([tagKey('a')], lookContext());
    await settle();
    under.clock.advance(budgetMs - 1);
    await settle();
    assert.equal(under.clock.pending, 1);
    under.clock.advance(1);
    assert.deepEqual(await looking, [ONE]);
    assert.deepEqual(await under.outcomes(), { answered: 1, silent: 1 });
  });
}

test('tag observer: a region whose link is down is not asked, and costs nothing', async () => {
  await using under = await start(saying(ONE), saying(TWO));
  under.mesh.cut(1, 2);
  under.mesh.cut(1, 3);
  assert.deepEqual(await under.observer.look([tagKey('a')], lookContext()), []);
  assert.deepEqual(under.asked, []);
  assert.deepEqual(await under.outcomes(), { down: 2 });
  assert.equal(under.clock.pending, 0);
});

test('tag observer: what cannot be read, or is of another tag, is left out and fails nothing', async () => {
  await using under = await start(saying(new Uint8Array(9)), saying(claimOf(1, { name: 'b' }).bytes));
  assert.deepEqual(await under.observer.look([tagKey('a')], lookContext()), []);
  assert.deepEqual(await under.outcomes(), { silent: 2 });
});

test('tag observer: an answer that fails is a silent region', async () => {
  const failing: Answer = async () => {
    throw new UnavailableError('the disk is gone');
  };
  await using under = await start(failing, saying(TWO));
  assert.deepEqual(await under.observer.look([tagKey('a')], lookContext()), [TWO]);
});

test('tag observer: with observe local nobody is asked', async () => {
  await using under = await start(saying(ONE), saying(TWO), { observe: 'local' });
  assert.deepEqual(await under.observer.look([tagKey('a')], lookContext()), []);
  assert.deepEqual(under.asked, []);
});

test('tag observer: a client that leaves ends the look with its reason', async () => {
  await using under = await start(NEVER, NEVER);
  const left = new AbortController();
  const looking = under.observer.look([tagKey('a')], lookContext(left.signal));
  await settle();
  left.abort(new Error('the client has gone'));
  await assert.rejects(looking, /the client has gone/);
  assert.equal(under.clock.pending, 0);
});

test('tag observer: of a write with more tags than the limit the first 64 are looked at', async () => {
  await using under = await start(saying(), saying());
  const keys = Array.from({ length: 70 }, (_, n) => tagKey(`t${n}`));
  await under.observer.look(keys, lookContext());
  assert.equal(under.asked.length, 2 * 64);
});

/** Answers each question with the claims of its keys, one key after another, when it is told to. */
function gatedAnswers() {
  const gates: PromiseWithResolvers<void>[] = [];
  const answer: Answer = async (request) => {
    const gate = Promise.withResolvers<void>();
    gates.push(gate);
    await gate.promise;
    const names = [request, ...(request.also ?? [])].map(({ name }) => name);
    return { claims: names.map((name) => claimOf(gates.length, { name }).bytes) };
  };
  return { gates, answer };
}

test('tag observer: one that leaves a shared question does not end it for the others', async () => {
  const { gates, answer } = gatedAnswers();
  await using under = await start(answer, saying());
  const first = under.observer.look([tagKey('a')], lookContext());
  await settle();
  const left = new AbortController();
  const leaving = under.observer.look([tagKey('b')], lookContext(left.signal));
  const staying = under.observer.look([tagKey('c')], lookContext());
  under.clock.advance(2);
  await settle();
  left.abort(new Error('the client has gone'));
  await assert.rejects(leaving, /the client has gone/);
  for (const gate of gates) gate.resolve();
  assert.equal((await first).length, 1);
  assert.deepEqual(await staying, [claimOf(2, { name: 'c' }).bytes]);
});

test('tag observer: an answer that cannot be read is silence for all who shared it, and for no one else', async () => {
  let questions = 0;
  const { gates, answer } = gatedAnswers();
  const spoiled: Answer = async (request) => {
    questions += 1;
    const number = questions;
    const reply = await answer(request);
    return number === 2 ? { claims: [...reply.claims, new Uint8Array(9)] } : reply;
  };
  await using under = await start(spoiled, saying());
  const first = under.observer.look([tagKey('a')], lookContext());
  await settle();
  const shared = ['b', 'c'].map((name) => under.observer.look([tagKey(name)], lookContext()));
  under.clock.advance(2);
  await settle();
  for (const gate of gates) gate.resolve();
  assert.equal((await first).length, 1);
  assert.deepEqual(await Promise.all(shared), [[], []]);
});

test('tag observer: looks that begin while a region is asked share the next question, and learn nothing older', async () => {
  const { gates, answer } = gatedAnswers();
  await using under = await start(answer, saying());
  const first = under.observer.look([tagKey('a')], lookContext());
  await settle();
  const later = ['a', 'b', 'c'].map((name) => under.observer.look([tagKey(name)], lookContext()));
  await settle();
  assert.equal(gates.length, 1);
  gates[0]?.resolve();
  await first;
  await settle();
  assert.equal(gates.length, 2);
  gates[1]?.resolve();
  assert.deepEqual(
    await Promise.all(later),
    ['a', 'b', 'c'].map((name) => [claimOf(2, { name }).bytes]),
  );
  const questions = under.requests.filter(({ name, also = [] }) => name === 'a' && also.length === 2);
  assert.equal(questions.length, 2);
  assert.ok(under.requests.every(({ claimsOnly }) => claimsOnly === true));
});

test('tag observer: a region that has not answered is asked again after 2 ms, and no look waits longer', async () => {
  const { gates, answer } = gatedAnswers();
  await using under = await start(answer, saying());
  const slow = under.observer.look([tagKey('a')], lookContext());
  await settle();
  const second = under.observer.look([tagKey('b')], lookContext());
  await settle();
  under.clock.advance(1);
  await settle();
  assert.equal(gates.length, 1);
  under.clock.advance(1);
  await settle();
  assert.equal(gates.length, 2);
  gates[1]?.resolve();
  assert.equal((await second).length, 1);
  gates[0]?.resolve();
  assert.equal((await slow).length, 1);
});

/** A writer over a look that answers at once; tells what was looked at and what was written. */
function writerWith() {
  const looked: string[] = [];
  const written: { readonly changes: readonly IndexChange[]; readonly seen: readonly Uint8Array[] }[] = [];
  const writer = new ObservingWriter({
    observer: {
      look: async (keys) => {
        looked.push(...keys.map(({ name }) => name));
        return keys.length === 0 ? [] : [ONE];
      },
    },
    claims: {
      write: async (changes, { seen = [] }) => {
        written.push({ changes, seen });
        return { region: parseRegionNumber(1), epoch: epochOf(1), sequence: 1 };
      },
    },
  });
  const write = (...changes: readonly IndexChange[]) =>
    writer.write(changes, { principal: 'alice', signal: new AbortController().signal });
  return { write, looked, written };
}

test('observing writer: each tag is looked at once, and the write is told what was seen', async () => {
  const { write, looked, written } = writerWith();
  const changes = [setTag('a', 'one'), setTag('b', 'one'), deleteTag('a')];
  await write(...changes);
  assert.deepEqual(looked, ['a', 'b']);
  assert.deepEqual(written, [{ changes, seen: [ONE] }]);
});

test('observing writer: a write of what is no tag looks at nothing', async () => {
  const mesh = writerWith();
  await mesh.write({ change: 'delete-manifest', repository: REPOSITORY, digest: digestNamed('one') });
  await mesh.write({ change: 'set-policy', name: 'p', document: '' });
  assert.deepEqual(mesh.looked, []);
  assert.equal(mesh.written.length, 2);
});
