/** Writing: what refuses a push, what a push leaves behind, and what a deletion takes away. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { type ErrorCode, RegistryError, UnavailableError } from '#domain/errors.ts';
import { MANIFEST_BYTES_MAX, MEDIA_TYPE } from '#domain/manifest.ts';
import { parseTag, type Reference } from '#domain/name.ts';
import type { ManifestRow } from '#storage/metadata.ts';
import {
  blobOf,
  type ContentRig,
  contextOf,
  descriptorOf,
  imageOf,
  indexOf,
  LATEST,
  manifestOf,
  OTHER,
  once,
  openContentRig,
  pushBlob,
  REPOSITORY,
} from './content-rig.ts';
import { RegionWith } from './region-with.ts';
import { TestUpstream } from './test-upstream.ts';

const CONFIG = blobOf(100, 1);
const LAYER = blobOf(3000, 2);
const IMAGE = imageOf([CONFIG, LAYER]);
const BY_TAG = { tag: LATEST };
const BY_DIGEST = { digest: IMAGE.digest };

function refusedWith(code: ErrorCode, status?: number): (thrown: unknown) => true {
  return (thrown) => {
    assert.ok(thrown instanceof RegistryError, String(thrown));
    assert.equal(thrown.code, code);
    if (status !== undefined) assert.equal(thrown.status, status);
    return true;
  };
}

type Put = Awaited<ReturnType<ContentRig['writer']['putManifest']>>;

async function put(rig: ContentRig, manifest: ManifestRow, reference: Reference = BY_TAG): Promise<Put> {
  const { bytes, mediaType } = manifest;
  const request = { repository: REPOSITORY, reference, bytes, contentType: mediaType };
  return await rig.writer.putManifest(request, contextOf());
}

async function pushImage(rig: ContentRig): Promise<Put> {
  await pushBlob(rig, CONFIG.bytes);
  await pushBlob(rig, LAYER.bytes);
  return await put(rig, IMAGE);
}

test('writer: a read-only repository refuses every write with its reason', async () => {
  await using rig = await openContentRig();
  const digest = await pushBlob(rig, CONFIG.bytes);
  const upload = await rig.writer.startUpload(REPOSITORY, contextOf());
  rig.readOnly.set(REPOSITORY, 'team/ is a cache of docker.io');
  const context = contextOf();
  const writes = [
    () => rig.writer.startUpload(REPOSITORY, context),
    () => rig.writer.finishUpload(REPOSITORY, upload, digest, context),
    () => rig.writer.mount(REPOSITORY, digest, undefined, context),
    () => put(rig, IMAGE),
    () => rig.writer.deleteManifest(REPOSITORY, BY_TAG, context),
    () => rig.writer.deleteBlob(REPOSITORY, digest, context),
  ];
  for (const write of writes) {
    await assert.rejects(write, refusedWith('DENIED', 403));
    await assert.rejects(write, /cache of docker\.io/);
  }
  assert.deepEqual(rig.written, []);
});

test('writer: an upload is known in its repository only', async () => {
  await using rig = await openContentRig();
  const upload = await rig.writer.startUpload(REPOSITORY, contextOf());
  assert.equal((await rig.writer.findUpload(REPOSITORY, upload.id, contextOf())).id, upload.id);
  const unknown = refusedWith('BLOB_UPLOAD_UNKNOWN', 404);
  await assert.rejects(rig.writer.findUpload(OTHER, upload.id, contextOf()), unknown);
  await assert.rejects(rig.writer.findUpload(REPOSITORY, 'nonsense', contextOf()), unknown);
});

test('writer: an upload of another digest is refused, and nothing is recorded', async () => {
  await using rig = await openContentRig();
  const upload = await rig.writer.startUpload(REPOSITORY, contextOf());
  await upload.append(once(CONFIG.bytes), { signal: contextOf().signal });
  await assert.rejects(
    rig.writer.finishUpload(REPOSITORY, upload, LAYER.digest, contextOf()),
    refusedWith('DIGEST_INVALID', 400),
  );
  assert.equal(await rig.metadata.blobs.find(LAYER.digest), undefined);
});

test('writer: a finished upload is readable, and says that it was pushed', async () => {
  await using rig = await openContentRig();
  const digest = await pushBlob(rig, CONFIG.bytes);
  assert.equal((await rig.metadata.blobs.find(digest))?.source, 'push');
  assert.ok(await rig.metadata.blobs.isReadable(REPOSITORY, digest));
});

test('writer: a mount needs the blob here and in the repository named', async () => {
  await using rig = await openContentRig();
  const mount = (from: typeof OTHER | undefined) =>
    rig.writer.mount(REPOSITORY, CONFIG.digest, from, contextOf());
  assert.equal(await mount(OTHER), false);
  assert.equal(await mount(undefined), false);
  await pushBlob(rig, CONFIG.bytes, OTHER);
  assert.equal(await mount(REPOSITORY), false, 'it is in another repository than that');
  assert.equal(await rig.metadata.blobs.isReadable(REPOSITORY, CONFIG.digest), false);
  assert.equal(await mount(OTHER), true);
  assert.ok(await rig.metadata.blobs.isReadable(REPOSITORY, CONFIG.digest));
});

test('writer: a mount without a repository finds the blob anywhere, if its bytes are here', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, CONFIG.bytes, OTHER);
  assert.equal(await rig.writer.mount(REPOSITORY, CONFIG.digest, undefined, contextOf()), true);
  await rig.blobs.delete(CONFIG.digest);
  assert.equal(await rig.writer.mount(REPOSITORY, CONFIG.digest, undefined, contextOf()), false);
});

test('writer: a manifest of 4 MiB is accepted, one more byte is 413', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, CONFIG.bytes);
  const content = { config: descriptorOf(CONFIG.digest, 100), layers: [], annotations: { pad: '' } };
  const padding = MANIFEST_BYTES_MAX - manifestOf(content).bytes.byteLength;
  const of = (pad: number) => manifestOf({ ...content, annotations: { pad: 'x'.repeat(pad) } });
  assert.equal(of(padding).bytes.byteLength, MANIFEST_BYTES_MAX);
  await assert.rejects(put(rig, of(padding + 1)), refusedWith('SIZE_INVALID', 413));
  assert.equal((await put(rig, of(padding))).digest, of(padding).digest);
});

test('writer: what is no manifest is refused', async () => {
  await using rig = await openContentRig();
  for (const text of ['', 'null', '{"schemaVersion":1}', '{"schemaVersion":2', '\xff']) {
    const manifest = {
      digest: digestOf(text),
      mediaType: MEDIA_TYPE.ociManifest,
      bytes: Buffer.from(text, 'latin1'),
    };
    await assert.rejects(put(rig, manifest), refusedWith('MANIFEST_INVALID', 400), text);
  }
  assert.deepEqual(rig.written, []);
});

test('writer: a manifest is refused under another digest, in either algorithm', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  for (const digest of [LAYER.digest, digestOf('other', 'sha512')]) {
    await assert.rejects(put(rig, IMAGE, { digest }), refusedWith('DIGEST_INVALID', 400));
  }
  const digest = digestOf(IMAGE.bytes, 'sha512');
  assert.equal((await put(rig, IMAGE, { digest })).digest, digest);
  assert.equal((await rig.reader.manifest(REPOSITORY, { digest }, contextOf())).digest, digest);
});

test('writer: blobs that nobody has refuse the manifest, and each is named', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, LAYER.bytes, OTHER);
  rig.upstreams = [new TestUpstream('us-east')];
  await assert.rejects(put(rig, IMAGE), (thrown: unknown) => {
    refusedWith('MANIFEST_BLOB_UNKNOWN', 404)(thrown);
    const digests = [CONFIG.digest, LAYER.digest].sort();
    assert.deepEqual(
      (thrown as RegistryError).detail,
      digests.map((digest) => ({ digest })),
    );
    return true;
  });
  assert.deepEqual(rig.written, []);
  await assert.rejects(
    rig.reader.manifest(REPOSITORY, BY_DIGEST, contextOf()),
    refusedWith('MANIFEST_UNKNOWN'),
  );
});

test('writer: a manifest that is wrong about the size of a blob is refused', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, CONFIG.bytes);
  const wrong = manifestOf({ config: descriptorOf(CONFIG.digest, 101), layers: [] });
  await assert.rejects(put(rig, wrong), refusedWith('MANIFEST_INVALID', 400));
});

test('writer: a push whose blobs a silent region may have is unavailable, and writes nothing', async () => {
  await using rig = await openContentRig();
  rig.upstreams = [new TestUpstream('us-east', { blobs: [{ failAt: -1 }] })];
  await assert.rejects(put(rig, IMAGE), UnavailableError);
  assert.deepEqual(rig.written, []);
});

test('writer: a push waits a bounded time for blobs that others have', async () => {
  await using rig = await openContentRig({ fill: { progressMs: 10_000_000 } });
  const stalling = new TestUpstream('us-east', {
    blobs: [{ bytes: LAYER.bytes, stallAt: 2000, pieceBytes: 1000 }],
    onStall: () => rig.clock.advance(600_000),
  });
  rig.upstreams = [stalling];
  await pushBlob(rig, CONFIG.bytes);
  await assert.rejects(put(rig, IMAGE), /did not arrive within 600000 ms/);
  assert.deepEqual(rig.written, []);
});

test('writer: blobs that another region has are filled before the manifest is acknowledged', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, CONFIG.bytes);
  rig.upstreams = [new RegionWith('us-east', [], [LAYER])];
  await put(rig, IMAGE);
  assert.equal((await rig.metadata.blobs.find(LAYER.digest))?.source, 'us-east');
  assert.ok((await rig.blobs.stat(LAYER.digest)) !== undefined);
});

test('writer: subjects and foreign layers need not be anywhere', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, CONFIG.bytes);
  const image = manifestOf({
    config: descriptorOf(CONFIG.digest, 100),
    layers: [{ ...descriptorOf(LAYER.digest, 3000), urls: ['https://example.test/layer'] }],
    subject: descriptorOf(IMAGE.digest, 10, IMAGE.mediaType),
  });
  assert.equal((await put(rig, image)).subject, IMAGE.digest);
});

test('writer: an index is accepted with children that nobody knows, not with one that is known and silent', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  const sparse = indexOf([IMAGE, imageOf([blobOf(5, 9)])]);
  rig.upstreams = [new TestUpstream('us-east', { manifests: new UnavailableError('connection refused') })];
  await assert.rejects(put(rig, sparse), UnavailableError);
  rig.upstreams = [new TestUpstream('us-east')];
  assert.equal((await put(rig, sparse)).digest, sparse.digest);
});

test('writer: a child that another region knows is brought here whole first', async () => {
  await using rig = await openContentRig();
  rig.upstreams = [new RegionWith('us-east', [IMAGE], [CONFIG, LAYER])];
  await put(rig, indexOf([IMAGE]));
  const presence = await rig.metadata.manifests.presence(IMAGE.digest);
  assert.deepEqual(presence.missingBlobs, []);
  assert.equal(presence.blobsHere, 2);
});

test('writer: a child that was deleted does not come back with its index', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  await rig.writer.deleteManifest(REPOSITORY, BY_DIGEST, contextOf());
  const region = new RegionWith('us-east', [IMAGE], [CONFIG, LAYER]);
  rig.upstreams = [region];
  await put(rig, indexOf([IMAGE]));
  await assert.rejects(
    rig.reader.manifest(REPOSITORY, BY_DIGEST, contextOf()),
    refusedWith('MANIFEST_UNKNOWN'),
  );
});

test('writer: manifest and tag are one transaction, and every push mints its own claims', async () => {
  await using rig = await openContentRig();
  const first = await pushImage(rig);
  const second = await put(rig, IMAGE);
  assert.equal(second.digest, first.digest);
  assert.ok(second.dot.sequence > first.dot.sequence);
  assert.deepEqual(
    rig.written.map((changes) => changes.map(({ change }) => change)),
    [
      ['add-manifest', 'set-tag'],
      ['add-manifest', 'set-tag'],
    ],
  );
  await put(rig, IMAGE, BY_DIGEST);
  assert.deepEqual(
    rig.written.at(-1)?.map(({ change }) => change),
    ['add-manifest'],
  );
});

test('writer: what is not there cannot be deleted', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  const unknown = refusedWith('MANIFEST_UNKNOWN', 404);
  const context = contextOf();
  await assert.rejects(rig.writer.deleteManifest(REPOSITORY, { tag: parseTag('v1') }, context), unknown);
  await assert.rejects(rig.writer.deleteManifest(REPOSITORY, { digest: LAYER.digest }, context), unknown);
  await assert.rejects(rig.writer.deleteManifest(OTHER, BY_DIGEST, context), unknown);
  await assert.rejects(rig.writer.deleteManifest(OTHER, BY_TAG, context), unknown);
  await assert.rejects(rig.writer.deleteBlob(OTHER, LAYER.digest, context), refusedWith('BLOB_UNKNOWN', 404));
  assert.equal(rig.written.length, 1);
});

test('writer: deleting a tag leaves the manifest and its other tags', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  await put(rig, IMAGE, { tag: parseTag('v1') });
  await rig.writer.deleteManifest(REPOSITORY, BY_TAG, contextOf());
  const unknown = refusedWith('MANIFEST_UNKNOWN', 404);
  await assert.rejects(rig.reader.manifest(REPOSITORY, BY_TAG, contextOf()), unknown);
  await assert.rejects(rig.writer.deleteManifest(REPOSITORY, BY_TAG, contextOf()), unknown, 'it is gone');
  await rig.reader.manifest(REPOSITORY, { tag: parseTag('v1') }, contextOf());
  await rig.reader.manifest(REPOSITORY, BY_DIGEST, contextOf());
});

test('writer: deleting a manifest takes every tag of it along, and a later push brings it back', async () => {
  await using rig = await openContentRig();
  await pushImage(rig);
  await put(rig, IMAGE, { tag: parseTag('v1') });
  const dot = await rig.writer.deleteManifest(REPOSITORY, BY_DIGEST, contextOf());
  assert.deepEqual(
    rig.written.at(-1)?.map(({ change }) => change),
    ['delete-tag', 'delete-tag', 'delete-manifest'],
  );
  const unknown = refusedWith('MANIFEST_UNKNOWN', 404);
  for (const reference of [BY_TAG, { tag: parseTag('v1') }, BY_DIGEST]) {
    await assert.rejects(rig.reader.manifest(REPOSITORY, reference, contextOf()), unknown);
  }
  assert.ok((await put(rig, IMAGE)).dot.sequence > dot.sequence);
  await rig.reader.manifest(REPOSITORY, BY_DIGEST, contextOf());
});

test('writer: a blob is deleted from its repository, unless manifests hold it', async () => {
  await using rig = await openContentRig();
  await pushBlob(rig, CONFIG.bytes);
  await rig.writer.mount(OTHER, CONFIG.digest, REPOSITORY, contextOf());
  await rig.writer.deleteBlob(REPOSITORY, CONFIG.digest, contextOf());
  const unknown = refusedWith('BLOB_UNKNOWN', 404);
  await assert.rejects(rig.reader.blob(REPOSITORY, CONFIG.digest, contextOf()), unknown);
  await assert.rejects(rig.writer.deleteBlob(REPOSITORY, CONFIG.digest, contextOf()), unknown);
  assert.ok((await rig.reader.blobStat(OTHER, CONFIG.digest, contextOf())) !== undefined);
  await pushImage(rig);
  await rig.writer.deleteBlob(REPOSITORY, LAYER.digest, contextOf());
  await assert.rejects(
    rig.writer.deleteBlob(REPOSITORY, LAYER.digest, contextOf()),
    refusedWith('UNSUPPORTED', 405),
  );
});
