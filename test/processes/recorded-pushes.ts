/**
 * Pushes that may be interrupted, with what was acknowledged of each, and the check that the registry keeps its word:
 * what was acknowledged is whole, and what was not is served whole or not at all.
 */
import assert from 'node:assert/strict';
import type { Prng } from '#chaos/prng.ts';
import { digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import {
  expectStatus,
  makeImage,
  pullImage,
  pushBlob,
  putManifest,
  type TestImage,
} from './registry-calls.ts';

const REPOSITORY = 'durable/app';

export type RecordedPush = {
  readonly tag: string;
  readonly image: TestImage;
  /** Blobs that were answered 201. */
  readonly blobs: Set<string>;
  state: 'blobs' | 'manifest sent' | 'acknowledged';
};

/** An image of two small layers that is nowhere yet. */
export function plannedPush(tag: string, chance: Prng): RecordedPush {
  const image = makeImage(chance.below(2000), chance.below(100_000));
  return { tag, image, blobs: new Set(), state: 'blobs' };
}

/** @throws TypeError when the connection breaks; Error when the registry refuses, which it must not. */
export async function push(url: string, recorded: RecordedPush, chance: Prng): Promise<void> {
  const { image, tag } = recorded;
  for (const blob of image.blobs) {
    const send = chance.chance(0.5) ? pushBlob : pushInChunks;
    await expectStatus(await send(url, REPOSITORY, blob), 201);
    recorded.blobs.add(blob.digest);
  }
  recorded.state = 'manifest sent';
  const name = `${REPOSITORY}:${tag}`;
  await expectStatus(await putManifest(url, name, image.manifest, MEDIA_TYPE.ociManifest), 201);
  recorded.state = 'acknowledged';
}

/** Pushes until the connection breaks; false when it did. */
export async function pushIfThere(url: string, recorded: RecordedPush, chance: Prng): Promise<boolean> {
  try {
    await push(url, recorded, chance);
    return true;
  } catch (thrown) {
    // What the registry itself answered is never an error here.
    if (thrown instanceof TypeError) return false;
    throw thrown;
  }
}

async function pushInChunks(
  url: string,
  repository: string,
  blob: TestImage['blobs'][number],
): Promise<Response> {
  const posted = await expectStatus(
    await fetch(`${url}/v2/${repository}/blobs/uploads/`, { method: 'POST' }),
    202,
  );
  let location = new URL(posted.headers.get('location') ?? '', url);
  const half = Math.ceil(blob.bytes.length / 2);
  for (const [start, end] of [
    [0, half],
    [half, blob.bytes.length],
  ] as const) {
    if (start === end) continue;
    const patched = await fetch(location, {
      method: 'PATCH',
      body: new Uint8Array(blob.bytes.subarray(start, end)),
      headers: { 'content-range': `${start}-${end - 1}` },
    });
    location = new URL((await expectStatus(patched, 202)).headers.get('location') ?? '', url);
  }
  location.searchParams.set('digest', blob.digest);
  return await fetch(location, { method: 'PUT' });
}

/** Reads everything of it. @throws AssertionError when the registry has broken its word. */
export async function checkPush(url: string, { tag, image, blobs, state }: RecordedPush): Promise<void> {
  for (const { digest } of image.blobs) {
    const answer = await fetch(`${url}/v2/${REPOSITORY}/blobs/${digest}`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    if (answer.status === 404 && !blobs.has(digest)) continue;
    assert.equal(
      answer.status,
      200,
      `${digest} of ${tag} was ${blobs.has(digest) ? '' : 'not '}acknowledged`,
    );
    assert.equal(digestOf(bytes), digest);
  }
  for (const reference of [tag, image.digest]) {
    const answer = await fetch(`${url}/v2/${REPOSITORY}/manifests/${reference}`, { method: 'HEAD' });
    if (answer.status === 404 && state !== 'acknowledged') continue;
    assert.equal(answer.status, 200, `${reference} was acknowledged`);
    assert.notEqual(state, 'blobs', `${reference} is served, and was never sent`);
    assert.equal(await pullImage(url, REPOSITORY, reference), image.digest);
  }
}
