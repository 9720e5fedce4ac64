/** The law of what a proxy cache may give up: only what it alone needs, and looked at once more when it goes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Digest, digestOf } from '#domain/digest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import type { Metadata } from '#storage/metadata.ts';
import { image } from './manifest-samples.ts';

const inside = parseRepositoryName('hub/library/app');
const itself = parseRepositoryName('hub');
const neighbour = parseRepositoryName('hub-old/app');
const outside = parseRepositoryName('team/app');

const digest = digestOf('layer');
const manifest = image({ layers: [{ digest, size: 5 }] });
const limits = { usedBeforeMs: 100, onlyOf: { prefix: 'hub' } };

type Case = {
  readonly what: string;
  readonly isOnlyOfCache: boolean;
  prepare(metadata: Metadata): Promise<void>;
};

const CASES: readonly Case[] = [
  {
    what: 'was pushed',
    isOnlyOfCache: false,
    prepare: async ({ blobs, manifests }) => {
      await blobs.record({ digest, sizeBytes: 5, source: 'push', storedMs: 7 }, inside);
      await manifests.record(inside, manifest);
    },
  },
  { what: 'no manifest refers to', isOnlyOfCache: false, prepare: async (metadata) => fill(metadata) },
  {
    what: 'was mounted outside',
    isOnlyOfCache: false,
    prepare: async (metadata) => {
      await fillImage(metadata);
      await metadata.blobs.link(outside, digest);
    },
  },
  {
    what: 'a manifest outside refers to',
    isOnlyOfCache: false,
    prepare: async (metadata) => {
      await fillImage(metadata);
      await metadata.manifests.record(outside, image({ layers: [{ digest, size: 5 }], subject: digest }));
    },
  },
  {
    what: 'its manifest has outside as well',
    isOnlyOfCache: false,
    prepare: async (metadata) => {
      await fillImage(metadata);
      await metadata.manifests.record(outside, manifest);
    },
  },
  {
    what: 'a repository next to the prefix has',
    isOnlyOfCache: false,
    prepare: async (metadata) => {
      await fillImage(metadata);
      await metadata.manifests.record(neighbour, manifest);
    },
  },
  {
    what: '100 manifests refer to',
    isOnlyOfCache: false,
    prepare: async (metadata) => {
      await fill(metadata);
      for (let size = 1; size <= 100; size += 1) {
        await metadata.manifests.record(inside, image({ layers: [{ digest, size }] }));
      }
    },
  },
  {
    what: '99 manifests refer to',
    isOnlyOfCache: true,
    prepare: async (metadata) => {
      await fill(metadata);
      for (let size = 1; size <= 99; size += 1) {
        await metadata.manifests.record(inside, image({ layers: [{ digest, size }] }));
      }
    },
  },
  {
    what: 'only its cache has, in several repositories',
    isOnlyOfCache: true,
    prepare: async (metadata) => {
      await fillImage(metadata);
      await metadata.blobs.link(itself, digest);
      await metadata.manifests.record(itself, manifest);
    },
  },
];

export function cachedBlobsSuite(name: string, open: () => Promise<Metadata>): void {
  for (const { what, isOnlyOfCache, prepare } of CASES) {
    test(`${name}: a cache may ${isOnlyOfCache ? '' : 'not '}give up what ${what}`, async () => {
      await using metadata = await open();
      await prepare(metadata);
      const { garbage, blobs } = metadata;
      const page = await garbage.cachedBlobs({ prefix: 'hub', after: '', limit: 10 });
      assert.deepEqual(page, [{ digest, sizeBytes: 5, usedMs: 7, isOnlyOfCache }]);
      assert.equal(await garbage.dropBlob(digest, limits), isOnlyOfCache);
      assert.equal((await blobs.find(digest)) === undefined, isOnlyOfCache);
    });
  }

  test(`${name}: what was used within the grace is not given up`, async () => {
    await using metadata = await open();
    await fillImage(metadata);
    await metadata.blobUses.touch(digest, { nowMs: 100, everyMs: 0 });
    assert.equal(await metadata.garbage.dropBlob(digest, limits), false);
  });

  test(`${name}: what was given up leaves its manifest, and its repository may have it again`, async () => {
    await using metadata = await open();
    const { blobs, garbage, manifests } = metadata;
    await fillImage(metadata);
    assert.equal(await garbage.dropBlob(digest, limits), true);
    const presence = await manifests.presence(manifest.digest);
    assert.ok(presence.missingBlobs.some((missing) => missing.digest === digest));
    assert.ok(await blobs.isReadable(inside, digest));
    assert.deepEqual(await blobs.repositoriesOf(digest, 10), []);
  });

  test(`${name}: pages of blobs go on after the last one`, async () => {
    await using metadata = await open();
    const contents = ['one', 'two', 'three', 'four', 'five'];
    for (const content of contents) await fill(metadata, digestOf(content));
    const seen: Digest[] = [];
    for (let after = ''; ; ) {
      const page = await metadata.garbage.cachedBlobs({ prefix: 'hub', after, limit: 2 });
      seen.push(...page.map((blob) => blob.digest));
      const last = page.at(-1);
      if (last === undefined) break;
      after = last.digest;
    }
    assert.deepEqual(seen, contents.map((content) => digestOf(content)).sort());
  });
}

async function fill({ blobs }: Metadata, of: Digest = digest): Promise<void> {
  await blobs.record({ digest: of, sizeBytes: 5, source: 'docker.io', storedMs: 7 }, inside);
}

async function fillImage(metadata: Metadata): Promise<void> {
  await fill(metadata);
  await metadata.manifests.record(inside, manifest);
}
