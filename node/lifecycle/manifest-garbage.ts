/**
 * Manifests that were deleted longer ago than the grace, and that nothing in their repository needs.
 *
 * Whether one may go is decided by its repository alone, parents before children: an index that has left names nobody,
 * so its children leave in the next pass. What was never deleted stays, tagged or not, and so does what only a cache
 * knows of. A dry run removes nothing, and keeps in mind what has left so far, to see what would leave next.
 */
import type { Digest } from '#domain/digest.ts';
import type { Log } from '#runtime/log.ts';
import type {
  DeletedManifest,
  GarbageRows,
  LinkedManifest,
  ManifestLimits,
} from '#storage/metadata-garbage.ts';
import { Tally } from './garbage-run.ts';
import { PAGE_ROWS, type Pace } from './pace.ts';

export type ManifestGarbageDeps = {
  readonly rows: Pick<GarbageRows, 'deletedManifests' | 'needsOf' | 'unlinkManifest' | 'repositoriesOf'>;
  readonly pace: Pace;
  readonly log: Log;
};

export type ManifestGarbageConfig = ManifestLimits & { readonly dryRun: boolean };

/** Indexes of indexes: one pass more than anything is deep. What is deeper leaves in the next run. */
const PASSES_MAX = 10;
/** What a dry run keeps in mind, some 20 MB; it tells of so many manifests at most. */
const LEAVING_MAX = 100_000;
/** A manifest in more repositories than this is taken to stay, in a dry run. */
const REPOSITORIES_MAX = 1000;

export class ManifestGarbage {
  readonly #deps: ManifestGarbageDeps;
  readonly #config: ManifestGarbageConfig;
  /** Of a dry run: what would have left its repository by now, and what would have left its last one. */
  readonly #leaving = new Set<string>();
  readonly #gone = new Set<Digest>();
  readonly removed = new Tally();

  constructor(deps: ManifestGarbageDeps, config: ManifestGarbageConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  /** Of a dry run: this manifest's references would be gone. */
  isGone(manifest: Digest): boolean {
    return this.#gone.has(manifest);
  }

  /** @throws UnavailableError; the reason of the run's signal. */
  async collect(): Promise<void> {
    for (let pass = 0; pass < PASSES_MAX; pass += 1) {
      if ((await this.#pass()) === 0) return;
    }
  }

  /** How many left. */
  async #pass(): Promise<number> {
    const { rows, pace } = this.#deps;
    const { deletedBeforeMs } = this.#config;
    const before = this.removed.count;
    let after = { deletedMs: -1, row: 0 };
    for (;;) {
      const page = await rows.deletedManifests({ deletedBeforeMs, after, limit: PAGE_ROWS });
      for (const manifest of page) {
        if (manifest.sizeBytes !== undefined) await this.#consider(manifest, manifest.sizeBytes);
      }
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_ROWS) return this.removed.count - before;
      after = last.place;
      await pace.rest();
    }
  }

  async #consider({ repository, digest }: DeletedManifest, sizeBytes: number): Promise<void> {
    const manifest = { repository, digest };
    if (this.#leaving.has(keyOf(manifest)) || (await this.#isNeeded(manifest))) return;
    if (this.#config.dryRun) return await this.#pretend(manifest, sizeBytes);
    const unlinked = await this.#deps.rows.unlinkManifest(manifest, this.#config);
    if (unlinked === undefined) return;
    const bytes = unlinked.removedBytes ?? 0;
    this.removed.add(bytes);
    this.#deps.log.info('manifest removed', { ...manifest, bytes, reason: 'deleted' });
  }

  async #isNeeded(manifest: LinkedManifest): Promise<boolean> {
    const needs = await this.#deps.rows.needsOf(manifest, this.#config);
    if (needs.tag !== undefined || needs.conflict !== undefined) return true;
    const { repository } = manifest;
    return needs.parents.some((digest) => !this.#leaving.has(keyOf({ repository, digest })));
  }

  async #pretend(manifest: LinkedManifest, sizeBytes: number): Promise<void> {
    if (this.#leaving.size >= LEAVING_MAX) return;
    this.#leaving.add(keyOf(manifest));
    const { digest } = manifest;
    const repositories = await this.#deps.rows.repositoriesOf(digest, REPOSITORIES_MAX);
    const isLast =
      repositories.length < REPOSITORIES_MAX &&
      repositories.every((repository) => this.#leaving.has(keyOf({ repository, digest })));
    if (isLast) this.#gone.add(digest);
    this.removed.add(isLast ? sizeBytes : 0);
  }
}

function keyOf({ repository, digest }: LinkedManifest): string {
  return `${repository}\n${digest}`;
}
