/** What we allow ourselves towards one host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HOST_LIMITS, HostLimits } from '#client/host-limits.ts';
import { UnavailableError } from '#domain/errors.ts';
import { ManualClock } from '#test/client/manual-clock.ts';

const HOST = 'registry.test';
const signal = new AbortController().signal;
const NARROW = { ...HOST_LIMITS, concurrency: { question: 1, blob: 1 }, waitingMax: 2, waitMs: 1_000 };

async function failTimes(limits: HostLimits, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    using slot = await limits.enter(HOST, 'question', signal);
    slot.failed();
  }
}

function unavailable(pattern: RegExp, retryAfterMs?: number) {
  return (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.match(thrown.message, pattern);
    if (retryAfterMs !== undefined) assert.equal(thrown.retryAfterMs, retryAfterMs);
    return true;
  };
}

test('host limits: five failures in a row leave the host alone for five seconds', async () => {
  const clock = new ManualClock();
  const limits = new HostLimits({ clock });
  await failTimes(limits, 5);
  await assert.rejects(limits.enter(HOST, 'blob', signal), unavailable(/failed 5 times/, 5_000));
  clock.advance(4_999);
  await assert.rejects(limits.enter(HOST, 'blob', signal), unavailable(/failed 5 times/, 1));
  using _other = await limits.enter('another.test', 'blob', signal);
});

test('host limits: one probe decides whether a host that failed is back', async () => {
  const clock = new ManualClock();
  const limits = new HostLimits({ clock });
  await failTimes(limits, 5);
  clock.advance(5_000);
  {
    using probe = await limits.enter(HOST, 'question', signal);
    await assert.rejects(limits.enter(HOST, 'question', signal), unavailable(/left alone/));
    probe.failed();
  }
  await assert.rejects(limits.enter(HOST, 'question', signal), unavailable(/failed 6 times/, 5_000));
  clock.advance(5_000);
  {
    using _abandoned = await limits.enter(HOST, 'question', signal);
  }
  {
    using probe = await limits.enter(HOST, 'question', signal);
    probe.succeeded();
  }
  using _first = await limits.enter(HOST, 'question', signal);
  using _second = await limits.enter(HOST, 'question', signal);
});

test('host limits: a success in between begins the count anew', async () => {
  const limits = new HostLimits({ clock: new ManualClock() });
  await failTimes(limits, 4);
  {
    using slot = await limits.enter(HOST, 'question', signal);
    slot.succeeded();
  }
  await failTimes(limits, 4);
  using _slot = await limits.enter(HOST, 'question', signal);
});

test('host limits: a pause refuses at once, says for how long, and is bounded', async () => {
  const clock = new ManualClock();
  const limits = new HostLimits({ clock });
  {
    using slot = await limits.enter(HOST, 'question', signal);
    slot.pause(24 * 60 * 60 * 1000);
  }
  await assert.rejects(limits.enter(HOST, 'question', signal), unavailable(/limits our rate/, 60_000));
  clock.advance(60_000);
  using _slot = await limits.enter(HOST, 'question', signal);
});

test('host limits: places are handed on in order, and the lanes do not hold up each other', async () => {
  const limits = new HostLimits({ clock: new ManualClock() }, NARROW);
  const order: string[] = [];
  const first = await limits.enter(HOST, 'blob', signal);
  const second = limits.enter(HOST, 'blob', signal).then((slot) => {
    order.push('second');
    return slot;
  });
  const third = limits.enter(HOST, 'blob', signal).then((slot) => {
    order.push('third');
    return slot;
  });
  using _question = await limits.enter(HOST, 'question', signal);
  assert.deepEqual(order, []);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  const slot = await second;
  assert.deepEqual(order, ['second']);
  slot[Symbol.dispose]();
  (await third)[Symbol.dispose]();
  assert.deepEqual(order, ['second', 'third']);
});

test('host limits: waiting is bounded in number and in time, and ends with the signal', async () => {
  const clock = new ManualClock();
  const limits = new HostLimits({ clock }, NARROW);
  const held = await limits.enter(HOST, 'blob', signal);
  const leaver = new AbortController();
  const leaving = limits.enter(HOST, 'blob', leaver.signal);
  const tired = limits.enter(HOST, 'blob', signal);
  await assert.rejects(limits.enter(HOST, 'blob', signal), unavailable(/too many requests wait/));
  leaver.abort(new Error('left'));
  await assert.rejects(leaving, /left/);
  clock.advance(1_000);
  await assert.rejects(tired, unavailable(/busy/));
  held[Symbol.dispose]();
  using _next = await limits.enter(HOST, 'blob', signal);
  assert.equal(clock.pending, 0, 'no timer is left behind');
});

test('host limits: idle hosts are forgotten at the limit, hosts in use are not', async () => {
  const limits = new HostLimits({ clock: new ManualClock() }, { ...NARROW, hostsMax: 2 });
  using _held = await limits.enter(HOST, 'blob', signal);
  for (const host of ['a', 'b', 'c', 'd']) (await limits.enter(host, 'blob', signal))[Symbol.dispose]();
  const leaver = new AbortController();
  const refused = limits.enter(HOST, 'blob', leaver.signal);
  leaver.abort(new Error('still full'));
  await assert.rejects(refused, /still full/);
});
