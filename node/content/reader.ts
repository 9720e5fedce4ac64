/**
 * Reading: manifests by tag and digest, blobs whole and by ranges; from here when it is here, else from the nearest
 * source that has it, while it is stored.
 *
 * What is missing is answered in two ways that clients treat differently: 404 when everyone who could know said no,
 * 503 when somebody was silent, never the one for the other (DESIGN.md, P3, P8). A region that asks on behalf of its
 * own client (`context.from`) is answered from what is here, so that questions do not travel in circles.
 */
import type { Digest } from '#domain/digest.ts';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { type Reference, type RepositoryName, referenceText, type Tag } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Log } from '#runtime/log.ts';
import type { BlobStat, BlobStore, ByteRange } from '#storage/blob-store.ts';
import type { BlobRows, ManifestRow, ManifestRows, ViewRows } from '#storage/metadata.ts';
import type { Deliverability } from './deliverability.ts';
import type { Fill, FillingBlob } from './fill.ts';
import { LocalBlobs } from './local-blobs.ts';
import { type ManifestFetch, verified } from './manifest-fetch.ts';
import type { ContentSource, Sources, TagAnswer, TagOracle } from './upstream.ts';
import { manifestVisibility, taggedDigest } from './visibility.ts';

export type ContentReaderDeps = {
  readonly blobs: BlobStore;
  readonly rows: Pick<BlobRows, 'find' | 'isReadable' | 'forget'>;
  readonly manifests: Pick<ManifestRows, 'find' | 'record' | 'isLinked'>;
  readonly views: Pick<ViewRows, 'get' | 'withValue'>;
  readonly fill: Fill;
  readonly manifestFetch: ManifestFetch;
  readonly deliverability: Deliverability;
  readonly oracle: TagOracle;
  readonly sources: Sources;
  readonly log: Log;
};

export type ContentReaderConfig = {
  /** Names what is here, in `ContentSource`. */
  readonly region: string;
};

export type ManifestRead = {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  readonly source: ContentSource;
};

