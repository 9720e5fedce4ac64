/** What a fill does with bytes that are not the right ones: it never finishes a body with them, and stores nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Fill, FillingBlob } from '#content/fill.ts';
import { HELD_BACK_BYTES } from '#content/growing-blob.ts';
import type { Upstream } from '#content/upstream.ts';
import { type Digest, digestOf } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import { blobOf, collect, contextOf, drained, openContentRig, REPOSITORY } from './content-rig.ts';
import { sourceOf, TestUpstream, unreadBody } from './test-upstream.ts';

const signal = new AbortController().signal;

async function begin(fill: Fill, digest: Digest, upstreams: readonly Upstream[]): Promise<FillingBlob> {
  const filling = await fill.blob(
    { repository: REPOSITORY, digest, sources: async () => upstreams },
    contextOf(),
  );
  assert.ok(filling !== undefined);
  return filling;
}

function damaged(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes);
  copy[0] = (copy[0] ?? 0) ^ 1;
  return copy;
}

test('fill: bytes of another digest are never a complete body, and are not stored', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(300_000);
  const corrupt = new TestUpstream('us-east', { blobs: [{ bytes: damaged(bytes) }] });
  const filling = await begin(rig.fill, digest, [corrupt]);
  const read = await drained(filling.read(undefined, signal));
  assert.ok(read.error instanceof UnavailableError, 'the stream must end with an error');
  assert.ok(read.bytes.byteLength <= bytes.byteLength - HELD_BACK_BYTES, `${read.bytes.byteLength} bytes`);
  await assert.rejects(filling.done, (thrown: unknown) => {
    assert.ok(thrown instanceof UnavailableError);
    assert.deepEqual(thrown.tried, ['us-east: sent bytes of another digest']);
    return true;
  });
  assert.deepEqual(corrupt.opened, [0], 'who sent wrong bytes is not asked again');
  assert.equal(await rig.blobs.stat(digest), undefined);
  assert.equal(await rig.metadata.blobs.find(digest), undefined);
});

test('fill: after wrong bytes the next source fills, and who read the wrong ones is cut off', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(300_000);
  const corrupt = new TestUpstream('us-east', { blobs: [{ bytes: damaged(bytes) }] });
  const sound = new TestUpstream('ap-south', { blobs: [{ bytes }] });
  const filling = await begin(rig.fill, digest, [corrupt, sound]);
  const read = await drained(filling.read(undefined, signal));
  assert.ok(read.error instanceof UnavailableError);
  assert.equal((await filling.done).source, 'ap-south');
  assert.deepEqual(sound.opened, [0], 'no wrong byte is built upon');
  const stored = await rig.blobs.read(digest, undefined, signal);
  assert.ok(stored !== undefined);
  assert.deepEqual(await collect(stored), Buffer.from(bytes));
});

for (const sizeBytes of [1, HELD_BACK_BYTES, HELD_BACK_BYTES + 1]) {
  test(`fill: of a wrong blob of ${sizeBytes} bytes at most ${sizeBytes - Math.min(sizeBytes, HELD_BACK_BYTES)} are given out`, async () => {
    await using rig = await openContentRig();
    const { bytes, digest } = blobOf(sizeBytes);
    const corrupt = new TestUpstream('us-east', { blobs: [{ bytes: damaged(bytes) }] });
    const filling = await begin(rig.fill, digest, [corrupt]);
    const read = await drained(filling.read(undefined, signal));
    assert.ok(read.error instanceof UnavailableError);
    assert.ok(read.bytes.byteLength <= sizeBytes - Math.min(sizeBytes, HELD_BACK_BYTES));
  });
}

test('fill: an empty body that should not be empty ends with an error', async () => {
  await using rig = await openContentRig();
  const { digest } = blobOf(10);
  const empty = new TestUpstream('us-east', { blobs: [{ bytes: new Uint8Array() }] });
  const filling = await begin(rig.fill, digest, [empty]);
  assert.equal(filling.sizeBytes, 0);
  const read = await drained(filling.read(undefined, signal));
  assert.ok(read.error instanceof UnavailableError);
  assert.equal(await rig.blobs.stat(digest), undefined);
});

test('fill: the empty blob is filled', async () => {
  await using rig = await openContentRig();
  const digest = digestOf('');
  const filling = await begin(rig.fill, digest, [
    new TestUpstream('us-east', { blobs: [{ bytes: new Uint8Array() }] }),
  ]);
  assert.equal((await collect(filling.read(undefined, signal))).byteLength, 0);
  assert.equal((await filling.done).sizeBytes, 0);
});

test('fill: when two sources had a part in wrong bytes, each is asked once more alone', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(300_000);
  const corrupt = new TestUpstream('us-east', { blobs: [{ bytes: damaged(bytes), failAt: 100_000 }] });
  const sound = new TestUpstream('ap-south', { blobs: [{ bytes }] });
  const filling = await begin(rig.fill, digest, [corrupt, sound]);
  assert.equal((await filling.done).source, 'ap-south');
  assert.deepEqual(sound.opened, [100_000, 0]);
});

test('fill: a source that says another size is refused, and its bytes are not taken', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(100_000);
  const { blob, left } = unreadBody(7);
  const liar = sourceOf('us-east', async () => blob);
  const sound = new TestUpstream('ap-south', { blobs: [{ bytes }] });
  const filling = await rig.fill.blob(
    { repository: REPOSITORY, digest, sizeBytes: 100_000, sources: async () => [liar, sound] },
    contextOf(),
  );
  assert.deepEqual(await collect(filling?.read(undefined, signal) ?? assert.fail()), Buffer.from(bytes));
  assert.equal(filling?.source.name, 'ap-south');
  await left;
});

test('fill: a source that goes on with another size than the first one said is refused', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(200_000);
  const first = new TestUpstream('us-east', { blobs: [{ bytes, failAt: 100_000 }] });
  const liar = new TestUpstream('ap-south', { blobs: [{ bytes, sizeBytes: 150_000 }] });
  const sound = new TestUpstream('sa-east', { blobs: [{ bytes }] });
  const filling = await begin(rig.fill, digest, [first, liar, sound]);
  assert.deepEqual(await collect(filling.read(undefined, signal)), Buffer.from(bytes));
  assert.deepEqual(sound.opened, [100_000]);
});

for (const sizeBytes of [-1, 1.5, Number.NaN, 2 ** 60, 5000]) {
  test(`fill: a source that says a size of ${sizeBytes} is refused`, async () => {
    await using rig = await openContentRig({ fill: { blobBytesMax: 4999 } });
    const { bytes, digest } = blobOf(1000);
    const liar = new TestUpstream('us-east', { blobs: [{ bytes, sizeBytes }] });
    await assert.rejects(begin(rig.fill, digest, [liar]), UnavailableError);
    assert.deepEqual(liar.opened, [0], 'nonsense is not asked for twice');
  });
}

test('fill: a source that sends more than it announced is cut at that size, and the digest decides', async () => {
  await using rig = await openContentRig();
  const { bytes, digest } = blobOf(100_000);
  const longer = Buffer.concat([bytes, Buffer.alloc(50_000, 7)]);
  const right = new TestUpstream('us-east', { blobs: [{ bytes: longer, sizeBytes: 100_000 }] });
  const filling = await begin(rig.fill, digest, [right]);
  assert.deepEqual(await collect(filling.read(undefined, signal)), Buffer.from(bytes));
  await filling.done;

  const other = blobOf(60_000, 2);
  const wrong = new TestUpstream('us-east', { blobs: [{ bytes: longer, sizeBytes: 60_000 }] });
  const broken = await begin(rig.fill, other.digest, [wrong]);
  await assert.rejects(broken.done, UnavailableError);
  assert.equal(await rig.blobs.stat(other.digest), undefined);
});
