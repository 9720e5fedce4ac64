/**
 * The registry that clients see: the whole distribution API over HTTP/1.1, with or without TLS.
 *
 * One route takes all paths of the API, because names have slashes; `domain/api-path` reads them from the right and
 * one file per noun answers. Source: OCI distribution spec; what clients need beyond it is said where it is done.
 */
import type { ContentReader, ManifestRead } from '#content/reader.ts';
import type { ContentWriter } from '#content/writer.ts';
import { type ApiPath, parseApiPath } from '#domain/api-path.ts';
import type { Digest } from '#domain/digest.ts';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { MANIFEST_BYTES_MAX } from '#domain/manifest.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { RegionName } from '#domain/region.ts';
import type { CachedTagRows, ManifestRows, ViewRows } from '#storage/metadata.ts';
import { type Answer, json, methodNotAllowed } from './answer.ts';
import { type AuthorizationGate, authorize, authorizeAtOnce, TOKEN_PATH } from './authorization.ts';
import { answerBlob } from './blobs.ts';
import { BodyBudget } from './body-budget.ts';
import type { Call } from './call.ts';
import { type CallServerDeps, openCallServer } from './call-server.ts';
import { answerCatalog } from './catalog.ts';
import type { ListenConfig, Listening } from './listener.ts';
import { type AbsentBlobs, answerManifest } from './manifests.ts';
import { answerReferrers } from './referrers.ts';
import { answerTags } from './tags.ts';
import { answerToken, type TokenGate } from './token-endpoint.ts';
import { answerUpload, answerUploadStart } from './uploads.ts';
import type { Health } from './views.ts';

export type RegistryServerDeps = CallServerDeps & {
  /** Who may do what. */
  readonly gate: AuthorizationGate & TokenGate;
  readonly reader: Pick<ContentReader, 'manifest' | 'warmManifest' | 'blob' | 'blobStat'>;
  readonly writer: Pick<
    ContentWriter,
    'startUpload' | 'findUpload' | 'finishUpload' | 'mount' | 'putManifest' | 'deleteManifest' | 'deleteBlob'
  >;
  readonly views: Pick<ViewRows, 'get' | 'list' | 'repositories' | 'withValue'>;
  readonly manifests: Pick<ManifestRows, 'referrers' | 'isLinked' | 'find'>;
  readonly cachedTags: Pick<CachedTagRows, 'list'>;
  readonly health: Pick<Health, 'ready'>;
  /** What this region may originate. Absent: everything. */
  readonly origination?: {
    /** @throws RegistryError DENIED when it may not write this repository. */
    refuseUnlessGranted(repository: RepositoryName): void;
  };
  /** The path by which an nginx in front finds a blob's file. */
  readonly accelRedirect?: (digest: Digest) => string;
};

export type RegistryServerConfig = ListenConfig & {
  /** Named in `Fairway-Version`. */
  readonly region: RegionName;
  /** The largest manifest. Default 4 MiB, which clients limit themselves to. */
  readonly manifestBytesMax?: number;
  /** The largest blob. Default 256 GiB: beyond any layer, and a stop before a disk is filled by mistake. */
  readonly blobBytesMax?: number;
  /**
   * Default `record`: a manifest with blobs that nobody has (a sparse one) is accepted from a caller that may read
   * everything, with a warning, and stays pullable. `refuse`, and any other caller: MANIFEST_BLOB_UNKNOWN.
   */
  readonly absentBlobs?: AbsentBlobs;
};

const WRITES: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);
const BLOB_BYTES_MAX = 256 * 1024 ** 3;

/** Serves until it is disposed. Rejects with the system's error when it cannot listen. */
export async function openRegistryServer(
  deps: RegistryServerDeps,
  config: RegistryServerConfig,
): Promise<Listening> {
  const routes = {
    ...deps,
    region: config.region,
    warmAnswers: new WeakMap<ManifestRead, Answer>(),
    bodies: new BodyBudget(config.manifestBytesMax ?? MANIFEST_BYTES_MAX),
    blobBytesMax: config.blobBytesMax ?? BLOB_BYTES_MAX,
    absentBlobs: config.absentBlobs ?? 'record',
  };
  return await openCallServer(deps, { ...config, name: 'registry' }, (call) => answer(routes, call));
}

type Routes = RegistryServerDeps & {
  readonly region: RegionName;
  readonly warmAnswers: WeakMap<ManifestRead, Answer>;
  readonly bodies: BodyBudget;
  readonly blobBytesMax: number;
  readonly absentBlobs: AbsentBlobs;
};

/** Waits for nothing that is known, so that an answer from memory is written in the turn that it was asked in. */
function answer(routes: Routes, call: Call): Answer | Promise<Answer> {
  if (call.path === TOKEN_PATH) {
    call.route = 'token';
    return answerToken(routes.gate, call);
  }
  const path = parseApiPath(call.path);
  if (path === undefined) {
    throw new RegistryError('UNSUPPORTED', 'this path is none of the registry API', { status: 404 });
  }
  call.route = path.route;
  if (path.route === 'base') refuseUnlessReady(routes);
  if (authorizeAtOnce(routes.gate, call)) return admitted(routes, call, path);
  return authorize(routes.gate, call, path).then(() => admitted(routes, call, path));
}

function admitted(routes: Routes, call: Call, path: ApiPath): Answer | Promise<Answer> {
  if ('repository' in path && WRITES.has(call.method))
    routes.origination?.refuseUnlessGranted(path.repository);
  switch (path.route) {
    case 'manifest':
      return answerManifest(routes, call, path);
    case 'blob':
      return answerBlob(routes, call, path);
    case 'upload-start':
      return answerUploadStart(routes, call, path);
    case 'upload':
      return answerUpload(routes, call, path);
    case 'tags':
      return answerTags(routes, call, path);
    case 'referrers':
      return answerReferrers(routes, call, path);
    case 'catalog':
      return answerCatalog(routes, call);
    case 'base':
      return answerBase(call);
  }
}

/** Clients and load balancers begin here, so a node that is not ready says so here and the next one is taken. */
function refuseUnlessReady(routes: Routes): void {
  const reasons = routes.health.ready();
  if (reasons.length > 0) throw new UnavailableError('this node is not ready', { tried: reasons });
}

function answerBase(call: Call): Answer {
  if (call.method !== 'GET' && call.method !== 'HEAD') throw methodNotAllowed(call.method, ['GET', 'HEAD']);
  return json(200, {});
}
