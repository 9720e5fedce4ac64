/**
 * Manifests that were pulled by tag lately, answered without a look into the database: the busiest question that a
 * registry is asked. A lookup costs 0.2 µs of processor time, two statements and their promises 9.7 µs.
 *
 * What it answers is what the database would answer at some moment between question and answer. A tag is forgotten
 * when a commit that touches it settles, before the writer is told (`ViewWrites`): nobody who saw a write done sees
 * the tag as it was before. Nothing is forgotten by time. What was read while a commit settled is not remembered, and
 * what is remembered is not replaced, so no reader sees a newer digest and then an older one.
 */
import { LRUCache } from 'lru-cache';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { RepositoryName, Tag } from '#domain/name.ts';
import type { ClaimKey, ViewWrites } from '#storage/metadata.ts';

/** Of manifests in memory: some ten thousand usual ones. More would answer the rarer ones sooner. */
const BYTES_MAX = 32 * 1024 * 1024;
/** What an entry takes beside the manifest's bytes. */
const ENTRY_BYTES = 1024;

/** A moment before a read of the database; what was read may be remembered if no write settled since. */
export type ReadMoment = number & { readonly moment: true };

export class WarmManifests<Found extends { readonly bytes: Uint8Array }> implements Disposable {
  readonly #known = new LRUCache<string, Found>({
    maxSize: BYTES_MAX,
    sizeCalculation: ({ bytes }) => bytes.byteLength + ENTRY_BYTES,
  });
  readonly #subscription: Disposable;
  #writes = 0;

  constructor(deps: { readonly viewWrites: ViewWrites }) {
    this.#subscription = deps.viewWrites.onWritten((keys) => this.#forget(keys));
  }

  get(repository: RepositoryName, tag: Tag): Found | undefined {
    return this.#known.get(keyOf(repository, tag));
  }

  /** To be taken before the tag is read. */
  get moment(): ReadMoment {
    return this.#writes as ReadMoment;
  }

  remember(
    repository: RepositoryName,
    tag: Tag,
    read: { readonly found: Found; readonly at: ReadMoment },
  ): void {
    const key = keyOf(repository, tag);
    if (read.at === this.#writes && !this.#known.has(key)) this.#known.set(key, read.found);
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
    this.#known.clear();
  }

  #forget(keys: readonly ClaimKey[]): void {
    this.#writes += 1;
    for (const { kind, repository, name } of keys) {
      if (kind === CLAIM_KIND.tag) this.#known.delete(keyOf(repository, name));
    }
  }
}

function keyOf(repository: string, tag: string): string {
  return `${repository}:${tag}`;
}
