/** The store on disk obeys the law of its seam, and survives restarts, full disks and damaged files. */
import assert from 'node:assert/strict';
import {
  appendFile,
  readdir,
  readlink,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Digest, digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { systemRandom } from '#runtime/random.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import { openFilesystemBlobStore } from '#storage/blob-store-filesystem.ts';
import { FileStream } from '#storage/file-stream.ts';
import {
  blobStoreSuite,
  bytesOf,
  collect,
  isRegistryError,
  patterned,
  pieces,
} from '#test/suites/blob-store-suite.ts';
import { temporaryFolder } from './temporary.ts';

const never = new AbortController().signal;
const openAt = (root: string) => openFilesystemBlobStore({ root }, { random: systemRandom });

blobStoreSuite('filesystem blob store', async () => {
  const folder = await temporaryFolder();
  const store = await openAt(folder.path);
  return { store, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
});

test('filesystem blob store: memory that is released twice, or by another stream, is lent to one reader only', async () => {
  await using folder = await temporaryFolder();
  const store = await openAt(folder.path);
  const [one, other] = [await storeBlob(store, 1), await storeBlob(store, 2)];
  const first = await openStream(store, one.digest);
  const second = await openStream(store, other.digest);
  const third = await openStream(store, one.digest);
  const released = await first.next();
  assert.ok(released.done !== true);
  // The third stream's pieces are none of the first one's.
  third.release(released.value);
  first.release(released.value);
  first.release(released.value);
  const held: { readonly expected: Uint8Array; readonly piece: Uint8Array }[] = [];
  for (const [stream, { bytes }] of [
    [second, other],
    [third, one],
  ] as const) {
    let at = 0;
    for await (const piece of stream) {
      held.push({ expected: bytes.subarray(at, at + piece.length), piece });
      at += piece.length;
    }
    assert.equal(at, bytes.length);
  }
  for (const { expected, piece } of held) assert.deepEqual(Buffer.compare(piece, expected), 0);
  await first.return();
});

type Stored = { readonly digest: Digest; readonly bytes: Uint8Array };

/** Of eight whole pieces and a part of one. */
async function storeBlob(store: BlobStore, seed: number): Promise<Stored> {
  const bytes = patterned(8 * 256 * 1024 + 10).map((byte) => byte ^ seed);
  const upload = await store.startUpload('team/app');
  await upload.append(pieces(bytes), { signal: never });
  return { digest: (await upload.commit(digestOf(bytes))).digest, bytes };
}

async function openStream(store: BlobStore, digest: Digest): Promise<FileStream> {
  const stream = await store.read(digest, undefined, never);
  assert.ok(stream instanceof FileStream);
  return stream;
}

test('filesystem blob store: a folder that takes no files is one clear error', async () => {
  await using folder = await temporaryFolder();
  const root = join(folder.path, 'file', 'below');
  await writeFile(join(folder.path, 'file'), '');
  await assert.rejects(openAt(root), (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.match(thrown.message, new RegExp(`^cannot write to the blob folder ${root}: .*ENOTDIR`));
    return !thrown.message.includes('\n');
  });
});

test('filesystem blob store: a full disk is named, and the append goes on once there is room', async (t) => {
  if (process.platform !== 'linux') return t.skip('needs /dev/full');
  await using folder = await temporaryFolder();
  const store = await openAt(folder.path);
  const upload = await store.startUpload('team/app');
  await upload.append(pieces(bytesOf('before ')), { signal: never });
  const path = await onlyUpload(folder.path);
  await rename(path, `${path}.aside`);
  await symlink('/dev/full', path);
  await assert.rejects(upload.append(pieces(bytesOf('lost')), { signal: never }), (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.match(thrown.message, /the disk is full \(ENOSPC\)/);
    return true;
  });
  assert.equal(upload.sizeBytes, 7);
  await rm(path);
  await rename(`${path}.aside`, path);
  assert.equal(await upload.append(pieces(bytesOf('after')), { signal: never }), 12);
  await upload.commit(digestOf('before after'));
  assert.deepEqual(await store.stat(digestOf('before after')), {
    digest: digestOf('before after'),
    sizeBytes: 12,
  });
});

test('filesystem blob store: what a failed write left behind the end is not part of the blob', async () => {
  await using folder = await temporaryFolder();
  const store = await openAt(folder.path);
  const upload = await store.startUpload('team/app');
  await upload.append(pieces(bytesOf('exact')), { signal: never });
  await appendFile(await onlyUpload(folder.path), 'torn');
  await upload.commit(digestOf('exact'));
  const reading = await store.read(digestOf('exact'), undefined, never);
  assert.ok(reading);
  assert.equal(Buffer.from(await collect(reading)).toString(), 'exact');
});

test('filesystem blob store: an upload survives a restart, with all that was appended', async () => {
  await using folder = await temporaryFolder();
  const before = await (await openAt(folder.path)).startUpload('team/app');
  await before.append(pieces(bytesOf('half ')), { signal: never });
  const store = await openAt(folder.path);
  const upload = await store.findUpload('team/app', before.id);
  assert.equal(upload?.sizeBytes, 5);
  await upload.append(pieces(bytesOf('done')), { signal: never });
  await upload.commit(digestOf('half done'));
  assert.deepEqual(await Array.fromAsync(store.list()), [{ digest: digestOf('half done'), sizeBytes: 9 }]);
});

test('filesystem blob store: an upload that a crash tore or damaged is never committed', async () => {
  await using folder = await temporaryFolder();
  const content = patterned(300_000);
  for (const damage of [
    (path: string) => truncate(path, 299_999),
    (path: string) => writeFile(path, Buffer.alloc(300_000)),
  ]) {
    const before = await (await openAt(folder.path)).startUpload('team/app');
    await before.append(pieces(content), { signal: never });
    await damage(await onlyUpload(folder.path));
    const upload = await (await openAt(folder.path)).findUpload('team/app', before.id);
    assert.ok(upload);
    await assert.rejects(upload.commit(digestOf(content)), isRegistryError('DIGEST_INVALID', 400));
    assert.deepEqual(await readdir(join(folder.path, 'uploads')), []);
  }
});

test('filesystem blob store: two requests that find one upload share it', async () => {
  await using folder = await temporaryFolder();
  const { id } = await (await openAt(folder.path)).startUpload('team/app');
  const store = await openAt(folder.path);
  const [one, two] = await Promise.all([store.findUpload('team/app', id), store.findUpload('team/app', id)]);
  assert.ok(one);
  assert.equal(one, two);
});

test('filesystem blob store: a blob that became shorter ends its stream with an error', async () => {
  await using folder = await temporaryFolder();
  const store = await openAt(folder.path);
  const content = patterned(600_000);
  const digest = digestOf(content);
  const upload = await store.startUpload('team/app');
  await upload.append(pieces(content), { signal: never });
  await upload.commit(digest);
  const reading = await store.read(digest, undefined, never);
  assert.ok(reading);
  const hex = digest.slice('sha256:'.length);
  await truncate(join(folder.path, 'blobs', 'sha256', hex.slice(0, 2), hex), 100);
  await assert.rejects(collect(reading), /shorter than it should be/);
});

test('filesystem blob store: every way to end a read closes its file', async (t) => {
  if (process.platform !== 'linux') return t.skip('needs /proc/self/fd');
  await using folder = await temporaryFolder();
  const store = await openAt(folder.path);
  const content = patterned(600_000);
  const upload = await store.startUpload('team/app');
  await upload.append(pieces(content), { signal: never });
  await upload.commit(digestOf(content));
  const controller = new AbortController();
  const begin = async () => {
    const reading = await store.read(digestOf(content), undefined, controller.signal);
    assert.ok(reading);
    return reading[Symbol.asyncIterator]();
  };
  const returned = await begin();
  const thrown = await begin();
  const consumed = await begin();
  const idle = await begin();
  const aborted = await begin();
  await aborted.next();
  assert.equal(await openFilesBelow(folder.path), 5);
  await returned.return?.();
  await assert.rejects(async () => await thrown.throw?.(new Error('no')), /no/);
  await collect({ [Symbol.asyncIterator]: () => consumed });
  assert.equal(await openFilesBelow(folder.path), 2);
  controller.abort(new Error('stop'));
  await assert.rejects(async () => await aborted.next(), /stop/);
  await assert.rejects(async () => await idle.next(), /stop/);
  assert.equal(await openFilesBelow(folder.path), 0);
});

test('filesystem blob store: opening removes uploads that nobody touched for a week', async () => {
  await using folder = await temporaryFolder();
  const store = await openAt(folder.path);
  const [old, recent] = [await store.startUpload('team/app'), await store.startUpload('team/app')];
  const nowMs = 1_800_000_000_000;
  const uploads = await readdir(join(folder.path, 'uploads'));
  for (const name of uploads) {
    const ageDays = name.endsWith(old.id) ? 8 : 6;
    const touched = new Date(nowMs - ageDays * 24 * 60 * 60 * 1000);
    await utimes(join(folder.path, 'uploads', name), touched, touched);
  }
  const reopened = await openFilesystemBlobStore(
    { root: folder.path },
    { random: systemRandom, clock: { nowMs: () => nowMs } },
  );
  assert.equal(await reopened.findUpload('team/app', old.id), undefined);
  assert.ok(await reopened.findUpload('team/app', recent.id));
});

async function onlyUpload(root: string): Promise<string> {
  const [name, ...others] = await readdir(join(root, 'uploads'));
  assert.ok(name !== undefined && others.length === 0);
  return join(root, 'uploads', name);
}

async function openFilesBelow(root: string): Promise<number> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  return links.filter((path) => path.startsWith(root)).length;
}
