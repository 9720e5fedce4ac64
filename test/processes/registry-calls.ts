/**
 * A minimal pusher and puller over fetch, for tests that need to see every answer; real clients are in
 * `test/clients`. Images are random bytes, so that nothing is ever here by accident.
 */
import { randomBytes } from 'node:crypto';
import { type Digest, digestOf } from '#domain/digest.ts';
import { MANIFEST_ACCEPT, MEDIA_TYPE } from '#domain/manifest.ts';

export type TestImage = {
  readonly manifest: Buffer;
  readonly digest: Digest;
  readonly blobs: readonly { readonly digest: Digest; readonly bytes: Buffer }[];
};

/** An image of a config and layers of these sizes. */
export function makeImage(...layerSizesBytes: readonly number[]): TestImage {
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: [] },
      made: randomBytes(8).toString('hex'),
    }),
  );
  const layers = layerSizesBytes.map((size) => randomBytes(size));
  const descriptor = (bytes: Buffer, mediaType: string) => ({
    mediaType,
    size: bytes.length,
    digest: digestOf(bytes),
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      config: descriptor(config, 'application/vnd.oci.image.config.v1+json'),
      layers: layers.map((layer) => descriptor(layer, 'application/vnd.oci.image.layer.v1.tar')),
    }),
  );
  const blobs = [config, ...layers].map((bytes) => ({ bytes, digest: digestOf(bytes) }));
  return { manifest, digest: digestOf(manifest), blobs };
}

/** In one request where the registry takes that, which not all do, else in two. The last answer. */
export async function pushBlob(
  url: string,
  repository: string,
  blob: TestImage['blobs'][number],
): Promise<Response> {
  const body = new Uint8Array(blob.bytes);
  const posted = await fetch(`${url}/v2/${repository}/blobs/uploads/?digest=${blob.digest}`, {
    method: 'POST',
    body,
  });
  if (posted.status !== 202) return posted;
  const location = new URL(posted.headers.get('location') ?? '', url);
  location.searchParams.set('digest', blob.digest);
  return await fetch(location, { method: 'PUT', body });
}

/** Pushes everything; the answer is the manifest's. */
export async function pushImage(
  url: string,
  repository: string,
  tag: string,
  image: TestImage,
): Promise<Response> {
  for (const blob of image.blobs) await expectStatus(await pushBlob(url, repository, blob), 201);
  return await expectStatus(
    await putManifest(url, `${repository}:${tag}`, image.manifest, MEDIA_TYPE.ociManifest),
    201,
  );
}

/** `name` is `repository:reference`; a digest as reference is fine. */
export async function putManifest(
  url: string,
  name: string,
  manifest: Buffer,
  mediaType: string,
): Promise<Response> {
  const colon = name.indexOf(':');
  return await fetch(`${url}/v2/${name.slice(0, colon)}/manifests/${name.slice(colon + 1)}`, {
    method: 'PUT',
    body: new Uint8Array(manifest),
    headers: { 'content-type': mediaType },
  });
}

/** Pulls a manifest and all its blobs, and checks every digest. */
export async function pullImage(url: string, repository: string, reference: string): Promise<Digest> {
  const headers = { accept: MANIFEST_ACCEPT };
  const asked = await fetch(`${url}/v2/${repository}/manifests/${reference}`, { headers });
  const manifest = await expectStatus(asked, 200);
  const bytes = Buffer.from(await manifest.arrayBuffer());
  const parsed = JSON.parse(bytes.toString()) as { config: { digest: string }; layers: { digest: string }[] };
  for (const { digest } of [parsed.config, ...parsed.layers]) {
    const blob = await expectStatus(await fetch(`${url}/v2/${repository}/blobs/${digest}`), 200);
    const got = digestOf(new Uint8Array(await blob.arrayBuffer()));
    if (got !== digest) throw new Error(`${url}: asked for ${digest}, got bytes of ${got}`);
  }
  return digestOf(bytes);
}

export async function expectStatus(response: Response, status: number): Promise<Response> {
  if (response.status === status) return response;
  throw new Error(
    `${response.url}: expected ${status}, got ${response.status}: ${(await response.text()).slice(0, 500)}`,
  );
}
