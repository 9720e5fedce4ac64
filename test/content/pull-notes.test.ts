/** Pulls noted as uses: rarely, never in a pull's way, and whatever the disk says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PullNotes } from '#content/pull-notes.ts';
import { type Digest, digestOf } from '#domain/digest.ts';
import { silentLog } from '#runtime/log.ts';
import { ManualClock } from '#test/client/manual-clock.ts';

const EVERY_MS = 3_600_000;
const ONE = digestOf('one');
const TWO = digestOf('two');

/** Notes that were written; each waits for `gate`. */
function openRig(gate: () => Promise<void> = async () => undefined) {
  const written: Digest[] = [];
  const clock = new ManualClock();
  const use = {
    async keep(digest: Digest) {
      written.push(digest);
      await gate();
      return true;
    },
  };
  return { written, clock, notes: new PullNotes({ use, clock, log: silentLog }, { everyMs: EVERY_MS }) };
}

test('pull notes: notes above a thousand that wait for the disk are left out, and are noted by a later pull', async () => {
  const disk = Promise.withResolvers<void>();
  const { notes, written } = openRig(() => disk.promise);
  await using _notes = notes;
  for (let count = 0; count < 1200; count += 1) notes.note(digestOf(`blob ${count}`));
  assert.equal(written.length, 1, 'one at a time');
  disk.resolve();
  await settled();
  assert.equal(written.length, 1000);
  notes.note(digestOf('blob 1199'));
  await settled();
  assert.equal(written.at(-1), digestOf('blob 1199'));
});

test('pull notes: a note that fails is not tried again at once, and others are', async () => {
  const { notes, written } = openRig(() => Promise.reject(new Error('broken')));
  await using _notes = notes;
  notes.note(ONE);
  await settled();
  notes.note(ONE);
  notes.note(TWO);
  await settled();
  assert.deepEqual(written, [ONE, TWO]);
});

test('pull notes: what was noted lately is noted again when its time has come', async () => {
  const { notes, written, clock } = openRig();
  await using _notes = notes;
  clock.advance(1);
  notes.note(ONE);
  notes.note(ONE);
  await settled();
  clock.advance(EVERY_MS - 1);
  notes.note(ONE);
  await settled();
  assert.deepEqual(written, [ONE]);
  clock.advance(2);
  notes.note(ONE);
  await settled();
  assert.deepEqual(written, [ONE, ONE]);
});

test('pull notes: what waits is left when the node stops', async () => {
  const disk = Promise.withResolvers<void>();
  const { notes, written } = openRig(() => disk.promise);
  notes.note(ONE);
  notes.note(TWO);
  const stopped = notes[Symbol.asyncDispose]();
  disk.resolve();
  await stopped;
  assert.deepEqual(written, [ONE]);
});

/** All that only waits for promises has been done: a macrotask comes after every microtask. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
