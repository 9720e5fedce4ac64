/** Simulated links: who hears what and when, and what is lost, refused or kept in order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventQueue } from '#chaos/event-queue.ts';
import { Network } from '#chaos/network.ts';
import { Prng } from '#chaos/prng.ts';
import type { LinkPlan } from '#chaos/scenario.ts';
import { Trace } from '#chaos/trace.ts';
import { mintEpoch, parseRegionNumber, type RegionNumber } from '#domain/region.ts';
import type { Message } from '#mesh/claims/message.ts';

const [one, two] = [parseRegionNumber(1), parseRegionNumber(2)];
const epoch = mintEpoch(1_000, 1);
const healthy: LinkPlan = {
  loss: 0,
  repeat: 0,
  corruption: 0,
  forgery: 0,
  overtakes: false,
  delayMs: 10,
  noticeMs: 100,
};
const never = () => false;

/** Two regions, linked; `seconds` lets time pass. */
function open(plan: Partial<LinkPlan> = {}) {
  const queue = new EventQueue();
  const trace = new Trace(false);
  const network = new Network({ queue, trace, prng: new Prng('links') }, { ...healthy, ...plan });
  const heard: string[] = [];
  const dead = new Set<RegionNumber>();
  for (const region of [one, two]) {
    network.join({
      region,
      get life() {
        return dead.has(region) ? 0 : 1;
      },
      received: (from, message) => heard.push(`${region} ${message.type} ${number(message)} from ${from}`),
      linkUp: (peer) => heard.push(`${region} up ${peer}`),
      linkDown: (peer) => heard.push(`${region} down ${peer}`),
    });
  }
  const seconds = (count: number) => queue.runUntil(queue.nowUs + count * 1_000_000, never);
  network.started(one);
  network.started(two);
  seconds(2);
  const takeHeard = () => heard.splice(0).sort();
  assert.deepEqual(takeHeard(), ['1 up 2', '2 up 1']);
  return { network, trace, heard, dead, seconds, takeHeard };
}

const follow = (have: number): Message => ({
  type: 'follow',
  cursors: [{ region: two, epoch, have, safe: 0 }],
  creditBytes: 1,
});

function number(message: Message): number {
  const list = message.type === 'summary' ? message.heads : 'cursors' in message ? message.cursors : [];
  return list[0]?.have ?? 0;
}

test('network: what is sent into a cut path is lost, and its owner hears of the cut late', () => {
  const { network, heard, seconds, takeHeard } = open();
  network.setCut(one, two, true);
  network.send(one, two, follow(1));
  assert.deepEqual(heard, []);
  seconds(2);
  assert.deepEqual(takeHeard(), ['1 down 2', '2 down 1']);
  network.setCut(one, two, false);
  seconds(2);
  assert.deepEqual(takeHeard(), ['1 up 2', '2 up 1']);
});

test('network: in a half-open link the other direction still carries', () => {
  const { network, seconds, heard } = open({ noticeMs: 60_000 });
  network.setCut(one, two, true);
  network.send(two, one, follow(7));
  seconds(1);
  assert.deepEqual(heard, ['1 follow 7 from 2']);
});

test('network: a dead process gets nothing, and is dialled again when it is back', () => {
  const { network, dead, seconds, takeHeard } = open();
  dead.add(two);
  network.stopped(two);
  network.send(one, two, follow(1));
  seconds(2);
  assert.deepEqual(takeHeard(), ['1 down 2']);
  dead.delete(two);
  network.started(two);
  network.send(one, two, follow(2));
  seconds(2);
  assert.deepEqual(takeHeard(), ['1 up 2', '2 up 1']);
});

test('network: corrupted and forged frames are refused, and end their session', () => {
  for (const fault of ['corruption', 'forgery'] as const) {
    const { network, trace, seconds, takeHeard } = open({ [fault]: 1e9 });
    network.send(one, two, follow(1));
    seconds(2);
    assert.deepEqual(takeHeard(), ['1 down 2', '1 up 2'], fault);
    assert.equal(trace.marks['refused frames'], 1);
  }
});

test('network: messages stay in order unless they may overtake each other', () => {
  const sent = Array.from({ length: 40 }, (_, at) => at + 1);
  const order = (overtakes: boolean) => {
    const { network, heard, seconds } = open({ overtakes, delayMs: 50 });
    for (const at of sent) network.send(one, two, follow(at));
    seconds(5);
    return heard.map((line) => Number(line.split(' ')[2]));
  };
  assert.deepEqual(order(false), sent);
  const mixed = order(true);
  assert.notDeepEqual(mixed, sent);
  assert.deepEqual(
    mixed.toSorted((a, b) => a - b),
    sent,
  );
});

test('network: lossy links lose, repeating ones repeat, healing ends both', () => {
  const lossy = open({ loss: 1e9 });
  lossy.network.send(one, two, follow(1));
  lossy.seconds(1);
  assert.deepEqual(lossy.heard, []);
  const repeating = open({ repeat: 1e9 });
  repeating.network.send(one, two, follow(1));
  repeating.seconds(1);
  assert.equal(repeating.heard.length, 2);
  repeating.network.heal(healthy, []);
  repeating.network.send(one, two, follow(2));
  repeating.seconds(1);
  assert.equal(repeating.heard.length, 3);
});
