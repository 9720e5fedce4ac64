/** The simulated disk: order, crashes that lose or keep a commit without an answer, and a full disk. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClaimStore } from '#chaos/claim-store.ts';
import { type CommitAnswer, Disk } from '#chaos/disk.ts';
import { EventQueue } from '#chaos/event-queue.ts';
import { Prng } from '#chaos/prng.ts';
import { Trace } from '#chaos/trace.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { CLAIM_HEAD_BYTES } from '#domain/claim-layout.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { mintEpoch, parseRegionNumber } from '#domain/region.ts';
import type { ClaimBatch } from '#storage/metadata.ts';

const never = () => false;

function open(survival = 0, rivalry = 0) {
  const queue = new EventQueue();
  const trace = new Trace(false);
  const origin = {
    region: parseRegionNumber(1),
    epoch: mintEpoch(1_000, 1),
    sequence: 0,
    time: HYBRID_TIME_ZERO,
  };
  const store = new ClaimStore(origin);
  let durable = 0;
  const onCommitted = () => {
    durable += 1;
  };
  const deps = { queue, trace, prng: new Prng('disk'), store, onCommitted };
  const disk = new Disk(deps, { readMs: 1, commitMs: 10, survival, rivalry });
  const answers: CommitAnswer[] = [];
  const commit = (name: string) => disk.commit(batch(name), (answer) => answers.push(answer));
  const wait = (ms: number) => queue.runUntil(queue.nowUs + ms * 1_000, never);
  return { disk, store, trace, answers, commit, wait, durable: () => durable };
}

function batch(name: string): ClaimBatch {
  const key = { kind: CLAIM_KIND.tag, repository: 'library/app', name };
  return {
    guards: [{ key, revision: 0 }],
    own: [{ key, bytes: new Uint8Array(CLAIM_HEAD_BYTES) }],
    foreign: [],
    views: [],
    cursors: [],
    observed: HYBRID_TIME_ZERO,
    manifests: [],
    nowMs: 1_000,
  };
}

test('disk: a crash loses the commits that are under way, and none is answered', () => {
  const { disk, store, trace, answers, commit, wait } = open(0);
  commit('a');
  commit('b');
  disk.crash();
  wait(1_000);
  assert.deepEqual([store.origin.sequence, answers.length, disk.pending], [0, 0, 0]);
  assert.equal(trace.marks['commits lost in a crash'], 2);
});

test('disk: a commit may survive a crash that its answer does not', () => {
  const { disk, store, trace, answers, commit, wait, durable } = open(1);
  commit('a');
  commit('b');
  disk.crash();
  wait(1_000);
  assert.deepEqual([store.origin.sequence, answers.length, durable()], [1, 0, 1]);
  assert.equal(trace.marks['commits unanswered in a crash'], 1);
  assert.equal(trace.marks['commits lost in a crash'], 1);
});

test('disk: a full disk refuses and writes nothing, until there is room', () => {
  const { disk, store, answers, commit, wait } = open();
  disk.setFull(true);
  commit('a');
  wait(1_000);
  assert.deepEqual(answers, [{ failed: 'the disk is full' }]);
  assert.equal(store.origin.sequence, 0);
  disk.setFull(false);
  commit('a');
  wait(1_000);
  assert.equal(store.origin.sequence, 1);
});

test('disk: where another process was faster, the guards refuse the commit', () => {
  const { store, trace, answers, commit, wait } = open(0, 1);
  commit('a');
  wait(1_000);
  assert.deepEqual(answers, [{ result: { outcome: 'conflict' } }]);
  assert.deepEqual([store.origin.sequence, trace.marks['stale commits']], [0, 1]);
});

test('disk: commits are durable one after the other, and only then answered', () => {
  const { disk, store, answers, commit, wait, durable } = open();
  for (const name of ['a', 'b', 'c']) commit(name);
  wait(1);
  assert.deepEqual([durable(), answers.length, disk.pending], [0, 0, 3]);
  wait(1_000);
  assert.equal(durable(), 3);
  const firsts = answers.map((answer) =>
    'result' in answer && answer.result.outcome === 'committed' ? answer.result.firstSequence : 0,
  );
  assert.deepEqual(firsts, [1, 2, 3]);
  assert.equal(store.origin.sequence, 3);
});

test('disk: a read that a crash interrupted is never answered', () => {
  const { disk, wait } = open();
  let reads = 0;
  const read = () =>
    disk.read(
      (store) => store.origin.sequence,
      () => {
        reads += 1;
      },
    );
  read();
  disk.crash();
  wait(1_000);
  assert.equal(reads, 0);
  read();
  wait(1_000);
  assert.equal(reads, 1);
});
