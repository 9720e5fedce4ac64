/**
 * A registry that is killed, for `durability-steps.test.ts`: `registry-child.ts FOLDER [FAULT]` serves the folder with
 * the production stores, without the mesh's links, and prints its port. It ends when its input does.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import type { ClaimWriter } from '#content/claim-writer.ts';
import { mintEpoch, parseRegionNumber } from '#domain/region.ts';
import { judgeMark } from '#mesh/claims/mark-verdict.ts';
import { systemClock } from '#runtime/clock.ts';
import { silentLog } from '#runtime/log.ts';
import { randomId, systemRandom } from '#runtime/random.ts';
import { openFilesystemBlobStore } from '#storage/blob-store-filesystem.ts';
import { lockFolder } from '#storage/folder-lock.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openSqliteMetadata } from '#storage/metadata-sqlite.ts';
import { MarkFile } from '#storage/rollback-mark.ts';
import { openContentServer } from '#test/http/content-server.ts';

const [folder = '', fault = 'none'] = process.argv.slice(2);
await using _lock = await lockFolder(folder);
const path = join(folder, 'metadata.sqlite');
await using mark = await MarkFile.open({ mark: join(folder, 'mark.json'), database: path });
const epochForNewDatabase = mintEpoch(systemClock.nowMs(), 0);
await using metadata = await openSqliteMetadata(
  { path, region: parseRegionNumber(1), epochForNewDatabase },
  { log: silentLog },
);
const verdict = judgeMark(mark.mark, await mark.start(randomId(systemRandom)));
await using server = await openContentServer(
  {
    metadata: fault === 'blob-acknowledged-early' ? withoutWaiting(metadata) : metadata,
    blobs: await openFilesystemBlobStore({ root: folder }, { random: systemRandom, clock: systemClock }),
    sources: { of: async () => [] },
    verdict,
    claimWriterOver: (claims) => (fault === 'manifest-acknowledged-early' ? hasty(claims) : claims),
  },
  {},
);
await mark.confirm();
process.stdout.write(`${server.port}\n`);
await finished(process.stdin.resume());

function withoutWaiting(store: Metadata): Metadata {
  return {
    ...store,
    blobs: {
      ...store.blobs,
      async record(...args) {
        void store.blobs.record(...args);
      },
    },
  };
}

/** Answers what the last write was given. */
function hasty(claims: ClaimWriter): ClaimWriter {
  let last: Awaited<ReturnType<ClaimWriter['write']>> | undefined;
  return {
    async write(changes, options) {
      const written = claims.write(changes, options);
      last ??= await written;
      assert.ok(last !== undefined);
      return last;
    },
  };
}
