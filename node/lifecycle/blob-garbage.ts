/**
 * Blobs that nothing refers to, and the differences between rows and files, part by part of the store.
 *
 * A blob is kept by a manifest that refers to it, and for a while by the last push that relied on it. Where a crash
 * came between a file and its row, in either direction, the other half is removed or forgotten: a row without a file
 * makes the blob be fetched again when it is wanted, and a file without a row is nobody's.
 */
import type { Digest } from '#domain/digest.ts';
import type { Log } from '#runtime/log.ts';
import type { BlobFiles, BlobStore } from '#storage/blob-store.ts';
import type { BlobUsage, BlobUseRows, DigestRange, GarbageRows } from '#storage/metadata-garbage.ts';
import { type BlobFate, Tally } from './garbage-run.ts';
import { LargestBlobs } from './largest-blobs.ts';
import { PAGE_ROWS, type Pace } from './pace.ts';
import { removeBlobs, removeFile } from './remove-blobs.ts';

export type BlobGarbageDeps = {
  readonly rows: Pick<GarbageRows, 'blobs' | 'referrersOf' | 'dropBlob' | 'repositoriesOf'>;
  readonly uses: Pick<BlobUseRows, 'usedMs' | 'forgetUnused'>;
  readonly blobs: Pick<BlobStore, 'stat'>;
  readonly files: Pick<BlobFiles, 'parts' | 'digestsIn' | 'removeOlder'>;
  readonly pace: Pace;
  readonly log: Log;
};

export type BlobGarbageConfig = {
  readonly dryRun: boolean;
  readonly nowMs: number;
  readonly usedBeforeMs: number;
  /** Of a dry run: the manifest would have been removed before. */
  readonly isGone: (manifest: Digest) => boolean;
};

/** Manifests that a dry run asks after, to see whether all that refer to a blob would be gone. */
const REFERRERS_MAX = 1000;

export class BlobGarbage {
  readonly #deps: BlobGarbageDeps;
  readonly #config: BlobGarbageConfig;
  readonly #largest = new LargestBlobs();
  readonly removed = new Tally();
  readonly orphans = new Tally();
  readonly lost = new Tally();
  readonly examined = new Tally();

  constructor(deps: BlobGarbageDeps, config: BlobGarbageConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  /** @throws UnavailableError; the signal's reason. */
  async collect(signal: AbortSignal): Promise<void> {
    for (const part of this.#deps.files.parts()) {
      signal.throwIfAborted();
      await this.#collectPart(part, signal);
    }
  }

  /** The largest that were examined so far, and why each is kept or not. */
  async largest(): Promise<readonly BlobFate[]> {
    return await this.#largest.explain(this.#deps.rows, this.#config);
  }

  /** A cache gives it up. */
  evicted(blob: Digest, cache: string): void {
    this.#largest.evicted(blob, cache);
  }

  async #collectPart(part: DigestRange, signal: AbortSignal): Promise<void> {
    const { rows, files, pace } = this.#deps;
    // Before the rows: a blob that is stored meanwhile has a row and is not listed, and is looked at once more.
    const unrecorded = await files.digestsIn(part);
    let { after } = part;
    for (;;) {
      const page = await rows.blobs({ after, before: part.before, limit: PAGE_ROWS });
      const here: BlobUsage[] = [];
      for (const blob of page) {
        if (unrecorded.delete(blob.digest) || !(await this.#isLost(blob))) here.push(blob);
      }
      await this.#collectPage(here, signal);
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_ROWS) break;
      after = last.digest;
      await pace.rest();
    }
    await this.#removeUnrecorded(unrecorded, signal);
  }

  async #collectPage(page: readonly BlobUsage[], signal: AbortSignal): Promise<void> {
    const { dryRun, usedBeforeMs } = this.#config;
    const garbage: BlobUsage[] = [];
    for (const blob of page) {
      this.examined.add(blob.sizeBytes);
      const isGarbage = blob.usedMs < usedBeforeMs && !(await this.#isReferred(blob));
      if (isGarbage) garbage.push(blob);
      this.#largest.offer({ ...blob, isGarbage });
    }
    if (dryRun) {
      for (const { sizeBytes } of garbage) this.removed.add(sizeBytes);
      return;
    }
    const digests = garbage.map(({ digest }) => digest);
    const { count, sizeBytes } = await removeBlobs(this.#deps, digests, {
      ...{ reason: 'unreferenced', usedBeforeMs, signal },
    });
    this.removed.add(sizeBytes, count);
  }

  async #isReferred({ digest, referrer }: BlobUsage): Promise<boolean> {
    const { dryRun, isGone } = this.#config;
    if (referrer === undefined) return false;
    if (!dryRun || !isGone(referrer)) return true;
    const referrers = await this.#deps.rows.referrersOf(digest, REFERRERS_MAX);
    return referrers.length === REFERRERS_MAX || !referrers.every(isGone);
  }

  /** Looks for its file once more; it is forgotten only if nobody stored or used it since its row was read. */
  async #isLost({ digest, sizeBytes, usedMs }: BlobUsage): Promise<boolean> {
    const { blobs, uses, log } = this.#deps;
    if ((await blobs.stat(digest)) !== undefined) return false;
    if (!this.#config.dryRun && !(await uses.forgetUnused(digest, usedMs))) return false;
    this.lost.add(sizeBytes);
    log.error('blob was lost', { digest, bytes: sizeBytes, reason: 'its file is gone' });
    return true;
  }

  async #removeUnrecorded(digests: ReadonlySet<Digest>, signal: AbortSignal): Promise<void> {
    const { dryRun, usedBeforeMs } = this.#config;
    let looked = 0;
    for (const digest of digests) {
      signal.throwIfAborted();
      const limits = { committedBeforeMs: usedBeforeMs, dryRun };
      const bytes = await removeFile(this.#deps, digest, limits);
      if (bytes !== undefined) {
        this.orphans.add(bytes);
        if (!dryRun) this.#deps.log.info('blob removed', { digest, bytes, reason: 'it was never recorded' });
      }
      looked += 1;
      if (looked % PAGE_ROWS === 0) await this.#deps.pace.rest();
    }
  }
}
