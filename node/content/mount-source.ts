/**
 * From where a blob may be mounted. A mount hands on the right to read a blob, so it must come from a repository that
 * the caller may read: otherwise whoever knows a digest could have the bytes (OCI distribution spec, end-11).
 */
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { BlobRows } from '#storage/metadata.ts';

/** Who may read what. */
export interface ReadGuard {
  mayRead(repository: RepositoryName, context: RequestContext): Promise<boolean>;
}

export type MountSourceDeps = {
  readonly rows: Pick<BlobRows, 'isReadable' | 'repositoriesOf'>;
  /** Default: everybody may read everything. */
  readonly readGuard?: ReadGuard;
};

/** Repositories that are looked at where the client names none; a client that none of them serves uploads. */
const SOURCES_MAX = 100;

/** True when `from`, or where it is not given any repository with the blob, may be read by the caller. */
export async function hasMountSource(
  { rows, readGuard }: MountSourceDeps,
  wanted: { readonly digest: Digest; readonly from: RepositoryName | undefined },
  context: RequestContext,
): Promise<boolean> {
  const { digest, from } = wanted;
  const mayRead = async (repository: RepositoryName) =>
    readGuard === undefined || (await readGuard.mayRead(repository, context));
  if (from !== undefined) return (await rows.isReadable(from, digest)) && (await mayRead(from));
  for (const repository of await rows.repositoriesOf(digest, SOURCES_MAX)) {
    if (await mayRead(repository)) return true;
  }
  return false;
}
