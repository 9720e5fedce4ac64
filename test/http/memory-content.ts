/**
 * A registry's content in memory: the least that the roles of the HTTP room promise, over a given blob store, so
 * that tests can say how reading fails.
 */
import type { BlobRead, ManifestRead } from '#content/reader.ts';
import type { ContentSource } from '#content/upstream.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestFromBytes, digestOf } from '#domain/digest.ts';
import type { Dot } from '#domain/dot.ts';
import { RegistryError } from '#domain/errors.ts';
import { parseManifest } from '#domain/manifest.ts';
import { type Reference, type RepositoryName, referenceText } from '#domain/name.ts';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { RegistryServerDeps } from '#http/registry-server.ts';
import type { BlobStat, BlobStore, ByteRange } from '#storage/blob-store.ts';
import type { CachedTagRow, ManifestRow, ViewRow } from '#storage/metadata.ts';

const LOCAL: ContentSource = { kind: 'local', name: 'eu-west' };

export class MemoryContent {
  readonly blobs: BlobStore;
  /** What reading throws instead, while it is set. */
  fault: unknown;
  /** Replaces the bytes of every blob that is read, while it is set. */
  body: ((blob: BlobStat, signal: AbortSignal) => AsyncIterable<Uint8Array>) | undefined;
  /** Contexts that the reader was given. */
  readonly contexts: RequestContext[] = [];
  readonly cached: CachedTagRow[] = [];
  readonly #tags = new Map<string, Digest>();
  readonly #manifests = new Map<string, ManifestRow>();
  readonly #deleted = new Set<string>();
  readonly #linked = new Set<string>();
  #sequence = 0;

  constructor(blobs: BlobStore) {
    this.blobs = blobs;
  }

  /** What is said to be in memory, for whatever is asked. */
  warm: ManifestRead | undefined;

