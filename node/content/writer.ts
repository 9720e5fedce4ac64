/**
 * Writing: uploads that become blobs, mounts, manifests, and their deletion.
 *
 * A manifest is acknowledged when every blob that it refers to is durable here and the claims that announce it are on
 * stable storage, in one transaction with its bytes (DESIGN.md, P1). Each PUT of a manifest mints its claims, also
 * when it changes nothing: a push that comes after a delete must prevail over it.
 */
import { algorithmOf, type Digest, type DigestAlgorithm, digestOf } from '#domain/digest.ts';
import type { Dot } from '#domain/dot.ts';
import { RegistryError } from '#domain/errors.ts';
import { MANIFEST_BYTES_MAX, parseManifest } from '#domain/manifest.ts';
import { parseTag, type Reference, type RepositoryName, referenceText, type Tag } from '#domain/name.ts';
import { EVERYTHING } from '#domain/permit.ts';
import { type RequestContext, requestFields } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { BlobStat, BlobStore, Upload } from '#storage/blob-store.ts';
import type { BlobRows, ManifestRows, ViewRows } from '#storage/metadata.ts';
import { type BlobUse, recordStored } from './blob-use.ts';
import type { ClaimWriter, IndexChange } from './claim-writer.ts';
import type { Closure } from './closure.ts';
import type { Fill } from './fill.ts';
import { hasMountSource } from './mount-source.ts';
import { missingBlobs, PushedReferences, type PushedReferencesConfig } from './pushed-references.ts';
import type { Sources } from './upstream.ts';
import { manifestVisibility, taggedDigest, tagsOf } from './visibility.ts';

/** Who says that a repository is read-only (the prefix of a proxied registry is). */
export interface WriteGuard {
  /** Why it may not be written; `undefined` when it may. */
  refuseWrite(repository: RepositoryName): string | undefined;
}

export type ContentWriterDeps = {
  readonly blobs: BlobStore;
  readonly rows: Pick<BlobRows, 'find' | 'record' | 'link' | 'isReadable' | 'unlink' | 'repositoriesOf'>;
  readonly use: BlobUse;
  readonly manifests: Pick<ManifestRows, 'isLinked' | 'presence'>;
  readonly views: Pick<ViewRows, 'get' | 'withValue'>;
  readonly claimWriter: ClaimWriter;
  readonly writeGuard: WriteGuard;
  readonly fill: Fill;
  readonly closure: Closure;
  readonly sources: Sources;
  readonly clock: Clock;
  readonly log: Log;
};

export type ContentWriterConfig = PushedReferencesConfig;

export type ManifestPut = {
  readonly repository: RepositoryName;
  readonly reference: Reference;
  readonly bytes: Uint8Array;
  readonly contentType: string | undefined;
  /** Further tags that are set with it. */
  readonly tags?: readonly Tag[];
  /**
   * What becomes of a manifest with blobs that nobody has. Default `refuse`; `record`: from a caller that may read
   * everything it is accepted, and complete without them.
   */
  readonly absentBlobs?: 'refuse' | 'record';
};

export type ManifestPutResult = {
  readonly digest: Digest;
  readonly subject?: Digest;
  /** That of its last claim. */
  readonly dot: Dot;
  /** Blobs that nobody has, where it was accepted without them. */
  readonly absent?: readonly Digest[];
};

export class ContentWriter {
  readonly #deps: ContentWriterDeps;
  readonly #references: PushedReferences;

  constructor(deps: ContentWriterDeps, config: ContentWriterConfig = {}) {
    this.#deps = deps;
    this.#references = new PushedReferences(deps, config);
  }

  /** @throws RegistryError DENIED where the repository is read-only. */
  async startUpload(
    repository: RepositoryName,
    _context: RequestContext,
    algorithm?: DigestAlgorithm,
  ): Promise<Upload> {
    this.#requireWritable(repository);
    return await this.#deps.blobs.startUpload(repository, algorithm);
  }

  /** @throws RegistryError BLOB_UPLOAD_UNKNOWN. */
  async findUpload(repository: RepositoryName, id: string, _context: RequestContext): Promise<Upload> {
    const upload = await this.#deps.blobs.findUpload(repository, id);
    if (upload !== undefined) return upload;
    throw new RegistryError('BLOB_UPLOAD_UNKNOWN', `${repository} has no upload ${id.slice(0, 64)}`);
  }

