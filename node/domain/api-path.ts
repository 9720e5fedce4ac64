/**
 * The paths of the distribution API, parsed from the right, because a part of a repository name may itself be
 * called `blobs`, `tags` or `manifests`.
 */
import { parseRepositoryName, type RepositoryName } from './name.ts';

export type ApiPath =
  | { readonly route: 'base' }
  | { readonly route: 'catalog' }
  | { readonly route: 'blob'; readonly repository: RepositoryName; readonly digest: string }
  | { readonly route: 'upload-start'; readonly repository: RepositoryName }
  | { readonly route: 'upload'; readonly repository: RepositoryName; readonly upload: string }
  | { readonly route: 'manifest'; readonly repository: RepositoryName; readonly reference: string }
  | { readonly route: 'tags'; readonly repository: RepositoryName }
  | { readonly route: 'referrers'; readonly repository: RepositoryName; readonly digest: string };

const UPLOAD_START = /^(.+)\/blobs\/uploads\/?$/;
const UPLOAD = /^(.+)\/blobs\/uploads\/([^/]+)$/;
const BLOB = /^(.+)\/blobs\/([^/]+)$/;
const MANIFEST = /^(.+)\/manifests\/([^/]+)$/;
const TAGS = /^(.+)\/tags\/list$/;
const REFERRERS = /^(.+)\/referrers\/([^/]+)$/;

/**
 * `path` is the decoded path without its query. `undefined` for a path that is none of the API's.
 * @throws RegistryError NAME_INVALID for a path of the API with a malformed repository name.
 */
export function parseApiPath(path: string): ApiPath | undefined {
  if (path === '/v2/' || path === '/v2') return { route: 'base' };
  if (!path.startsWith('/v2/')) return undefined;
  const rest = path.slice('/v2/'.length);
  if (rest === '_catalog') return { route: 'catalog' };
  const start = UPLOAD_START.exec(rest);
  if (start !== null) return { route: 'upload-start', repository: named(start) };
  const upload = UPLOAD.exec(rest);
  if (upload !== null) return { route: 'upload', repository: named(upload), upload: second(upload) };
  const blob = BLOB.exec(rest);
  if (blob !== null) return { route: 'blob', repository: named(blob), digest: second(blob) };
  const manifest = MANIFEST.exec(rest);
  if (manifest !== null)
    return { route: 'manifest', repository: named(manifest), reference: second(manifest) };
  const tags = TAGS.exec(rest);
  if (tags !== null) return { route: 'tags', repository: named(tags) };
  const referrers = REFERRERS.exec(rest);
  if (referrers !== null) {
    return { route: 'referrers', repository: named(referrers), digest: second(referrers) };
  }
  return undefined;
}

function named(match: RegExpExecArray): RepositoryName {
  return parseRepositoryName(match[1] ?? '');
}

function second(match: RegExpExecArray): string {
  return match[2] ?? '';
}