  readonly reader: RegistryServerDeps['reader'] = {
    warmManifest: () => this.warm,
    manifest: async (repository, reference, context): Promise<ManifestRead> => {
      this.contexts.push(context);
      if (this.fault !== undefined) throw this.fault;
      return { ...this.#find(repository, reference), source: LOCAL };
    },
    blob: async (repository, digest, context): Promise<BlobRead> => {
      this.contexts.push(context);
      if (this.fault !== undefined) throw this.fault;
      const stat = await this.#stat(repository, digest);
      if (stat === undefined) throw new RegistryError('BLOB_UNKNOWN', digest);
      return { ...stat, source: LOCAL, open: (range, signal) => this.#open(stat, range, signal) };
    },
    blobStat: async (repository, digest) => {
      const stat = await this.#stat(repository, digest);
      return stat === undefined ? undefined : { ...stat, source: LOCAL };
    },
  };

  readonly writer: RegistryServerDeps['writer'] = {
    startUpload: (repository) => this.blobs.startUpload(repository),
    findUpload: async (repository, id) => {
      const upload = await this.blobs.findUpload(repository, id);
      if (upload === undefined) throw new RegistryError('BLOB_UPLOAD_UNKNOWN', id);
      return upload;
    },
    finishUpload: async (repository, upload, digest) => {
      const stat = await upload.commit(digest);
      this.#linked.add(key(repository, digest));
      return stat;
    },
    mount: async (repository, digest, from) => {
      const known = from !== undefined && this.#linked.has(key(from, digest));
      if (known) this.#linked.add(key(repository, digest));
      return known;
    },
    putManifest: async ({ repository, reference, bytes, contentType }) => {
      const { mediaType, subject } = parseManifest(bytes, contentType);
      const digest = digestOf(bytes);
      if ('digest' in reference && reference.digest !== digest) {
        throw new RegistryError('DIGEST_INVALID', `the bytes have the digest ${digest}`);
      }
      this.#deleted.delete(key(repository, digest));
      this.#manifests.set(key(repository, digest), { digest, mediaType, bytes });
      if ('tag' in reference) this.#tags.set(key(repository, reference.tag), digest);
      return { digest, dot: this.#dot(), ...(subject === undefined ? {} : { subject }) };
    },
    deleteManifest: async (repository, reference) => {
      const { digest } = this.#find(repository, reference);
      if ('tag' in reference) this.#tags.delete(key(repository, reference.tag));
      else this.#deleted.add(key(repository, digest));
      return this.#dot();
    },
    deleteBlob: async (repository, digest) => {
      if (!this.#linked.delete(key(repository, digest))) throw new RegistryError('BLOB_UNKNOWN', digest);
    },
  };

  readonly views: RegistryServerDeps['views'] = {
    get: async ({ kind, repository, name }) => this.#view(kind, key(repository, name)),
    list: async (kind, repository, after, limit) =>
      [...(kind === CLAIM_KIND.tag ? this.#tags : this.#manifests).keys()]
        .map((name) => this.#view(kind, name))
        .filter((view) => view.live && view.repository === repository && view.name > after)
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .slice(0, limit),
    withValue: async (kind, repository, value) => {
      const digest = digestFromBytes(value);
      return [...this.#tags]
        .filter(([name, tagged]) => name.startsWith(`${repository}\n`) && tagged === digest)
        .map(([name]) => this.#view(kind, name));
    },
    repositories: async (_kind, after, limit) =>
      [...new Set([...this.#manifests.keys()].map((name) => name.split('\n')[0] ?? ''))]
        .filter((name) => name > after)
        .sort()
        .slice(0, limit),
  };

  readonly manifests: RegistryServerDeps['manifests'] = {
    referrers: async (repository, subject) =>
      [...this.#manifests]
        .filter(([name]) => name.startsWith(`${repository}\n`))
        .map(([, manifest]) => manifest)
        .filter((manifest) => parseManifest(manifest.bytes, manifest.mediaType).subject === subject)
        .sort((a, b) => (a.digest < b.digest ? -1 : 1)),
    isLinked: async (repository, digest) => this.#manifests.has(key(repository, digest)),
    find: async (digest) => [...this.#manifests.values()].find((manifest) => manifest.digest === digest),
  };

  readonly cachedTags: RegistryServerDeps['cachedTags'] = {
    list: async (repository, after, limit) =>
      this.cached.filter((row) => row.repository === repository && row.tag > after).slice(0, limit),
  };

  #find(repository: RepositoryName, reference: Reference): ManifestRow {
    const digest = 'tag' in reference ? this.#tags.get(key(repository, reference.tag)) : reference.digest;
    const found = digest === undefined ? undefined : this.#manifests.get(key(repository, digest));
    if (found !== undefined && !this.#deleted.has(key(repository, found.digest))) return found;
    throw new RegistryError('MANIFEST_UNKNOWN', referenceText(reference));
  }

  async #stat(repository: RepositoryName, digest: Digest): Promise<BlobStat | undefined> {
    return this.#linked.has(key(repository, digest)) ? await this.blobs.stat(digest) : undefined;
  }

  async #open(
    stat: BlobStat,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    if (this.body !== undefined) return this.body(stat, signal);
    const bytes = await this.blobs.read(stat.digest, range, signal);
    if (bytes === undefined) throw new RegistryError('BLOB_UNKNOWN', stat.digest);
    return bytes;
  }

  #dot(): Dot {
    this.#sequence += 1;
    return { region: parseRegionNumber(1), epoch: parseEpoch('00000000000000aa'), sequence: this.#sequence };
  }

  #view(kind: number, name: string): ViewRow {
    const [repository = '', last = ''] = name.split('\n');
    const live = !this.#deleted.has(name);
    const fixed = { changedMs: 0, principal: '', conflict: false, value: new Uint8Array() };
    return { kind, repository, name: last, live, dot: this.#dot(), ...fixed };
  }
}

function key(repository: string, name: string): string {
  return `${repository}\n${name}`;
}
