/** The slices of the metadata over an open store: the same ones, whichever dialect the store speaks. */
import type { Log } from '#runtime/log.ts';
import { prepareManifestStatements } from './manifest-statements.ts';
import type { Metadata } from './metadata.ts';
import { openBlobUseRows } from './rows-blob-uses.ts';
import { openBlobRows } from './rows-blobs.ts';
import { openCachedTagRows } from './rows-cached-tags.ts';
import { openClaimRows } from './rows-claims.ts';
import { openGarbageRows } from './rows-garbage.ts';
import { openManifestRows } from './rows-manifests.ts';
import { openTaskRows } from './rows-tasks.ts';
import { openViewRows } from './rows-views.ts';
import type { Store } from './statement.ts';
import { ViewWriteListeners } from './view-write-listeners.ts';

export function openSlices(store: Store, deps: { readonly log: Log }): Omit<Metadata, keyof AsyncDisposable> {
  const manifestStatements = prepareManifestStatements(store.db);
  const viewWrites = new ViewWriteListeners();
  return {
    blobs: openBlobRows(store),
    manifests: openManifestRows(store, manifestStatements),
    views: openViewRows(store),
    claims: openClaimRows(store, manifestStatements, { ...deps, written: (keys) => viewWrites.tell(keys) }),
    tasks: openTaskRows(store),
    cachedTags: openCachedTagRows(store),
    blobUses: openBlobUseRows(store),
    garbage: openGarbageRows(store),
    viewWrites,
  };
}
