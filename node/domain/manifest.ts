/**
 * Manifests: what the registry must know of one, read from bytes that are kept exactly as they came.
 *
 * Accepted are OCI image manifests and indexes and Docker's schema 2 equivalents; Docker schema 1 is refused, as
 * every current client refuses it. Unknown JSON fields and unknown media types of layers are kept and ignored.
 * Source: OCI image spec (manifest.md, image-index.md), distribution spec "Pushing manifests".
 */
import { type Digest, isDigest } from './digest.ts';
import { RegistryError } from './errors.ts';

export const MANIFEST_BYTES_MAX = 4 * 1024 * 1024;

export const MEDIA_TYPE = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
} as const;

const IMAGE_TYPES: ReadonlySet<string> = new Set([MEDIA_TYPE.ociManifest, MEDIA_TYPE.dockerManifest]);
const INDEX_TYPES: ReadonlySet<string> = new Set([MEDIA_TYPE.ociIndex, MEDIA_TYPE.dockerList]);
/** `Accept` of every request for a manifest that we send. */
export const MANIFEST_ACCEPT = [...INDEX_TYPES, ...IMAGE_TYPES].join(', ');

/**
 * What a manifest points at. `blob`: a config or layer that must be here; `manifest`: a child of an index;
 * `subject`: what it refers to, which may be missing; `foreign`: a layer with `urls`, which may be absent.
 */
export type ReferenceKind = 'blob' | 'manifest' | 'subject' | 'foreign';

export type ManifestReference = {
  readonly kind: ReferenceKind;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly mediaType: string;
  /** `os/architecture[/variant]` of an index's child, when it says so. */
  readonly platform?: string;
};

export type ParsedManifest = {
  readonly mediaType: string;
  readonly isIndex: boolean;
  readonly references: readonly ManifestReference[];
  readonly subject?: Digest;
  /** Falls back to the config's media type for an image; absent for an index without one. */
  readonly artifactType?: string;
  readonly annotations: Readonly<Record<string, string>>;
};

type Json = Readonly<Record<string, unknown>>;

/**
 * `contentType` is the request's header, whose parameters are dropped.
 * @throws RegistryError MANIFEST_INVALID with the place of the fault.
 */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): ParsedManifest {
  const json = parseObject(bytes);
  const mediaType = mediaTypeOf(json, contentType);
  const isIndex = INDEX_TYPES.has(mediaType);
  const subject =
    json['subject'] === undefined ? undefined : descriptor(json['subject'], 'subject', 'subject');
  const references = isIndex ? indexReferences(json) : imageReferences(json);
  const artifactType = artifactTypeOf(json, isIndex);
  return {
    mediaType,
    isIndex,
    references: subject === undefined ? references : [...references, subject],
    ...(subject === undefined ? {} : { subject: subject.digest }),
    ...(artifactType === undefined ? {} : { artifactType }),
    annotations: annotationsOf(json),
  };
}

function parseObject(bytes: Uint8Array): Json {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new RegistryError('MANIFEST_INVALID', 'the manifest is not valid JSON in UTF-8', { cause });
  }
  if (isObject(value)) return value;
  throw new RegistryError('MANIFEST_INVALID', 'the manifest is not a JSON object');
}

function mediaTypeOf(json: Json, contentType: string | undefined): string {
  const sent = contentType?.split(';')[0]?.trim().toLowerCase();
  const inside = json['mediaType'];
  if (json['schemaVersion'] !== 2) {
    throw new RegistryError(
      'MANIFEST_INVALID',
      'schemaVersion is not 2; Docker schema 1 manifests are not supported',
    );
  }
  if (inside !== undefined && typeof inside !== 'string') {
    throw new RegistryError('MANIFEST_INVALID', 'mediaType is not a string');
  }
  if (sent !== undefined && sent !== '' && inside !== undefined && inside !== sent) {
    throw new RegistryError(
      'MANIFEST_INVALID',
      `Content-Type is ${sent}, but the manifest's mediaType is ${inside}`,
    );
  }
  const mediaType = inside ?? (sent === '' ? undefined : sent);
  if (mediaType !== undefined && (IMAGE_TYPES.has(mediaType) || INDEX_TYPES.has(mediaType))) return mediaType;
  throw new RegistryError(
    'MANIFEST_INVALID',
    `media type ${mediaType ?? '(none)'} is not supported; expected one of ${MANIFEST_ACCEPT}`,
  );
}

function imageReferences(json: Json): readonly ManifestReference[] {
  const config = descriptor(json['config'], 'config', 'blob');
  const layers = list(json, 'layers').map((layer, position) => {
    const foreign = isObject(layer) && Array.isArray(layer['urls']) && layer['urls'].length > 0;
    return descriptor(layer, `layers[${position}]`, foreign ? 'foreign' : 'blob');
  });
  return [config, ...layers];
}

/** A child whose media type is no manifest's is a blob: older BuildKit caches push indexes of layers. */
function indexReferences(json: Json): readonly ManifestReference[] {
  return list(json, 'manifests').map((child, position) => {
    const mediaType = isObject(child) ? child['mediaType'] : undefined;
    const isManifest =
      typeof mediaType === 'string' && (IMAGE_TYPES.has(mediaType) || INDEX_TYPES.has(mediaType));
    const found = descriptor(child, `manifests[${position}]`, isManifest ? 'manifest' : 'blob');
    const platform = platformOf(child);
    return platform === undefined ? found : { ...found, platform };
  });
}

function platformOf(child: unknown): string | undefined {
  const platform = isObject(child) ? child['platform'] : undefined;
  if (!isObject(platform)) return undefined;
  const parts = [platform['os'], platform['architecture'], platform['variant']];
  return (
    parts.filter((part): part is string => typeof part === 'string' && part !== '').join('/') || undefined
  );
}

function descriptor(value: unknown, place: string, kind: ReferenceKind): ManifestReference {
  if (!isObject(value)) throw new RegistryError('MANIFEST_INVALID', `${place} is not a descriptor`);
  const { digest, size, mediaType } = value;
  if (typeof digest !== 'string' || !isDigest(digest)) {
    throw new RegistryError('MANIFEST_INVALID', `${place}.digest is not a sha256 or sha512 digest`);
  }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new RegistryError('MANIFEST_INVALID', `${place}.size is not a whole number of bytes`);
  }
  if (typeof mediaType !== 'string' || mediaType === '') {
    throw new RegistryError('MANIFEST_INVALID', `${place}.mediaType is missing`);
  }
  return { kind, digest, sizeBytes: size, mediaType };
}

function artifactTypeOf(json: Json, isIndex: boolean): string | undefined {
  const own = json['artifactType'];
  if (typeof own === 'string' && own !== '') return own;
  const config = json['config'];
  if (isIndex || !isObject(config)) return undefined;
  return typeof config['mediaType'] === 'string' ? config['mediaType'] : undefined;
}

function annotationsOf(json: Json): Readonly<Record<string, string>> {
  const value = json['annotations'];
  if (!isObject(value)) return {};
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

function list(json: Json, field: string): readonly unknown[] {
  const value = json[field];
  if (Array.isArray(value)) return value;
  throw new RegistryError('MANIFEST_INVALID', `${field} is not a list`);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
