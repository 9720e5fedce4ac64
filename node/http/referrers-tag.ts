/**
 * Referrers that clients listed under a tag, as they do where a registry has no referrers API: an index tagged
 * `sha256-<hex of the subject>`. Such lists come along when repositories are copied from elsewhere, and what they name
 * must be found by the API too. The list is trusted for nothing but digests: each manifest is of the repository, not
 * deleted, and says itself what its subject is. Source: OCI distribution spec, "Enabling the Referrers API".
 *
 * Bytes that are not here come from where they are, a bounded number for one answer. Where they cannot be had the
 * answer is 503: a shorter list would look like one without signatures.
 */
import type { ContentReader } from '#content/reader.ts';
import { manifestVisibility, taggedDigest, type VisibilityDeps } from '#content/visibility.ts';
import type { Digest } from '#domain/digest.ts';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { parseManifest } from '#domain/manifest.ts';
import { type RepositoryName, referrersTag } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { ManifestRow, ManifestRows } from '#storage/metadata.ts';

export type TaggedReferrersDeps = VisibilityDeps & {
  readonly manifests: Pick<ManifestRows, 'find'>;
  readonly reader: Pick<ContentReader, 'manifest'>;
};

/** Each takes a round trip or more, one after another. What was fetched stays, so a client that repeats gets on. */
const FETCHES_MAX = 16;

export class TaggedReferrers {
  readonly #deps: TaggedReferrersDeps;
  readonly #repository: RepositoryName;
  readonly #subject: Digest;
  readonly #context: RequestContext;
  #fetches = 0;

  constructor(
    deps: TaggedReferrersDeps,
    of: { readonly repository: RepositoryName; readonly subject: Digest },
    context: RequestContext,
  ) {
    this.#deps = deps;
    this.#repository = of.repository;
    this.#subject = of.subject;
    this.#context = context;
  }

  /** What the list names, each once; nothing where there is none. @throws UnavailableError. */
  async digests(): Promise<readonly Digest[]> {
    const list = await taggedDigest(this.#deps, this.#repository, referrersTag(this.#subject));
    const row = list === undefined ? undefined : await this.#bytesOf(list);
    if (row === undefined) return [];
    const { isIndex, references } = parseManifest(row.bytes, row.mediaType);
    const named = references.filter(({ kind }) => isIndex && kind === 'manifest');
    return [...new Set(named.map(({ digest }) => digest))];
  }

  /** The manifest, if it is a referrer that the repository shows. @throws UnavailableError. */
  async referrer(digest: Digest): Promise<ManifestRow | undefined> {
    if ((await manifestVisibility(this.#deps, this.#repository, digest)) !== 'present') return undefined;
    const row = await this.#bytesOf(digest);
    if (row === undefined) return undefined;
    return parseManifest(row.bytes, row.mediaType).subject === this.#subject ? row : undefined;
  }

  /** `undefined` where nobody has it. */
  async #bytesOf(digest: Digest): Promise<ManifestRow | undefined> {
    const here = await this.#deps.manifests.find(digest);
    if (here !== undefined) return here;
    if (this.#fetches >= FETCHES_MAX) {
      throw new UnavailableError(`referrers of ${this.#subject} are still being brought here`);
    }
    this.#fetches += 1;
    try {
      return await this.#deps.reader.manifest(this.#repository, { digest }, this.#context);
    } catch (thrown) {
      if (thrown instanceof RegistryError) return undefined;
      throw thrown;
    }
  }
}
