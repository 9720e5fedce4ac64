/**
 * The law of the seam `BlobStore`, which every implementation passes: what a broken source, a second writer, a wrong
 * digest and an early leaver may do, and what a store answers otherwise.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { type Digest, digestOf } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import type { BlobStore, Upload } from '#storage/blob-store.ts';

export type BlobStoreUnderTest = AsyncDisposable & { readonly store: BlobStore };

const PIECE_BYTES_MAX = 256 * 1024;
const never = new AbortController().signal;

export function blobStoreSuite(name: string, open: () => Promise<BlobStoreUnderTest>): void {
  appendLaws(name, open);
  endingLaws(name, open);
  algorithmLaws(name, open);
  readingLaws(name, open);
}

function appendLaws(name: string, open: () => Promise<BlobStoreUnderTest>): void {
  test(`${name}: a second append, and a commit, are refused while one append runs, which goes on`, async () => {
    await using opened = await open();
    const upload = await opened.store.startUpload('team/app');
    const gate = Promise.withResolvers<void>();
    const first = upload.append(gated(bytesOf('one '), gate.promise, bytesOf('two')), { signal: never });
    const again = await opened.store.findUpload('team/app', upload.id);
    assert.ok(again);
    const busy = isRegistryError('BLOB_UPLOAD_INVALID', 409);
    await assert.rejects(again.append(pieces(bytesOf('x')), { signal: never }), busy);
    await assert.rejects(again.commit(digestOf('one two')), busy);
    gate.resolve();
    assert.equal(await first, 7);
    assert.deepEqual(await upload.commit(digestOf('one two')), { digest: digestOf('one two'), sizeBytes: 7 });
  });

  test(`${name}: what arrived before a source failed is kept, and appending goes on`, async () => {
    await using opened = await open();
    const upload = await opened.store.startUpload('team/app');
    const broken = new Error('the client went away');
    await assert.rejects(upload.append(failing(broken, bytesOf('first ')), { signal: never }), broken);
    assert.equal(upload.sizeBytes, 6);
    assert.equal(await upload.append(pieces(bytesOf('second')), { signal: never }), 12);
    await upload.commit(digestOf('first second'));
    assert.equal(await textOf(opened.store, digestOf('first second')), 'first second');
  });

  test(`${name}: an abort ends an append at once, also when its source is silent`, async () => {
    await using opened = await open();
    const upload = await opened.store.startUpload('team/app');
    const controller = new AbortController();
    const reached = Promise.withResolvers<void>();
    const silent = gated(bytesOf('heard'), new Promise<void>(() => undefined));
    const appending = upload.append(silent, {
      signal: controller.signal,
      onProgress: () => reached.resolve(),
    });
    await reached.promise;
    controller.abort(new Error('enough'));
    await assert.rejects(appending, /enough/);
    assert.equal(upload.sizeBytes, 5);
    assert.equal(await upload.append(pieces(bytesOf('!')), { signal: never }), 6);
  });

  test(`${name}: an upload never grows past its limit`, async () => {
    await using opened = await open();
    const upload = await opened.store.startUpload('team/app');
    const tooLarge = upload.append(pieces(bytesOf('1234'), bytesOf('56')), { signal: never, maxBytes: 5 });
    await assert.rejects(tooLarge, isRegistryError('SIZE_INVALID', 413));
    assert.equal(upload.sizeBytes, 4);
    assert.equal(await upload.append(pieces(bytesOf('5')), { signal: never, maxBytes: 5 }), 5);
  });

  test(`${name}: long appends keep every byte, and the source's pieces unless they were given away`, async () => {
    await using opened = await open();
    const upload = await opened.store.startUpload('team/app');
    const content = patterned(13_000_001);
    for (const [start, end, ownsPieces] of [
      [0, 6_000_001, true],
      [6_000_001, 6_000_002, true],
      [6_000_002, content.length, false],
    ] as const) {
      const parts = chunksOf(content.subarray(start, end), 65_521);
      const copies = parts.map((part) => Uint8Array.from(part));
      assert.equal(await upload.append(pieces(...copies), { signal: never, ownsPieces }), end);
      if (!ownsPieces) assert.deepEqual(copies, parts);
    }
    const digest = digestOf(content);
    await upload.commit(digest);
    const reading = await opened.store.read(digest, undefined, never);
    assert.ok(reading);
    assert.equal(digestOf(await collect(reading)), digest);
  });

  test(`${name}: progress names only bytes that can be read`, async () => {
    await using opened = await open();
    const upload = await opened.store.startUpload('team/app');
    const content = patterned(3_000_000);
    const seen: number[] = [];
    const reads: Promise<Uint8Array>[] = [];
    await upload.append(pieces(...chunksOf(content, 70_000)), {
      signal: never,
      onProgress: (sizeBytes) => {
        const start = seen.at(-1) ?? 0;
        seen.push(sizeBytes);
        reads.push(collect(upload.read({ start, end: sizeBytes - 1 }, never)));
      },
    });
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => a - b),
    );
    assert.equal(seen.at(-1), content.byteLength);
    assert.deepEqual(Buffer.concat(await Promise.all(reads)), Buffer.from(content));
  });
}

function endingLaws(name: string, open: () => Promise<BlobStoreUnderTest>): void {
  test(`${name}: a digest that does not match is refused, and the upload is discarded`, async () => {
    await using opened = await open();
    const upload = await uploadOf(opened.store, bytesOf('right'));
    const reading = upload.read({ start: 0, end: 4 }, never)[Symbol.asyncIterator]();
    await assert.rejects(upload.commit(digestOf('wrong')), isRegistryError('DIGEST_INVALID', 400));
    assert.equal(await opened.store.findUpload('team/app', upload.id), undefined);
    assert.equal(await opened.store.stat(digestOf('wrong')), undefined);
    assert.equal(await opened.store.stat(digestOf('right')), undefined);
    const unknown = isRegistryError('BLOB_UPLOAD_UNKNOWN', 404);
    await assert.rejects(upload.append(pieces(bytesOf('x')), { signal: never }), unknown);
    await assert.rejects(upload.commit(digestOf('right')), unknown);
    await assert.rejects(async () => await reading.next(), unknown);
  });

  test(`${name}: discarding ends an append that runs, and may be repeated`, async () => {
    await using opened = await open();
    const upload = await opened.store.startUpload('team/app');
    const reached = Promise.withResolvers<void>();
    const silent = gated(bytesOf('heard'), new Promise<void>(() => undefined));
    const appending = upload.append(silent, { signal: never, onProgress: () => reached.resolve() });
    await reached.promise;
    await Promise.all([
      assert.rejects(appending, isRegistryError('BLOB_UPLOAD_UNKNOWN', 404)),
      upload.abort(),
    ]);
    await upload.abort();
    assert.equal(await opened.store.findUpload('team/app', upload.id), undefined);
  });

  test(`${name}: an upload is found by its own scope and id only`, async () => {
    await using opened = await open();
    const upload = await opened.store.startUpload('team/app');
    const other = await opened.store.startUpload('team/app');
    assert.notEqual(upload.id, other.id);
    assert.equal(await opened.store.findUpload('team/other', upload.id), undefined);
    assert.equal(await opened.store.findUpload('team/app', `../${upload.id}`), undefined);
    assert.equal(await opened.store.findUpload('team/app', ''), undefined);
    assert.equal((await opened.store.findUpload('team/app', upload.id))?.id, upload.id);
  });

  test(`${name}: committing what is here already succeeds, and ends the upload`, async () => {
    await using opened = await open();
    const digest = digestOf('twice');
    for (const _ of [1, 2]) {
      const upload = await uploadOf(opened.store, bytesOf('twice'));
      assert.deepEqual(await upload.commit(digest), { digest, sizeBytes: 5 });
      assert.equal(await opened.store.findUpload('team/app', upload.id), undefined);
      await upload.abort();
    }
    assert.equal(await textOf(opened.store, digest), 'twice');
    assert.deepEqual(await Array.fromAsync(opened.store.list()), [{ digest, sizeBytes: 5 }]);
  });

  test(`${name}: SHA-512, and a blob without bytes`, async () => {
    await using opened = await open();
    const long = `sha512:${createHash('sha512').update('long').digest('hex')}` as Digest;
    await (await uploadOf(opened.store, bytesOf('long'))).commit(long);
    assert.equal(await textOf(opened.store, long), 'long');
    await (await opened.store.startUpload('team/app')).commit(digestOf(''));
    assert.equal(await textOf(opened.store, digestOf('')), '');
    const wrong = digestOf('other', 'sha512');
    await assert.rejects(
      (await uploadOf(opened.store, bytesOf('long'))).commit(wrong),
      isRegistryError('DIGEST_INVALID', 400),
    );
  });
}

function algorithmLaws(name: string, open: () => Promise<BlobStoreUnderTest>): void {
  for (const began of ['sha256', 'sha512'] as const) {
    for (const ends of ['sha256', 'sha512'] as const) {
      test(`${name}: an upload begun for ${began} is committed as ${ends}, and refused as another`, async () => {
        await using opened = await open();
        const upload = async () => {
          const started = await opened.store.startUpload('team/app', began);
          await started.append(pieces(bytesOf('one ')), { signal: never });
          await started.append(pieces(bytesOf('two')), { signal: never });
          return started;
        };
        const wrong = (await upload()).commit(digestOf('other', ends));
        await assert.rejects(wrong, isRegistryError('DIGEST_INVALID', 400));
        const digest = digestOf('one two', ends);
        assert.deepEqual(await (await upload()).commit(digest), { digest, sizeBytes: 7 });
        assert.equal(await textOf(opened.store, digest), 'one two');
      });
    }
  }
}

function readingLaws(name: string, open: () => Promise<BlobStoreUnderTest>): void {
  test(`${name}: what is not here is absent, not an error`, async () => {
    await using opened = await open();
    assert.equal(await opened.store.stat(digestOf('none')), undefined);
    assert.equal(await opened.store.read(digestOf('none'), undefined, never), undefined);
    assert.equal(await opened.store.delete(digestOf('none')), false);
    assert.deepEqual(await Array.fromAsync(opened.store.list()), []);
  });

  test(`${name}: an abort ends a read with its reason`, async () => {
    await using opened = await open();
    const content = patterned(2_000_000);
    const digest = await stored(opened.store, content);
    const controller = new AbortController();
    const reading = await opened.store.read(digest, undefined, controller.signal);
    assert.ok(reading);
    const iterator = reading[Symbol.asyncIterator]();
    assert.equal((await iterator.next()).done, false);
    controller.abort(new Error('the reader left'));
    await assert.rejects(async () => await iterator.next(), /the reader left/);
    await assert.rejects(opened.store.read(digest, undefined, controller.signal), /the reader left/);
  });

  test(`${name}: a reader that leaves early is told no more`, async () => {
    await using opened = await open();
    const digest = await stored(opened.store, patterned(2_000_000));
    const reading = await opened.store.read(digest, undefined, never);
    assert.ok(reading);
    const iterator = reading[Symbol.asyncIterator]();
    await iterator.next();
    await iterator.return?.();
    assert.deepEqual(await iterator.next(), { done: true, value: undefined });
  });

  test(`${name}: whole blobs and ranges come in pieces of bounded size`, async () => {
    await using opened = await open();
    const content = patterned(1_000_001);
    const digest = await stored(opened.store, content);
    assert.deepEqual(await opened.store.stat(digest), { digest, sizeBytes: content.byteLength });
    const ranges = [
      { start: 0, end: 0 },
      { start: 999_999, end: 1_000_000 },
      { start: 262_143, end: 786_433 },
      { start: 1_000_000, end: 5_000_000 },
      { start: 2_000_000, end: 2_000_001 },
    ];
    for (const range of [undefined, ...ranges]) {
      const reading = await opened.store.read(digest, range, never);
      assert.ok(reading);
      const got = await Array.fromAsync(reading);
      assert.ok(got.every((piece) => piece.byteLength > 0 && piece.byteLength <= PIECE_BYTES_MAX));
      const wanted = range === undefined ? content : content.subarray(range.start, range.end + 1);
      assert.deepEqual(Buffer.concat(got), Buffer.from(wanted));
    }
  });

  test(`${name}: a read that began goes on when the blob is deleted`, async () => {
    await using opened = await open();
    const content = patterned(1_000_000);
    const digest = await stored(opened.store, content);
    const reading = await opened.store.read(digest, undefined, never);
    assert.ok(reading);
    assert.equal(await opened.store.delete(digest), true);
    assert.equal(await opened.store.stat(digest), undefined);
    assert.deepEqual(Buffer.from(await collect(reading)), Buffer.from(content));
  });

  test(`${name}: who follows an upload goes on over its commit`, async () => {
    await using opened = await open();
    const content = patterned(1_000_000);
    const upload = await uploadOf(opened.store, content);
    const begun = upload.read({ start: 0, end: content.byteLength - 1 }, never)[Symbol.asyncIterator]();
    const first = await begun.next();
    const late = upload.read({ start: 500_000, end: content.byteLength - 1 }, never);
    await upload.commit(digestOf(content));
    const rest = await collect({ [Symbol.asyncIterator]: () => begun });
    assert.ok(first.done !== true);
    assert.deepEqual(Buffer.concat([first.value, rest]), Buffer.from(content));
    assert.deepEqual(Buffer.from(await collect(late)), Buffer.from(content.subarray(500_000)));
  });
}

export function isRegistryError(code: string, status: number): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof RegistryError, `not a RegistryError: ${thrown}`);
    assert.deepEqual({ code: thrown.code, status: thrown.status }, { code, status });
    return true;
  };
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes that differ at every place, so that a shifted or repeated piece shows. */
export function patterned(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let place = 0; place < length; place += 1)
    bytes[place] = place * 31 + (place >> 8) * 7 + (place >> 16);
  return bytes;
}

