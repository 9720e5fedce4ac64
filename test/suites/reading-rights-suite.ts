/**
 * The law of what a repository may serve: what was uploaded or mounted there, and what the manifests that it shows
 * refer to. To name a digest gives no right to it, and a deletion ends the right that a manifest gave.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestOf, digestToBytes } from '#domain/digest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import type { ClaimKey, Metadata, PushedManifest } from '#storage/metadata.ts';
import { batch, ownTag } from './claim-rows-suite.ts';
import { image, index } from './manifest-samples.ts';

type OpenMetadata = () => Promise<Metadata>;

const app = parseRepositoryName('team/app');
const LAYER = digestOf('layer');
const IMAGE = image({ layers: [{ digest: LAYER, size: 5 }] });

export function readingRightsSuite(name: string, open: OpenMetadata): void {
  test(`${name}: the blobs of a deleted manifest are readable no longer, unless a tag still has it`, async () => {
    await using metadata = await open();
    await turn(metadata, manifestKey(IMAGE.digest), { live: true, manifest: IMAGE });
    assert.equal(await metadata.blobs.isReadable(app, LAYER), true);
    await turn(metadata, manifestKey(IMAGE.digest), { live: false });
    assert.equal(await metadata.blobs.isReadable(app, LAYER), false);
    const tag = { kind: CLAIM_KIND.tag, repository: app, name: 'v1' };
    await turn(metadata, tag, { live: true, value: digestToBytes(IMAGE.digest) });
    assert.equal(await metadata.blobs.isReadable(app, LAYER), true);
    await turn(metadata, tag, { live: false });
    assert.equal(await metadata.blobs.isReadable(app, LAYER), false);
    await turn(metadata, manifestKey(IMAGE.digest), { live: true, manifest: IMAGE });
    assert.equal(await metadata.blobs.isReadable(app, LAYER), true);
  });

  test(`${name}: a manifest gives the right to its blobs only, and not to absent or foreign ones`, async () => {
    await using metadata = await open();
    const foreign = { digest: digestOf('windows'), size: 9, urls: ['https://example.com/layer'] };
    const manifest = image({ layers: [{ digest: LAYER, size: 5 }, foreign], subject: digestOf('subject') });
    const list = index([manifest.digest]);
    await turn(metadata, manifestKey(list.digest), { live: true, manifest: list });
    await turn(metadata, manifestKey(manifest.digest), {
      live: true,
      manifest: { ...manifest, absent: [LAYER] },
    });
    for (const digest of [LAYER, foreign.digest, digestOf('subject'), manifest.digest]) {
      assert.equal(await metadata.blobs.isReadable(app, digest), false, digest);
    }
    assert.equal(await metadata.blobs.isReadable(app, digestOf('config')), true);
  });

  test(`${name}: an image is whole without its absent blobs, until a push says otherwise`, async () => {
    await using metadata = await open();
    const missing = async () => {
      const { missingBlobs } = await metadata.manifests.presence(IMAGE.digest);
      return missingBlobs.map(({ digest }) => digest);
    };
    await turn(metadata, manifestKey(IMAGE.digest), {
      live: true,
      manifest: { ...IMAGE, absent: [LAYER] },
    });
    assert.deepEqual(await missing(), [digestOf('config')]);
    await metadata.manifests.record(app, IMAGE);
    assert.deepEqual(await missing(), [digestOf('config')], 'who only records it knows nothing of that');
    await turn(metadata, manifestKey(IMAGE.digest), { live: true, manifest: { ...IMAGE, absent: [] } });
    assert.deepEqual(await missing(), [digestOf('config'), LAYER]);
    assert.equal(await metadata.blobs.isReadable(app, LAYER), true);
  });

  test(`${name}: the repositories of a blob are those with a link of their own, in order`, async () => {
    await using metadata = await open();
    const { blobs, manifests } = metadata;
    assert.deepEqual(await blobs.repositoriesOf(LAYER, 10), []);
    const names = ['z', 'a', 'a/b'].map(parseRepositoryName);
    const row = { digest: LAYER, sizeBytes: 5, source: 'push', storedMs: 1 };
    for (const repository of names) await blobs.record(row, repository);
    await manifests.record(app, IMAGE);
    assert.deepEqual(await blobs.repositoriesOf(LAYER, 10), ['a', 'a/b', 'z']);
    assert.deepEqual(await blobs.repositoriesOf(LAYER, 2), ['a', 'a/b']);
    await blobs.unlink(parseRepositoryName('a'), LAYER);
    assert.deepEqual(await blobs.repositoriesOf(LAYER, 1), ['a/b']);
  });
}

function manifestKey(digest: Digest): ClaimKey {
  return { kind: CLAIM_KIND.manifest, repository: app, name: digest };
}

/** A claim of ours that makes the key live or not. */
async function turn(
  metadata: Metadata,
  key: ClaimKey,
  to: { readonly live: boolean; readonly value?: Uint8Array; readonly manifest?: PushedManifest },
): Promise<void> {
  const [stored] = await metadata.claims.ofKeys([key]);
  const own = ownTag(key, stored?.revision ?? 0);
  const views = (own.views ?? []).map((view) => ({
    ...view,
    live: to.live,
    value: to.value ?? new Uint8Array(0),
  }));
  const manifests = to.manifest === undefined ? [] : [{ ...to.manifest, repository: app }];
  const { outcome } = await metadata.claims.commit(batch({ ...own, views, manifests }));
  assert.equal(outcome, 'committed');
}
