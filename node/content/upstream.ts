/**
 * The seams that content owns: whom a fill may read from, and who knows a tag that this region does not.
 *
 * A peer region and an external registry are both an `Upstream`; `Sources` says which to ask, best first. Both are
 * implemented by mesh/routing (peers) and node/proxy (registries) and joined in `node/node.ts`.
 */
import type { Digest } from '#domain/digest.ts';
import type { Reference, RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';

export interface Upstream {
  /** For logs, errors and provenance: the region's or the upstream registry's name. */
  readonly name: string;
  readonly kind: 'region' | 'registry';
  /**
   * Bytes from `offset` to the end. `undefined`: it does not have the blob (404).
   * @throws UnavailableError when it does not answer, answers nonsense, or ends early (the iteration throws then).
   */
  openBlob(
    request: UpstreamRequest & { readonly digest: Digest; readonly offset: number },
    context: RequestContext,
  ): Promise<UpstreamBlob | undefined>;
  /** The manifest, byte for byte, its digest already verified. `undefined`: it does not have it. @throws UnavailableError. */
  fetchManifest(
    request: UpstreamRequest & { readonly reference: Reference },
    context: RequestContext,
  ): Promise<UpstreamManifest | undefined>;
}

/** The repository as it is named here; an upstream maps it to its own name. */
export type UpstreamRequest = { readonly repository: RepositoryName };
/** `sizeBytes` is the size of the whole blob, whatever the offset. Returning the iterator closes the connection. */
export type UpstreamBlob = { readonly sizeBytes: number; readonly body: AsyncIterable<Uint8Array> };
export type UpstreamManifest = {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
};

/** Who may have some content of a repository, best first. Empty: nobody does. Never asks the network for more than its budget. */
export interface Sources {
  of(repository: RepositoryName, digest: Digest, context: RequestContext): Promise<readonly Upstream[]>;
}

/** Who knows a tag that this region cannot resolve alone. */
export interface TagOracle {
  /**
   * @returns `found` with the digest and who said so; `absent` when everyone who could know said no;
   * `unknown` with those who were silent, when absence is not proven.
   */
  resolve(repository: RepositoryName, tag: string, context: RequestContext): Promise<TagAnswer>;
}

export type TagAnswer =
  | {
      readonly outcome: 'found';
      readonly digest: Digest;
      readonly source: ContentSource;
      readonly manifest?: UpstreamManifest;
    }
  | { readonly outcome: 'absent' }
  | { readonly outcome: 'unknown'; readonly silent: readonly string[] };

/** Answered to clients as `Fairway-Source`; `name` is the region or registry. */
export type ContentSource = {
  readonly kind: 'local' | 'region' | 'upstream' | 'stale';
  readonly name: string;
};