  /** The blob is durable and readable through this repository. @throws RegistryError DIGEST_INVALID, DENIED. */
  async finishUpload(
    repository: RepositoryName,
    upload: Upload,
    digest: Digest,
    context: RequestContext,
  ): Promise<BlobStat> {
    this.#requireWritable(repository);
    const stat = await upload.commit(digest);
    const storedMs = this.#deps.clock.nowMs();
    await recordStored(this.#deps, { ...stat, source: 'push', storedMs }, repository);
    this.#deps.log.info('blob pushed', {
      ...requestFields(context),
      repository,
      digest,
      bytes: stat.sizeBytes,
    });
    return stat;
  }

  /**
   * Without `from`, from any repository that the caller may read. False when none has it, or its bytes are not here:
   * the client then uploads it. @throws RegistryError DENIED.
   */
  async mount(
    repository: RepositoryName,
    digest: Digest,
    from: RepositoryName | undefined,
    context: RequestContext,
  ): Promise<boolean> {
    this.#requireWritable(repository);
    const { rows, blobs, use } = this.#deps;
    if (!(await hasMountSource(rows, { digest, from }, context))) return false;
    if ((await rows.find(digest)) === undefined || (await blobs.stat(digest)) === undefined) return false;
    // The grace first: what is linked from then on stays here.
    if (!(await use.keep(digest))) return false;
    await rows.link(repository, digest);
    return true;
  }

  /**
   * The manifest and its tags appear together.
   * @throws RegistryError SIZE_INVALID (413), MANIFEST_INVALID, DIGEST_INVALID, MANIFEST_BLOB_UNKNOWN with the digest
   * of each missing blob, DENIED; UnavailableError when what others have could not be had.
   */
  async putManifest(put: ManifestPut, context: RequestContext): Promise<ManifestPutResult> {
    const { repository, bytes } = put;
    this.#requireWritable(repository);
    if (bytes.byteLength > MANIFEST_BYTES_MAX) {
      const message = `the manifest has ${bytes.byteLength} bytes; the limit is ${MANIFEST_BYTES_MAX}`;
      throw new RegistryError('SIZE_INVALID', message, { status: 413 });
    }
    const { mediaType, references, subject } = parseManifest(bytes, put.contentType);
    const digest = digestOfPut(put);
    const absent = await this.#references.complete(repository, references, context);
    if (absent.length > 0 && !mayRecordAbsent(put, context)) throw missingBlobs(repository, absent);
    const tags = tagsOfPut(put);
    const changes: readonly IndexChange[] = [
      { change: 'add-manifest', repository, manifest: { digest, mediaType, bytes, absent, isWhole: true } },
      ...tags.map((tag) => ({ change: 'set-tag' as const, repository, tag, digest })),
    ];
    const dot = await this.#write(changes, context);
    const about = { ...requestFields(context), repository, digest, bytes: bytes.byteLength };
    this.#deps.log.info('manifest pushed', tags.length === 0 ? about : { ...about, tag: tags.join(' ') });
    return {
      digest,
      dot,
      ...(subject === undefined ? {} : { subject }),
      ...(absent.length === 0 ? {} : { absent }),
    };
  }

  /**
   * By tag: only the tag. By digest: the manifest and every tag that has it.
   * @throws RegistryError MANIFEST_UNKNOWN when it is not here, DENIED.
   */
  async deleteManifest(
    repository: RepositoryName,
    reference: Reference,
    context: RequestContext,
  ): Promise<Dot> {
    this.#requireWritable(repository);
    const changes =
      'tag' in reference
        ? await this.#tagDeletion(repository, reference.tag)
        : await this.#manifestDeletion(repository, reference.digest);
    if (changes.length === 0) {
      const message = `${repository} has no manifest ${referenceText(reference)}`;
      throw new RegistryError('MANIFEST_UNKNOWN', message);
    }
    const dot = await this.#write(changes, context);
    this.#deps.log.info('manifest deleted', { ...requestFields(context), repository, ...reference });
    return dot;
  }

  /**
   * Takes the blob out of this repository; others keep it.
   * @throws RegistryError BLOB_UNKNOWN, DENIED; UNSUPPORTED (405) when only manifests of the repository hold it.
   */
  async deleteBlob(repository: RepositoryName, digest: Digest, context: RequestContext): Promise<void> {
    this.#requireWritable(repository);
    const { rows, log } = this.#deps;
    if (await rows.unlink(repository, digest)) {
      log.info('blob deleted', { ...requestFields(context), repository, digest });
      return;
    }
    if ((await rows.find(digest)) !== undefined && (await rows.isReadable(repository, digest))) {
      throw new RegistryError('UNSUPPORTED', `manifests of ${repository} refer to ${digest}; delete those`);
    }
    throw new RegistryError('BLOB_UNKNOWN', `${digest} is not in ${repository}`);
  }

  async #tagDeletion(repository: RepositoryName, tag: string): Promise<readonly IndexChange[]> {
    const digest = await taggedDigest(this.#deps, repository, tag);
    return digest === undefined ? [] : [{ change: 'delete-tag', repository, tag }];
  }

  /** The manifest last, so that the version that is answered covers its tags. */
  async #manifestDeletion(repository: RepositoryName, digest: Digest): Promise<readonly IndexChange[]> {
    if ((await manifestVisibility(this.#deps, repository, digest)) !== 'present') return [];
    const tags = await tagsOf(this.#deps, repository, digest);
    return [
      ...tags.map(({ name }) => ({ change: 'delete-tag' as const, repository, tag: parseTag(name) })),
      { change: 'delete-manifest', repository, digest },
    ];
  }

  async #write(changes: readonly IndexChange[], context: RequestContext): Promise<Dot> {
    const { principal, signal, requestId, trace } = context;
    return await this.#deps.claimWriter.write(changes, { principal, signal, requestId, trace });
  }

  #requireWritable(repository: RepositoryName): void {
    const refusal = this.#deps.writeGuard.refuseWrite(repository);
    if (refusal !== undefined) throw new RegistryError('DENIED', refusal);
  }
}

/**
 * Only for who may read everything. Other regions cannot tell an absent blob from one that the manifest's repository
 * has, and would serve what they hold of another repository to whoever named its digest.
 */
function mayRecordAbsent({ absentBlobs }: ManifestPut, { permit = EVERYTHING }: RequestContext): boolean {
  return absentBlobs === 'record' && permit === EVERYTHING;
}

/** Each once, in the order in which they were named. */
function tagsOfPut({ reference, tags = [] }: ManifestPut): readonly Tag[] {
  return [...new Set('tag' in reference ? [reference.tag, ...tags] : tags)];
}

/** In the algorithm of the digest that it is put under; sha256 under a tag. */
function digestOfPut({ reference, bytes }: ManifestPut): Digest {
  if ('tag' in reference) return digestOf(bytes);
  const digest = digestOf(bytes, algorithmOf(reference.digest));
  if (digest === reference.digest) return digest;
  throw new RegistryError(
    'DIGEST_INVALID',
    `the manifest's digest is ${digest}, and it was put as ${reference.digest}`,
  );
}
