/** Appending to files that take less than they are given, fail half-way, or are slower than the source. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scheduler } from 'node:timers/promises';
import { FileAppender, type VectorFile } from '#storage/file-appender.ts';
import { bytesOf } from '#test/suites/blob-store-suite.ts';

test('file appender: a failure is told at the next piece, and what was written before it counts', async () => {
  const full = Object.assign(new Error('full'), { code: 'ENOSPC' });
  const file = new ShortFile({ bytesPerWrite: 4, failAt: 6, failure: full });
  const sizes: number[] = [];
  const appender = new FileAppender(file, { position: 0, onWritten: (size) => sizes.push(size) });
  await appender.push(bytesOf('abc'), () => undefined);
  await appender.push(bytesOf('defgh'), () => undefined);
  await assert.rejects(appender.flush(), full);
  await assert.rejects(
    appender.push(bytesOf('i'), () => undefined),
    full,
  );
  assert.equal(file.text, 'abcdef');
  assert.equal(sizes.at(-1), 6);
});

test('file appender: a file that takes little at a time gets every byte once, in order', async () => {
  const file = new ShortFile({ bytesPerWrite: 3 });
  const sizes: number[] = [];
  const appender = new FileAppender(file, { position: 0, onWritten: (size) => sizes.push(size) });
  const hashed: string[] = [];
  for (const text of ['ab', 'cdefghij', 'k', 'lmnop']) {
    await appender.push(bytesOf(text), () => hashed.push(text));
  }
  await appender.flush();
  assert.equal(file.text, 'abcdefghijklmnop');
  assert.deepEqual(
    sizes,
    sizes.toSorted((a, b) => a - b),
  );
  assert.equal(sizes.at(-1), 16);
  assert.deepEqual(hashed, ['ab', 'cdefghij', 'k', 'lmnop']);
});

test('file appender: what arrives during a write goes out together, and no more than 1 MiB waits', async () => {
  const gate = Promise.withResolvers<void>();
  const file = new ShortFile({ bytesPerWrite: Number.POSITIVE_INFINITY, gate: gate.promise });
  const appender = new FileAppender(file, { position: 0, onWritten: () => undefined });
  const piece = new Uint8Array(256 * 1024);
  for (let count = 0; count < 4; count += 1) await appender.push(piece, () => undefined);
  let went = false;
  const fifth = appender
    .push(piece, () => undefined)
    .then(() => {
      went = true;
    });
  await scheduler.yield();
  assert.equal(went, false);
  assert.deepEqual(file.writes, [1]);
  gate.resolve();
  await fifth;
  await appender.flush();
  assert.deepEqual(file.writes, [1, 4]);
});

type ShortFileOptions = {
  readonly bytesPerWrite: number;
  readonly failAt?: number;
  readonly failure?: Error;
  readonly gate?: Promise<void>;
};

/** A file in memory that takes at most so many bytes a write, and none at `failAt`. */
class ShortFile implements VectorFile {
  readonly #options: ShortFileOptions;
  /** Pieces of each write. */
  readonly writes: number[] = [];
  text = '';

  constructor(options: ShortFileOptions) {
    this.#options = options;
  }

  async writev(pieces: Uint8Array[], position: number): Promise<{ readonly bytesWritten: number }> {
    this.writes.push(pieces.length);
    await this.#options.gate;
    assert.equal(position, this.text.length);
    const { bytesPerWrite, failAt = Number.POSITIVE_INFINITY, failure } = this.#options;
    if (position >= failAt) throw failure;
    const taken = Buffer.concat(pieces).subarray(0, Math.min(bytesPerWrite, failAt - position));
    this.text += taken.toString('latin1');
    return { bytesWritten: taken.byteLength };
  }
}
