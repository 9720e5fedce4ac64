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
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { BlobStat, BlobStore, ByteRange, ReadStream } from '#storage/blob-store.ts';
import { isDiskRefusal } from '#storage/disk-error.ts';
import type { BlobRows, ManifestRow, ManifestRows, ViewRows, ViewWrites } from '#storage/metadata.ts';
import type { BlobUse } from './blob-use.ts';
import type { Deliverability } from './deliverability.ts';
import type { Fill, FillingBlob } from './fill.ts';
import { LocalBlobs } from './local-blobs.ts';
import { type ManifestFetch, verified } from './manifest-fetch.ts';
import { Unstored, type UnstoredBlob } from './unstored.ts';
import type { ContentSource, Sources, TagAnswer, TagOracle } from './upstream.ts';
import { manifestVisibility, taggedDigest } from './visibility.ts';
import { WarmManifests } from './warm-manifests.ts';

export type ContentReaderDeps = {
  readonly blobs: BlobStore;
  readonly rows: Pick<BlobRows, 'find' | 'isReadable'>;
  readonly use: BlobUse;
  readonly manifests: Pick<ManifestRows, 'find' | 'record' | 'isLinked'>;
  readonly views: Pick<ViewRows, 'get' | 'withValue'>;
  readonly fill: Fill;
  readonly manifestFetch: ManifestFetch;
  readonly deliverability: Deliverability;
  readonly oracle: TagOracle;
  readonly sources: Sources;
  readonly clock: Clock;
  readonly log: Log;
  readonly viewWrites: ViewWrites;
  /** A blob that is here was asked for. Must not wait. */
  readonly onPulled?: (repository: RepositoryName, digest: Digest) => void;
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
  /** All of it is in our store, where it was verified before it came in. */
  readonly isStored?: true;
  /**
   * A stream of the range, or of the whole blob. It ends with an error, short of its last piece, when the bytes turn
   * out to be wrong or cannot be had; a reader that leaves must abort the signal or return the iterator.
   */
  open(range: ByteRange | undefined, signal: AbortSignal): Promise<ReadStream>;
};

type Wanted = {
  readonly repository: RepositoryName;
  readonly digest: Digest;
  readonly sizeBytes?: number;
  readonly replace?: boolean;
};
type Found = ManifestRow & { readonly source: ContentSource };

export class ContentReader implements Disposable {
  readonly #deps: ContentReaderDeps;
  readonly #here: ContentSource;
  readonly #local: LocalBlobs;
  readonly #unstored: Unstored;
  readonly #warm: WarmManifests<Found>;

  constructor(deps: ContentReaderDeps, config: ContentReaderConfig) {
    this.#deps = deps;
    this.#here = { kind: 'local', name: config.region };
    this.#local = new LocalBlobs({ ...deps, onLost: () => deps.deliverability.forget() });
    this.#unstored = new Unstored(deps);
    this.#warm = new WarmManifests(deps);
  }

