/** Appending past the page cache: disks that fail, take less, or do not do it, and files whose length is no block's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BUFFER_BYTES, BlockBuffers } from '#storage/block-buffers.ts';
import { DirectAppender, type PositionedFile } from '#storage/direct-appender.ts';
import { patterned } from '#test/suites/blob-store-suite.ts';

const BLOCK = 4096;
type WriteOptions = Parameters<PositionedFile['write']>[1];

test('direct appender: a full disk is told at the next bytes, and what was written before it counts', async () => {
  const disk = new Disk({ fullAt: BLOCK_BUFFER_BYTES + BLOCK });
  const appender = disk.appender(0);
  await assert.rejects(async () => {
    for (let count = 0; count < 4; count += 1) await appender.push(patterned(BLOCK_BUFFER_BYTES));
  }, disk.full);
  await assert.rejects(appender.flush(), disk.full);
  assert.equal(disk.sizes.at(-1), BLOCK_BUFFER_BYTES + BLOCK);
  assert.equal(disk.bytes.length, BLOCK_BUFFER_BYTES + BLOCK);
});

test('direct appender: where the file system refuses, the cache gets every byte once', async () => {
  const disk = new Disk({ refusesDirect: true });
  const content = await disk.fill(0, 3 * BLOCK_BUFFER_BYTES + 17);
  assert.deepEqual(disk.bytes, content);
  assert.deepEqual(disk.hashed, content);
  assert.equal(disk.refusals, 1);
});

test('direct appender: what a direct write leaves over goes through the cache', async () => {
  const disk = new Disk({ directBytesMax: 10_000 });
  const content = await disk.fill(0, 2 * BLOCK_BUFFER_BYTES);
  assert.deepEqual(disk.bytes, content);
  assert.deepEqual(disk.sizes, [
    10_000,
    BLOCK_BUFFER_BYTES,
    BLOCK_BUFFER_BYTES + 10_000,
    2 * BLOCK_BUFFER_BYTES,
  ]);
});

for (const start of [0, 1, 512, BLOCK - 1, BLOCK, 5_000_001]) {
  test(`direct appender: from byte ${start} on, only whole blocks go directly`, async () => {
    const disk = new Disk({}, start);
    const content = await disk.fill(start, 2 * BLOCK_BUFFER_BYTES + 4097);
    assert.deepEqual(disk.bytes.subarray(start), content);
    assert.deepEqual(disk.hashed, content);
    assert.equal(disk.sizes.at(-1), start + content.length);
    assert.ok(disk.directBytes >= 2 * BLOCK_BUFFER_BYTES - BLOCK);
  });
}

test('block buffers: who finds none free does without, and gets those that were given back', () => {
  const buffers = new BlockBuffers();
  const taken: NonNullable<ReturnType<BlockBuffers['takeTwo']>>[] = [];
  for (let two = buffers.takeTwo(); two !== undefined; two = buffers.takeTwo()) taken.push(two);
  const starts = taken.flat().map((buffer) => buffer.byteOffset);
  assert.equal(new Set(starts).size, starts.length);
  assert.ok(starts.every((start) => start % BLOCK === 0));
  assert.equal(starts.length, 64);
  buffers.giveBack(taken[0] ?? []);
  assert.deepEqual(new Set(buffers.takeTwo()), new Set(taken[0]));
  assert.equal(buffers.takeTwo(), undefined);
});

type DiskOptions = {
  readonly fullAt?: number;
  readonly refusesDirect?: boolean;
  readonly directBytesMax?: number;
};

/** One file behind both ways to write it; a direct write that is not aligned fails the test. */
class Disk {
  readonly full = systemError('ENOSPC');
  readonly sizes: number[] = [];
  refusals = 0;
  directBytes = 0;
  bytes: Buffer;
  hashed = Buffer.alloc(0);
  readonly #options: DiskOptions;

  constructor(options: DiskOptions, startBytes = 0) {
    this.#options = options;
    this.bytes = Buffer.alloc(startBytes);
  }

  appender(position: number): DirectAppender {
    const buffers = new BlockBuffers().takeTwo() ?? assert.fail('no buffers');
    const direct = {
      write: async (bytes: Uint8Array, options: WriteOptions) => this.#writeDirect(bytes, options),
    };
    const cached = { write: async (bytes: Uint8Array, options: WriteOptions) => this.#write(bytes, options) };
    return new DirectAppender({ direct, cached }, buffers, {
      position,
      onWritten: (sizeBytes) => this.sizes.push(sizeBytes),
      onBytes: (bytes) => {
        this.hashed = Buffer.concat([this.hashed, bytes]);
      },
      onRefused: () => {
        this.refusals += 1;
      },
    });
  }

  /** Appends so many bytes in pieces of an odd length, each of which is overwritten once it was taken. */
  async fill(start: number, count: number): Promise<Buffer> {
    const content = Buffer.from(patterned(count));
    const appender = this.appender(start);
    for (let at = 0; at < count; at += 65_521) {
      const piece = Uint8Array.from(content.subarray(at, at + 65_521));
      await appender.push(piece);
      piece.fill(0);
    }
    await appender.flush();
    return content;
  }

  #writeDirect(bytes: Uint8Array, options: WriteOptions) {
    if (this.#options.refusesDirect === true) throw systemError('EINVAL');
    for (const number of [bytes.byteOffset + options.offset, options.length, options.position])
      assert.equal(number % BLOCK, 0);
    const length = Math.min(options.length, this.#options.directBytesMax ?? options.length);
    const written = this.#write(bytes, { ...options, length });
    this.directBytes += written.bytesWritten;
    return written;
  }

  #write(bytes: Uint8Array, { offset, length, position }: WriteOptions) {
    assert.equal(position, this.bytes.length);
    const room = (this.#options.fullAt ?? Number.POSITIVE_INFINITY) - position;
    if (room === 0 && length > 0) throw this.full;
    const taken = Math.min(length, room);
    this.bytes = Buffer.concat([this.bytes, bytes.subarray(offset, offset + taken)]);
    return { bytesWritten: taken };
  }
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code, syscall: 'write' });
}
