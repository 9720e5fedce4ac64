/**
 * Images for real clients: a build context of real files around busybox, and an OCI layout of two platforms.
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

/** An OCI layout with one index of two platforms; the digest of the index. */
export async function writeTwoPlatformLayout(folder: string): Promise<Digest> {
  const blobs = join(folder, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  const put = async (bytes: Buffer) => {
    const digest = digestOf(bytes);
    await writeFile(join(blobs, digest.slice('sha256:'.length)), bytes);
    return { digest, size: bytes.length };
  };
  const platforms = ['amd64', 'arm64'];
  const manifests = await Promise.all(
    platforms.map(async (architecture) => {
      const tar = await layerOf({
        'etc/platform': `linux/${architecture}\n`,
        data: randomBytes(40_000).toString('base64'),
      });
      const layer = await put(tar.gzip);
      const config = await put(
        Buffer.from(
          JSON.stringify({
            architecture,
            os: 'linux',
            config: {},
            rootfs: { type: 'layers', diff_ids: [tar.diffId] },
          }),
        ),
      );
      const manifest = await put(
        Buffer.from(
          JSON.stringify({
            schemaVersion: 2,
            mediaType: MEDIA_TYPE.ociManifest,
            config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
            layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', ...layer }],
          }),
        ),
      );
      return { mediaType: MEDIA_TYPE.ociManifest, ...manifest, platform: { architecture, os: 'linux' } };
    }),
  );
  const index = await put(
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests })),
  );
  await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(
    join(folder, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [
        {
          mediaType: MEDIA_TYPE.ociIndex,
          ...index,
          annotations: { 'org.opencontainers.image.ref.name': 'both' },
        },
      ],
    }),
  );
  return index.digest;
}

async function layerOf(
  files: Readonly<Record<string, string>>,
): Promise<{ readonly gzip: Buffer; readonly diffId: Digest }> {
  const tar = pack();
  for (const [name, text] of Object.entries(files)) tar.entry({ name }, text);
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
