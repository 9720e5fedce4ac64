/**
 * A process that commits until it is killed, for `metadata-sqlite.test.ts`: `committing-child.ts FOLDER` takes the
 * folder's lock, commits one tag after the other, and prints the sequence of each when its commit resolved.
 * With `--large` it commits one batch of 3 MiB and one small one instead, and prints how each ended.
 */
import { join } from 'node:path';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestOf } from '#domain/digest.ts';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { silentLog } from '#runtime/log.ts';
import { lockFolder } from '#storage/folder-lock.ts';
import type { Metadata } from '#storage/metadata.ts';
import { openSqliteMetadata } from '#storage/metadata-sqlite.ts';
import { batch, ownTag } from '#test/suites/claim-rows-suite.ts';
import { image } from '#test/suites/manifest-samples.ts';
import { TEST_EPOCH } from './temporary.ts';

const [folder = '', mode] = process.argv.slice(2);
await using _lock = await lockFolder(folder);
await using metadata = await openSqliteMetadata(
  { path: join(folder, 'metadata.sqlite'), region: parseRegionNumber(1), epochForNewDatabase: TEST_EPOCH },
  { log: silentLog },
);
if (mode === '--large') await commitLargeAndSmall(metadata);
else for (let count = 1; ; count += 1) say(`${await commitTag(metadata, `tag-${count}`)}`);

async function commitTag(metadata: Metadata, name: string): Promise<number> {
  const key = { kind: CLAIM_KIND.tag, repository: 'team/app', name };
  const result = await metadata.claims.commit(batch(ownTag(key, 0)));
  return result.outcome === 'committed' ? result.origin.sequence : -1;
}

async function commitLargeAndSmall(metadata: Metadata): Promise<void> {
  const layers = Array.from({ length: 24_000 }, (_, size) => ({ digest: digestOf(`${size}`), size }));
  const manifest = { ...image({ layers }), repository: 'team/app' };
  try {
    await metadata.claims.commit(batch({ manifests: [manifest] }));
    say('the large batch was committed');
  } catch (thrown) {
    say(`${thrown instanceof UnavailableError}: ${messageOf(thrown)}`);
  }
  say(`${await commitTag(metadata, 'small')}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
