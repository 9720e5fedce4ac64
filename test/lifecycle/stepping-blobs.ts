/** Blobs in memory whose every change is one step, and whose commits may be followed by a crash before they are told. */
import type { Clock } from '#runtime/clock.ts';
import type { Random } from '#runtime/random.ts';
import type { BlobFiles, BlobStore, Upload } from '#storage/blob-store.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';

type Files = BlobStore & BlobFiles;

/** `raw` is the same store without steps, to look at. */
export function openSteppingBlobs(
  deps: { readonly clock: Clock; readonly random: Random },
  step: () => Promise<void>,
): { readonly raw: Files; readonly blobs: Files } {
  const raw = openMemoryBlobStore(deps);
  const blobs: Files = {
    ...raw,
    async stat(digest) {
      await step();
      return await raw.stat(digest);
    },
    async delete(digest) {
      await step();
      return await raw.delete(digest);
    },
    async digestsIn(part) {
      await step();
      return await raw.digestsIn(part);
    },
    async removeOlder(digest, removal) {
      await step();
      const removed = await raw.removeOlder(digest, removal);
      await step();
      return removed;
    },
    async startUpload(scope, algorithm) {
      return stepping(await raw.startUpload(scope, algorithm), step);
    },
  };
  return { raw, blobs };
}

function stepping(upload: Upload, step: () => Promise<void>): Upload {
  return {
    id: upload.id,
    get sizeBytes() {
      return upload.sizeBytes;
    },
    append: (source, options) => upload.append(source, options),
    read: (range, signal) => upload.read(range, signal),
    async commit(expected) {
      await step();
      const stat = await upload.commit(expected);
      await step();
      return stat;
    },
    abort: () => upload.abort(),
  };
}