  /**
   * What `manifest` would answer, when that is in memory and needs no question to anybody; `undefined` otherwise. For
   * clients, not for regions that ask on behalf of theirs.
   */
  warmManifest(repository: RepositoryName, tag: Tag): ManifestRead | undefined {
    const found = this.#warm.get(repository, tag);
    if (found === undefined || !this.#deps.deliverability.isKnown(repository, found.digest)) return undefined;
    return found;
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
    if (stat !== undefined) {
      this.#deps.onPulled?.(repository, digest);
      return this.#localBlob(repository, stat, context);
    }
    const filling =
      context.from === undefined ? await this.#fill({ repository, digest }, context) : undefined;
    if (filling === undefined) throw new RegistryError('BLOB_UNKNOWN', `${digest} is not in ${repository}`);
    const { sizeBytes, source } = filling;
    return { digest, sizeBytes, source, open: async (range, signal) => filling.read(range, signal) };
  }

  /** For HEAD: only what is here counts, and nobody is asked. Whoever asks may push a manifest that relies on it. */
  async blobStat(
    repository: RepositoryName,
    digest: Digest,
    _context: RequestContext,
  ): Promise<{ digest: Digest; sizeBytes: number; source: ContentSource } | undefined> {
    const stat = await this.#local.stat(repository, digest);
    if (stat === undefined || !(await this.#deps.use.keep(digest))) return undefined;
    return { ...stat, source: this.#here };
  }

  #localBlob(repository: RepositoryName, stat: BlobStat, context: RequestContext): BlobRead {
    const { digest, sizeBytes } = stat;
    return {
      digest,
      sizeBytes,
      source: this.#here,
      isStored: true,
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

  /** From elsewhere into the store, and past it where it refuses. */
  async #fill(request: Wanted, context: RequestContext): Promise<UnstoredBlob | undefined> {
    if (this.#unstored.isStoreRefusing) return await this.#pass(request, context);
    const { repository, digest } = request;
    const sources = (asked: RequestContext) => this.#deps.sources.of(repository, digest, asked);
    try {
      const filling = await this.#deps.fill.blob({ ...request, sources }, context);
      if (filling === undefined) return undefined;
      const { sizeBytes, source } = filling;
      // A blob that cannot be recorded is passed on all the same; the next one need not be stored in vain.
      filling.done.then(undefined, (thrown: unknown) => {
        if (isDiskRefusal(thrown)) this.#unstored.storeRefused(digest, thrown);
      });
      return { sizeBytes, source, read: (...range) => this.#follow(filling, { ...request, context }, range) };
    } catch (thrown) {
      if (!isDiskRefusal(thrown)) throw thrown;
      this.#unstored.storeRefused(digest, thrown);
      return await this.#pass(request, context);
    }
  }

  /** A store that refuses the first bytes is passed by; later ones are lost with it, because they were not verified. */
  async *#follow(
    filling: FillingBlob,
    { context, ...request }: Wanted & { readonly context: RequestContext },
    [range, signal]: readonly [ByteRange | undefined, AbortSignal],
  ): AsyncGenerator<Uint8Array, void, undefined> {
    let began = false;
    try {
      for await (const piece of filling.read(range, signal)) {
        began = true;
        yield piece;
      }
      return;
    } catch (thrown) {
      if (!isDiskRefusal(thrown)) throw thrown;
      this.#unstored.storeRefused(request.digest, thrown);
      if (began) throw thrown;
    }
    const blob = await this.#pass(request, { ...context, signal });
    if (blob === undefined) throw new UnavailableError(`${request.digest} cannot be had any longer`);
    yield* blob.read(range, signal);
  }

  async #pass({ repository, digest }: Wanted, context: RequestContext): Promise<UnstoredBlob | undefined> {
    const sources = await this.#deps.sources.of(repository, digest, context);
    return await this.#unstored.open({ repository, digest, sources }, context);
  }

  /** What cannot be recorded is answered all the same, and fetched again for the next one. */
  async #record(repository: RepositoryName, manifest: ManifestRow): Promise<void> {
    try {
      await this.#deps.manifests.record(repository, manifest);
    } catch (thrown) {
      if (!(thrown instanceof UnavailableError)) throw thrown;
      this.#deps.log.warn('manifest not recorded', { repository, digest: manifest.digest, err: thrown });
    }
  }

  async #byTag(repository: RepositoryName, tag: Tag, context: RequestContext): Promise<Found> {
    const at = this.#warm.moment;
    const digest = await taggedDigest(this.#deps, repository, tag);
    if (digest !== undefined) {
      const found = await this.#known(repository, digest, context);
      if (found.source === this.#here) this.#warm.remember(repository, tag, { found, at });
      return found;
    }
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
      await this.#record(repository, row);
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

  [Symbol.dispose](): void {
    this.#warm[Symbol.dispose]();
  }

  async #fetch(
    repository: RepositoryName,
    digest: Digest,
    context: RequestContext,
  ): Promise<Found | undefined> {
    const fetched = await this.#deps.manifestFetch.fetch(repository, digest, context);
    if (fetched !== undefined) await this.#record(repository, fetched);
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
