/**
 * Images for real clients: a build context of real files around busybox, and OCI layouts of one
 * image or of two platforms.
 */
import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';
import { type Digest, digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';

/** Debian's busybox-static. */
const BUSYBOX = '/bin/busybox';

/** A docker build context; the image prints `message` when it is run. */
export async function writeBuildContext(folder: string, message: string, dataBytes: number): Promise<void> {
  await mkdir(join(folder, 'etc'), { recursive: true });
  await copyFile(BUSYBOX, join(folder, 'busybox'));
  await writeFile(join(folder, 'etc', 'motd'), `${message}\n`);
  await writeFile(join(folder, 'data'), randomBytes(dataBytes));
  await writeFile(
    join(folder, 'Dockerfile'),
    [
      'FROM scratch',
      'COPY busybox /bin/busybox',
      'COPY etc /etc',
      'COPY data /data',
      'CMD ["/bin/busybox", "cat", "/etc/motd"]',
      '',
    ].join('\n'),
  );
}

/** An OCI layout with one index of two platforms, named `both`; the digest of the index. */
export async function writeTwoPlatformLayout(folder: string): Promise<Digest> {
  const put = await blobsIn(folder);
  const manifests = await Promise.all(
    ['amd64', 'arm64'].map(async (architecture) => ({
      ...(await putImage(put, architecture, 40_000)),
      platform: { architecture, os: 'linux' },
    })),
  );
  const index = await put({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests });
  await nameIt(folder, 'both', { mediaType: MEDIA_TYPE.ociIndex, ...index });
  return index.digest;
}

/** An OCI layout with one image of this machine's kind and one layer of about `dataBytes`; the manifest's digest. */
export async function writeImageLayout(folder: string, name: string, dataBytes: number): Promise<Digest> {
  const image = await putImage(await blobsIn(folder), 'amd64', dataBytes);
  await nameIt(folder, name, image);
  return image.digest;
}

type Put = (content: Buffer | object) => Promise<{ readonly digest: Digest; readonly size: number }>;

/** Stores what it is given in a layout's folder, objects as JSON. */
async function blobsIn(folder: string): Promise<Put> {
  const blobs = join(folder, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  return async (content) => {
    const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
    const digest = digestOf(bytes);
    await writeFile(join(blobs, digest.slice('sha256:'.length)), bytes);
    return { digest, size: bytes.length };
  };
}

async function putImage(put: Put, architecture: string, dataBytes: number) {
  const tar = await layerOf({
    'etc/platform': Buffer.from(`linux/${architecture}\n`),
    data: randomBytes(dataBytes),
  });
  const layer = await put(tar.gzip);
  const rootfs = { type: 'layers', diff_ids: [tar.diffId] };
  const config = await put({ architecture, os: 'linux', config: {}, rootfs });
  const manifest = await put({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', ...layer }],
  });
  return { mediaType: MEDIA_TYPE.ociManifest, ...manifest };
}

async function nameIt(folder: string, name: string, descriptor: object): Promise<void> {
  const annotations = { 'org.opencontainers.image.ref.name': name };
  await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(
    join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...descriptor, annotations }] }),
  );
}

async function layerOf(
  files: Readonly<Record<string, Buffer>>,
): Promise<{ readonly gzip: Buffer; readonly diffId: Digest }> {
  const tar = pack();
  for (const [name, bytes] of Object.entries(files)) tar.entry({ name }, bytes);
  tar.finalize();
  const plain: Buffer[] = [];
  for await (const chunk of tar) plain.push(chunk as Buffer);
  const bytes = Buffer.concat(plain);
  const gzip = createGzip();
  gzip.end(bytes);
  const packed: Buffer[] = [];
  for await (const chunk of gzip) packed.push(chunk as Buffer);
  return { gzip: Buffer.concat(packed), diffId: digestOf(bytes) };
}
