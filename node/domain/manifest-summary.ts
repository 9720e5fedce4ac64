/**
 * What a manifest's claim says of it, so that every region can list and plan without the manifest's bytes: size,
 * media type, and the subject and artifact type where it has them. Binary and canonical: one encoding a summary.
 *
 *   0  4  size in bytes, big-endian
 *   4  1  which optional fields follow: 1 subject, 2 artifact type
 *   5  …  media type; subject as `digestToBytes`; artifact type: each one byte of length, then its bytes (UTF-8)
 */
import { type Digest, digestFromBytes, digestToBytes } from './digest.ts';
import type { ParsedManifest } from './manifest.ts';

export type ManifestSummary = {
  readonly sizeBytes: number;
  readonly mediaType: string;
  readonly subject?: Digest;
  readonly artifactType?: string;
};

/** RFC 6838 allows a media type 255 characters; a longer artifact type is left out of summaries. */
const TEXT_BYTES_MAX = 255;
const HEAD_BYTES = 5;
const HAS_SUBJECT = 1;
const HAS_ARTIFACT_TYPE = 2;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function summarizeManifest(sizeBytes: number, parsed: ParsedManifest): ManifestSummary {
  const { mediaType, subject, artifactType } = parsed;
  return {
    sizeBytes,
    mediaType,
    ...(subject === undefined ? {} : { subject }),
    ...(artifactType === undefined || !fits(artifactType) ? {} : { artifactType }),
  };
}

/** @throws TypeError when a field does not fit. */
export function encodeManifestSummary(summary: ManifestSummary): Uint8Array {
  const { sizeBytes, mediaType, subject, artifactType } = summary;
  if (!Number.isInteger(sizeBytes) || sizeBytes < 0 || sizeBytes > 0xffffffff) {
    throw new TypeError(`${sizeBytes} is no size of a manifest`);
  }
  const fields = [textBytes(mediaType)];
  if (subject !== undefined) fields.push(digestToBytes(subject));
  if (artifactType !== undefined) fields.push(textBytes(artifactType));
  const bytes = new Uint8Array(HEAD_BYTES + fields.reduce((sum, field) => sum + 1 + field.length, 0));
  new DataView(bytes.buffer).setUint32(0, sizeBytes);
  bytes[4] = (subject === undefined ? 0 : HAS_SUBJECT) | (artifactType === undefined ? 0 : HAS_ARTIFACT_TYPE);
  let offset = HEAD_BYTES;
  for (const field of fields) {
    bytes[offset] = field.length;
    bytes.set(field, offset + 1);
    offset += 1 + field.length;
  }
  return bytes;
}

/** The inverse; `undefined` when the bytes are no summary. */
export function decodeManifestSummary(bytes: Uint8Array): ManifestSummary | undefined {
  const present = bytes[4];
  if (present === undefined || present > (HAS_SUBJECT | HAS_ARTIFACT_TYPE)) return undefined;
  const fields = fieldsOf(bytes);
  const expected =
    1 + ((present & HAS_SUBJECT) === 0 ? 0 : 1) + ((present & HAS_ARTIFACT_TYPE) === 0 ? 0 : 1);
  if (fields?.length !== expected) return undefined;
  const mediaType = textOf(fields[0]);
  const subject = (present & HAS_SUBJECT) === 0 ? undefined : digestFromBytes(fields[1] ?? new Uint8Array(0));
  const artifactType = (present & HAS_ARTIFACT_TYPE) === 0 ? undefined : textOf(fields[expected - 1]);
  if (mediaType === undefined) return undefined;
  if ((present & HAS_SUBJECT) !== 0 && subject === undefined) return undefined;
  if ((present & HAS_ARTIFACT_TYPE) !== 0 && artifactType === undefined) return undefined;
  return {
    sizeBytes: new DataView(bytes.buffer, bytes.byteOffset).getUint32(0),
    mediaType,
    ...(subject === undefined ? {} : { subject }),
    ...(artifactType === undefined ? {} : { artifactType }),
  };
}

/** The length-prefixed fields behind the head; `undefined` when the last one is cut. */
function fieldsOf(bytes: Uint8Array): readonly Uint8Array[] | undefined {
  const fields: Uint8Array[] = [];
  for (let offset = HEAD_BYTES; offset < bytes.length; ) {
    const end = offset + 1 + (bytes[offset] ?? 0);
    if (end > bytes.length) return undefined;
    fields.push(bytes.subarray(offset + 1, end));
    offset = end;
  }
  return fields;
}

function textBytes(text: string): Uint8Array {
  if (fits(text)) return encoder.encode(text);
  throw new TypeError(`"${text.slice(0, 80)}" is no media type: it has more than ${TEXT_BYTES_MAX} bytes`);
}

function fits(text: string): boolean {
  return text.isWellFormed() && encoder.encode(text).length <= TEXT_BYTES_MAX;
}

function textOf(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
