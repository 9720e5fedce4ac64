/** Virtual time: order, ties, stopping and planning from within. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventQueue } from '#chaos/event-queue.ts';
import { Prng } from '#chaos/prng.ts';

const never = () => false;

test('event queue: what lies behind the end does not run', () => {
  const queue = new EventQueue();
  let ran = 0;
  queue.after(11, () => {
    ran += 1;
  });
  queue.runUntil(10, never);
  assert.deepEqual([ran, queue.nowUs, queue.size], [0, 10, 1]);
});

test('event queue: it stops where it is told to, and goes on from there', () => {
  const queue = new EventQueue();
  const ran: number[] = [];
  for (const at of [1, 2, 3]) queue.after(at, () => ran.push(at));
  queue.runUntil(100, () => ran.length === 2);
  assert.deepEqual([ran, queue.nowUs], [[1, 2], 2]);
  queue.runUntil(100, never);
  assert.deepEqual([ran, queue.nowUs], [[1, 2, 3], 100]);
});

test('event queue: events of one moment run in the order in which they were planned', () => {
  const queue = new EventQueue();
  const ran: number[] = [];
  for (let at = 0; at < 50; at += 1) queue.after(5, () => ran.push(at));
  queue.runUntil(5, never);
  assert.deepEqual(
    ran,
    Array.from({ length: 50 }, (_, at) => at),
  );
});

test('event queue: a thousand random moments run in order', () => {
  const queue = new EventQueue();
  const prng = new Prng('heap');
  const ran: number[] = [];
  for (let at = 0; at < 1_000; at += 1) queue.after(prng.below(500), () => ran.push(queue.nowUs));
  queue.runUntil(500, never);
  assert.equal(ran.length, 1_000);
  assert.deepEqual(
    ran,
    ran.toSorted((a, b) => a - b),
  );
});

test('event queue: an event may plan others, and a delay below zero means now', () => {
  const queue = new EventQueue();
  const ran: string[] = [];
  queue.after(4, () => {
    queue.after(-3, () => ran.push(`now ${queue.nowUs}`));
    queue.after(2, () => ran.push(`later ${queue.nowUs}`));
  });
  queue.runUntil(10, never);
  assert.deepEqual(ran, ['now 4', 'later 6']);
  assert.equal(queue.ran, 3);
});
