/**
 * What a pushed manifest refers to must be here before the push is acknowledged (DESIGN.md, P1 and decision 7).
 *
 * Blobs that another region has are filled first; those that nobody has are reported, and the writer decides.
 * Children of an index that are known in this repository are completed; one that nobody knows makes the index a
 * sparse one, which is accepted: its reference alone records that it was absent from the start. Subjects and foreign
 * layers need not be anywhere.
 */
import type { Digest } from '#domain/digest.ts';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import type { ManifestReference } from '#domain/manifest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import type { BlobRows, ManifestRows, ViewRows } from '#storage/metadata.ts';
import type { BlobUse } from './blob-use.ts';
import type { Closure } from './closure.ts';
import type { Fill } from './fill.ts';
import { inParallel } from './in-parallel.ts';
import { orAborted } from './or-aborted.ts';
import type { Sources } from './upstream.ts';
import { manifestVisibility } from './visibility.ts';

export type PushedReferencesDeps = {
  readonly blobs: Pick<BlobStore, 'stat'>;
  readonly rows: Pick<BlobRows, 'isReadable'>;
  readonly use: BlobUse;
  readonly manifests: Pick<ManifestRows, 'isLinked' | 'presence'>;
  readonly views: Pick<ViewRows, 'get' | 'withValue'>;
  readonly fill: Fill;
  readonly closure: Closure;
  readonly sources: Sources;
  readonly clock: Clock;
};

export type PushedReferencesConfig = {
  /** How long a push may wait for what others have. Default 600000: clients wait for a PUT as long as they upload. */
  readonly referencesMs?: number;
};

/** Blobs looked up or filled at once for one push. */
const BLOBS_AT_ONCE = 4;
/** Missing blobs that an answer names; more say nothing more to whoever reads it. */
const MISSING_NAMED_MAX = 100;

export class PushedReferences {
  readonly #deps: PushedReferencesDeps;
  readonly #referencesMs: number;

  constructor(deps: PushedReferencesDeps, config: PushedReferencesConfig) {
    this.#deps = deps;
    this.#referencesMs = config.referencesMs ?? 600_000;
  }

  /** The blobs that nobody has, in order. @throws RegistryError MANIFEST_INVALID; UnavailableError. */
  async complete(
    repository: RepositoryName,
    references: readonly ManifestReference[],
    context: RequestContext,
  ): Promise<readonly Digest[]> {
    const late = new AbortController();
    using _timer = this.#deps.clock.after(this.#referencesMs, () =>
      late.abort(
        new UnavailableError(`what the manifest refers to did not arrive within ${this.#referencesMs} ms`),
      ),
    );
    const limited = { ...context, signal: AbortSignal.any([context.signal, late.signal]) };
    const absent = await this.#absentBlobs(repository, ofKind(references, 'blob'), limited);
    for (const child of ofKind(references, 'manifest')) {
      await this.#completeChild(repository, child.digest, limited);
    }
    return absent;
  }

  async #absentBlobs(
    repository: RepositoryName,
    references: readonly ManifestReference[],
    context: RequestContext,
  ): Promise<readonly Digest[]> {
    const missing: Digest[] = [];
    await inParallel(
      references,
      async (reference, signal) => {
        if (!(await this.#have(repository, reference, { ...context, signal })))
          missing.push(reference.digest);
      },
      { limit: BLOBS_AT_ONCE, signal: context.signal },
    );
    return missing.sort();
  }

  /** False when nobody has it. */
  async #have(
    repository: RepositoryName,
    { digest, sizeBytes }: ManifestReference,
    context: RequestContext,
  ): Promise<boolean> {
    const { fill, sources } = this.#deps;
    const hereBytes = await this.#sizeHere(repository, digest);
    if (hereBytes === sizeBytes) return true;
    if (hereBytes !== undefined) {
      throw new RegistryError(
        'MANIFEST_INVALID',
        `the manifest says that ${digest} has ${sizeBytes} bytes; it has ${hereBytes}`,
      );
    }
    const filling = await fill.blob(
      { repository, digest, sizeBytes, sources: (asked) => sources.of(repository, digest, asked) },
      context,
    );
    if (filling === undefined) return false;
    await orAborted(filling.done, context.signal);
    if (await this.#deps.use.keep(digest)) return true;
    throw new UnavailableError(`${digest} was removed while it was pushed; push it again`);
  }

  /** `undefined` when it is not here, or not this repository's. */
  async #sizeHere(repository: RepositoryName, digest: Digest): Promise<number | undefined> {
    const { rows, blobs, use } = this.#deps;
    if (!(await rows.isReadable(repository, digest))) return undefined;
    if (!(await use.keep(digest))) return undefined;
    return (await blobs.stat(digest))?.sizeBytes;
  }

  async #completeChild(repository: RepositoryName, digest: Digest, context: RequestContext): Promise<void> {
    const visibility = await manifestVisibility(this.#deps, repository, digest);
    if (visibility === 'deleted') return;
    if (visibility === 'present' && (await this.#isComplete(digest))) return;
    try {
      await this.#deps.closure.complete(repository, digest, context);
    } catch (thrown) {
      const isUnknown = thrown instanceof RegistryError && thrown.code === 'MANIFEST_UNKNOWN';
      if (!isUnknown) throw thrown;
      if (visibility === 'unknown') return;
      throw new UnavailableError(`manifest ${digest} is known, but nobody who answers has it`, {
        cause: thrown,
      });
    }
  }

  async #isComplete(digest: Digest): Promise<boolean> {
    const { missingBlobs, missingManifests } = await this.#deps.manifests.presence(digest);
    return missingBlobs.length === 0 && missingManifests.length === 0;
  }
}

/** The refusal that names them. */
export function missingBlobs(repository: RepositoryName, missing: readonly Digest[]): RegistryError {
  const named = missing.slice(0, MISSING_NAMED_MAX);
  return new RegistryError(
    'MANIFEST_BLOB_UNKNOWN',
    `the manifest refers to ${missing.length} blobs that ${repository} does not have: ${named[0]} …`,
    { detail: named.map((digest) => ({ digest })) },
  );
}

/** Each digest once. */
function ofKind(
  references: readonly ManifestReference[],
  kind: ManifestReference['kind'],
): readonly ManifestReference[] {
  const unique = new Map(
    references
      .filter((reference) => reference.kind === kind)
      .map((reference) => [reference.digest, reference]),
  );
  return [...unique.values()];
}
