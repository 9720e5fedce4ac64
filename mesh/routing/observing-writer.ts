/**
 * Writes of tags that look before they leap: what the other regions hold of the tag is asked for first, and the
 * write's claim covers it. Other writes go ahead at once.
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

type WriteOptions = Parameters<ClaimWriter['write']>[1];

export class ObservingWriter implements ClaimWriter {
  readonly #deps: ObservingWriterDeps;

  constructor(deps: ObservingWriterDeps) {
    this.#deps = deps;
  }

  async write(changes: readonly IndexChange[], options: WriteOptions): Promise<Dot> {
    const { principal, signal, requestId = '', trace } = options;
    const seen = await this.#deps.observer.look(tagsOf(changes), { requestId, trace, signal });
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
