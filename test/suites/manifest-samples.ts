/** Small manifests that parse, for the laws of the stores. */
import { type Digest, digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import type { ManifestRow } from '#storage/metadata.ts';

type Layer = { readonly digest: Digest; readonly size: number; readonly urls?: readonly string[] };

/** An image manifest; its config is the blob `config` of 6 bytes. */
export function image(content: {
  readonly layers?: readonly Layer[];
  readonly subject?: Digest;
}): ManifestRow {
  const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip';
  return manifestOf(MEDIA_TYPE.ociManifest, {
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf('config'), size: 6 },
    layers: (content.layers ?? []).map((layer) => ({ mediaType: layerType, ...layer })),
    ...(content.subject === undefined
      ? {}
      : { subject: { mediaType: MEDIA_TYPE.ociManifest, digest: content.subject, size: 1 } }),
  });
}

/** An index of image manifests. */
export function index(children: readonly Digest[]): ManifestRow {
  return manifestOf(MEDIA_TYPE.ociIndex, {
    manifests: children.map((digest) => ({ mediaType: MEDIA_TYPE.ociManifest, digest, size: 1 })),
  });
}

function manifestOf(mediaType: string, json: object): ManifestRow {
  const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, mediaType, ...json }));
  return { digest: digestOf(bytes), mediaType, bytes };
}