function chunksOf(bytes: Uint8Array, length: number): readonly Uint8Array[] {
  const count = Math.ceil(bytes.byteLength / length);
  return Array.from({ length: count }, (_, position) =>
    bytes.subarray(position * length, (position + 1) * length),
  );
}

export async function* pieces(...parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void, undefined> {
  yield* parts;
}

async function* gated(
  before: Uint8Array,
  gate: Promise<void>,
  ...later: readonly Uint8Array[]
): AsyncGenerator<Uint8Array, void, undefined> {
  yield before;
  await gate;
  yield* later;
}

async function* failing(
  thrown: Error,
  ...parts: readonly Uint8Array[]
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* parts;
  throw thrown;
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  return Buffer.concat(await Array.fromAsync(source));
}

async function textOf(store: BlobStore, digest: Digest): Promise<string> {
  const reading = await store.read(digest, undefined, never);
  assert.ok(reading, `${digest} is not here`);
  return new TextDecoder().decode(await collect(reading));
}

async function uploadOf(store: BlobStore, content: Uint8Array): Promise<Upload> {
  const upload = await store.startUpload('team/app');
  await upload.append(pieces(content), { signal: never });
  return upload;
}

async function stored(store: BlobStore, content: Uint8Array): Promise<Digest> {
  const digest = digestOf(content);
  await (await uploadOf(store, content)).commit(digest);
  return digest;
}
