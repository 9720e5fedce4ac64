/** What is measured on virtual time: never less than the link's length, the same for the same seed, and more with loss. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureConvergence, measureHealing } from '#chaos/convergence.ts';

const plan = { seed: 1, regions: 3, delayMs: 150, loss: 0, writes: 60, everyMs: 50 };

test('convergence: a tag is known everywhere after one way and two commits', () => {
  const { p50Ms, p99Ms, maxMs } = measureConvergence(plan);
  assert.ok(p50Ms >= 150 && p50Ms <= 170, `${p50Ms} ms`);
  assert.ok(p50Ms <= p99Ms && p99Ms <= maxMs && maxMs <= 300, `${p99Ms} and ${maxMs} ms`);
});

test('convergence: the same seed measures the same, another one something else', () => {
  const lossy = { ...plan, loss: 0.2 };
  assert.deepEqual(measureConvergence(lossy), measureConvergence(lossy));
  assert.notDeepEqual(measureConvergence(lossy), measureConvergence({ ...lossy, seed: 2 }));
});

test('convergence: what is lost arrives later, and arrives', () => {
  const lossless = measureConvergence(plan);
  const lossy = measureConvergence({ ...plan, loss: 0.3 });
  assert.ok(lossy.p99Ms > 2 * lossless.p99Ms, `${lossy.p99Ms} ms`);
});

test('convergence: halves that were apart are equal soon after, and not while they are apart', () => {
  const healing = { seed: 1, regions: 4, delayMs: 150, loss: 0, updates: 400, cutMs: 60_000 };
  const equalMs = measureHealing(healing);
  assert.ok(equalMs >= 150 && equalMs <= 10_000, `${equalMs} ms`);
});
