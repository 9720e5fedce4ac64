/**
 * From where a blob may be mounted. A mount hands on the right to read a blob, so it must come from a repository that
 * the caller may read: otherwise whoever knows a digest could have the bytes (OCI distribution spec, end-11).
 */
import type { Digest } from '#domain/digest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { BlobRows } from '#storage/metadata.ts';

/** Repositories that are looked at where the client names none; a client that none of them serves uploads. */
const SOURCES_MAX = 100;

/** True when `from`, or where it is not given any repository with the blob, may be read by the caller. */
export async function hasMountSource(
  rows: Pick<BlobRows, 'isReadable' | 'repositoriesOf'>,
  { digest, from }: { readonly digest: Digest; readonly from: RepositoryName | undefined },
  { permit }: RequestContext,
): Promise<boolean> {
  const mayRead = (repository: RepositoryName) => permit?.allows(repository, 'pull') ?? true;
  if (from !== undefined) return mayRead(from) && (await rows.isReadable(from, digest));
  return (await rows.repositoriesOf(digest, SOURCES_MAX)).some(mayRead);
}
