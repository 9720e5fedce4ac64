/**
 * Names of the registry: repositories, tags, and the reference (tag or digest) that a path ends in.
 *
 * Source: OCI distribution spec, "Pulling manifests". A repository name is limited to 255 characters because many
 * clients limit host and name together to that.
 */
import { algorithmOf, type Digest, hexOf, isDigest, parseDigest } from './digest.ts';
import { RegistryError } from './errors.ts';

declare const repositoryBrand: unique symbol;
export type RepositoryName = string & { readonly [repositoryBrand]: true };
declare const tagBrand: unique symbol;
export type Tag = string & { readonly [tagBrand]: true };

/** What a manifest is asked for by. */
export type Reference = { readonly tag: Tag } | { readonly digest: Digest };

const REPOSITORY_LENGTH_MAX = 255;
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** @throws RegistryError NAME_INVALID. */
export function parseRepositoryName(text: string): RepositoryName {
  if (text.length <= REPOSITORY_LENGTH_MAX && REPOSITORY.test(text)) return text as RepositoryName;
  throw new RegistryError(
    'NAME_INVALID',
    `"${text.slice(0, 300)}" is not a repository name: lower-case letters, digits and single separators ` +
      `(. _ __ -) in parts joined by "/", at most ${REPOSITORY_LENGTH_MAX} characters`,
  );
}

/** @throws RegistryError TAG_INVALID (400). */
export function parseTag(text: string): Tag {
  if (TAG.test(text)) return text as Tag;
  throw new RegistryError(
    'TAG_INVALID',
    `"${text.slice(0, 160)}" is not a tag: at most 128 letters, digits, "_", "." and "-", not starting with "." or "-"`,
  );
}

/** A text with a colon can only be a digest. @throws RegistryError TAG_INVALID or DIGEST_INVALID. */
export function parseReference(text: string): Reference {
  if (isDigest(text) || text.includes(':')) return { digest: parseDigest(text) };
  return { tag: parseTag(text) };
}

export function referenceText(reference: Reference): string {
  return 'tag' in reference ? reference.tag : reference.digest;
}

/**
 * The tag under which clients keep a list of a subject's referrers where a registry has none: `sha256-<hex>`, with
 * the hash cut to 64 characters. Source: OCI distribution spec, "Referrers Tag Schema".
 */
export function referrersTag(subject: Digest): Tag {
  return `${algorithmOf(subject)}-${hexOf(subject).slice(0, 64)}` as Tag;
}
