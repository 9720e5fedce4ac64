/** The store in memory obeys the law of its seam. */
import { systemRandom } from '#runtime/random.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import { blobStoreSuite } from '#test/suites/blob-store-suite.ts';

blobStoreSuite('memory blob store', async () => ({
  store: openMemoryBlobStore({ random: systemRandom }),
  [Symbol.asyncDispose]: async () => undefined,
}));
