/**
 * The seam through which content announces what it did: the mesh turns these changes into claims and commits them
 * in one transaction with the manifest they are about. When the promise resolves, all of it is on stable storage.
 */
import type { Digest } from '#domain/digest.ts';
import type { Dot } from '#domain/dot.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { Trace } from '#domain/trace.ts';
import type { PushedManifest } from '#storage/metadata.ts';

export type IndexChange =
  | {
      readonly change: 'set-tag';
      readonly repository: RepositoryName;
      readonly tag: string;
      readonly digest: Digest;
    }
  | { readonly change: 'delete-tag'; readonly repository: RepositoryName; readonly tag: string }
  | {
      readonly change: 'add-manifest';
      readonly repository: RepositoryName;
      readonly manifest: PushedManifest;
    }
  | { readonly change: 'delete-manifest'; readonly repository: RepositoryName; readonly digest: Digest }
  /** An empty `document` deletes the policy. */
  | { readonly change: 'set-policy'; readonly name: string; readonly document: string }
  /**
   * `replaces`: the claim that the document was made from, `undefined` where there was none. When the name has been
   * resolved to another one meanwhile, the write fails: nobody's change to an account is lost unseen.
   */
  | {
      readonly change: 'set-account';
      readonly name: string;
      readonly document: string;
      readonly replaces: Dot | undefined;
    }
  /** The public half of a key that signs tokens. An empty `document` ends it. */
  | { readonly change: 'set-key'; readonly name: string; readonly document: string };

export interface ClaimWriter {
  /** One claim a change, in order, atomically; the answer is the dot of the last one. @throws UnavailableError. */
  write(
    changes: readonly IndexChange[],
    options: {
      readonly principal: string;
      readonly signal: AbortSignal;
      /** Of the request that it is for, where there is one: other regions may be asked on its behalf. */
      readonly requestId?: string;
      readonly trace?: Trace | undefined;
    },
  ): Promise<Dot>;
}
