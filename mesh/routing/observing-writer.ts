/**
 * Writes of tags that look before they leap: what the other regions hold of the tag is asked for first, and the
 * write's claim covers it. Other writes, and all of them with `observe: local`, go ahead at once.
 */
import type { ClaimWriter, IndexChange } from '#content/claim-writer.ts';
import type { Dot } from '#domain/dot.ts';
import { keyOfChange } from '#mesh/claims/changes.ts';
import type { ClaimsDriver } from '#mesh/claims/driver.ts';
import { keyText } from '#mesh/claims/key-text.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import type { TagObserver } from './tag-observer.ts';

export type ObservingWriterDeps = {
  readonly claims: Pick<ClaimsDriver, 'write'>;
  readonly observer: Pick<TagObserver, 'look'>;
};

export type ObservingWriterConfig = {
  /**
   * `mesh` (default): a tag write costs a round trip to the farthest region that can be reached. `local`: none, and two
   * writes in two regions are in conflict until gossip has carried the first to the second.
   */
  readonly observe?: 'mesh' | 'local';
};

type WriteOptions = Parameters<ClaimWriter['write']>[1];

export class ObservingWriter implements ClaimWriter {
  readonly #deps: ObservingWriterDeps;
  readonly #observe: 'mesh' | 'local';

  constructor(deps: ObservingWriterDeps, { observe = 'mesh' }: ObservingWriterConfig = {}) {
    this.#deps = deps;
    this.#observe = observe;
  }

  async write(changes: readonly IndexChange[], options: WriteOptions): Promise<Dot> {
    const { principal, signal, requestId = '' } = options;
    const keys = this.#observe === 'mesh' ? tagsOf(changes) : [];
    const seen = await this.#deps.observer.look(keys, { requestId, signal });
    return await this.#deps.claims.write(changes, { principal, signal, seen });
  }
}

/** Each tag once. */
function tagsOf(changes: readonly IndexChange[]): readonly ClaimKey[] {
  const keys = changes
    .filter(({ change }) => change === 'set-tag' || change === 'delete-tag')
    .map(keyOfChange)
    .map((key) => [keyText(key), key] as const);
  return [...new Map(keys).values()];
}