export type BlobRead = {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly source: ContentSource;
  /**
   * A stream of the range, or of the whole blob. It ends with an error, short of its last piece, when the bytes turn
   * out to be wrong or cannot be had; a reader that leaves must abort the signal or return the iterator.
   */
  open(range: ByteRange | undefined, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
};

type Found = ManifestRow & { readonly source: ContentSource };

export class ContentReader {
  readonly #deps: ContentReaderDeps;
  readonly #here: ContentSource;
  readonly #local: LocalBlobs;

  constructor(deps: ContentReaderDeps, config: ContentReaderConfig) {
    this.#deps = deps;
    this.#here = { kind: 'local', name: config.region };
    this.#local = new LocalBlobs({ ...deps, onLost: () => deps.deliverability.forget() });
  }

  /** @throws RegistryError MANIFEST_UNKNOWN when it is proven absent; UnavailableError when it cannot be had now. */
  async manifest(
    repository: RepositoryName,
    reference: Reference,
    context: RequestContext,
  ): Promise<ManifestRead> {
    const found =
      'tag' in reference
        ? await this.#byTag(repository, reference.tag, context)
        : await this.#byDigest(repository, reference.digest, context);
    if (context.from === undefined) {
      await this.#deps.deliverability.require(repository, found.digest, context);
    }
    return found;
  }

  /** @throws RegistryError BLOB_UNKNOWN when it is proven absent; UnavailableError when it cannot be had now. */
  async blob(repository: RepositoryName, digest: Digest, context: RequestContext): Promise<BlobRead> {
    const stat = await this.#local.stat(repository, digest);
    if (stat !== undefined) return this.#localBlob(repository, stat, context);
    const filling =
      context.from === undefined ? await this.#fill({ repository, digest }, context) : undefined;
    if (filling === undefined) throw new RegistryError('BLOB_UNKNOWN', `${digest} is not in ${repository}`);
    const { sizeBytes, source } = filling;
    return { digest, sizeBytes, source, open: async (range, signal) => filling.read(range, signal) };
  }

  /** For HEAD: only what is here counts, and nobody is asked. */
  async blobStat(
    repository: RepositoryName,
    digest: Digest,
    _context: RequestContext,
  ): Promise<{ digest: Digest; sizeBytes: number; source: ContentSource } | undefined> {
    const stat = await this.#local.stat(repository, digest);
    return stat === undefined ? undefined : { ...stat, source: this.#here };
  }

  #localBlob(repository: RepositoryName, stat: BlobStat, context: RequestContext): BlobRead {
    const { digest, sizeBytes } = stat;
    return {
      digest,
      sizeBytes,
      source: this.#here,
      open: async (range, signal) => {
        const stream = await this.#local.open(stat, range, signal);
        if (stream !== undefined) return stream;
        // What cannot be read here comes from elsewhere, into the same answer: its size is the same.
        const request = { repository, digest, sizeBytes, replace: true };
        const filling =
          context.from === undefined ? await this.#fill(request, { ...context, signal }) : undefined;
        if (filling === undefined) throw new UnavailableError(`${digest} cannot be read here`);
        return filling.read(range, signal);
      },
    };
  }

  async #fill(
    request: { repository: RepositoryName; digest: Digest; sizeBytes?: number; replace?: boolean },
    context: RequestContext,
  ): Promise<FillingBlob | undefined> {
    const { repository, digest } = request;
    const sources = (asked: RequestContext) => this.#deps.sources.of(repository, digest, asked);
    return await this.#deps.fill.blob({ ...request, sources }, context);
  }

  async #byTag(repository: RepositoryName, tag: Tag, context: RequestContext): Promise<Found> {
    const digest = await taggedDigest(this.#deps, repository, tag);
    if (digest !== undefined) return await this.#known(repository, digest, context);
    if (context.from !== undefined) throw unknownManifest(repository, { tag });
    const answer = await this.#deps.oracle.resolve(repository, tag, context);
    if (answer.outcome === 'absent') throw unknownManifest(repository, { tag });
    if (answer.outcome === 'found') return await this.#foundElsewhere(repository, answer, context);
    throw new UnavailableError(`it is not known whether ${repository} has the tag ${tag}`, {
      tried: answer.silent.map((name) => `${name}: did not answer`),
    });
  }

  async #foundElsewhere(
    repository: RepositoryName,
    answer: Extract<TagAnswer, { outcome: 'found' }>,
    context: RequestContext,
  ): Promise<Found> {
    const { digest, source, manifest } = answer;
    const here = await this.#deps.manifests.find(digest);
    const row =
      here ??
      (manifest === undefined ? undefined : verified(manifest, digest)) ??
      (await this.#deps.manifestFetch.fetch(repository, digest, context));
    if (row === undefined) throw unreachableManifest(repository, digest);
    // Its children and blobs are then readable through this repository, and it is found here by digest.
    if (here === undefined || !(await this.#deps.manifests.isLinked(repository, digest))) {
      await this.#deps.manifests.record(repository, row);
    }
    return { digest, mediaType: row.mediaType, bytes: row.bytes, source };
  }

  async #byDigest(repository: RepositoryName, digest: Digest, context: RequestContext): Promise<Found> {
    const visibility = await manifestVisibility(this.#deps, repository, digest);
    if (visibility === 'present') return await this.#known(repository, digest, context);
    if (visibility === 'deleted' || context.from !== undefined) throw unknownManifest(repository, { digest });
    const fetched = await this.#fetch(repository, digest, context);
    if (fetched === undefined) throw unknownManifest(repository, { digest });
    return fetched;
  }

  /** A manifest that this repository has, as far as is known here; its bytes may have to be fetched. */
  async #known(repository: RepositoryName, digest: Digest, context: RequestContext): Promise<Found> {
    const row = await this.#deps.manifests.find(digest);
    if (row !== undefined) return { ...row, source: this.#here };
    if (context.from !== undefined) throw unknownManifest(repository, { digest });
    const fetched = await this.#fetch(repository, digest, context);
    if (fetched === undefined) throw unreachableManifest(repository, digest);
    return fetched;
  }

  async #fetch(
    repository: RepositoryName,
    digest: Digest,
    context: RequestContext,
  ): Promise<Found | undefined> {
    const fetched = await this.#deps.manifestFetch.fetch(repository, digest, context);
    if (fetched !== undefined) await this.#deps.manifests.record(repository, fetched);
    return fetched;
  }
}

function unknownManifest(repository: RepositoryName, reference: Reference): RegistryError {
  return new RegistryError('MANIFEST_UNKNOWN', `${repository} has no manifest ${referenceText(reference)}`);
}

/** It exists: it was claimed, and not deleted. */
function unreachableManifest(repository: RepositoryName, digest: Digest): UnavailableError {
  return new UnavailableError(`manifest ${digest} of ${repository} is known, but nobody who answers has it`);
}
