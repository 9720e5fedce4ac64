/**
 * Small files that only their owner may read: tokens and keys in a node's data folder.
 *
 * Each is written under another name and renamed, so it is never seen half written. One that others may read is used
 * with a warning: what is in it may be known already, and refusing to start would not change that.
 */
import { open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '#runtime/log.ts';
import { type Random, randomId } from '#runtime/random.ts';

const OTHERS = 0o077;

/** `undefined` when there is no such file. `what` begins the warning. Rejects with the system's error. */
export async function readPrivateFile(
  path: string,
  what: string,
  deps: { readonly log: Log },
): Promise<string | undefined> {
  const text = await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT') return undefined;
    throw thrown;
  });
  if (text !== undefined && ((await stat(path)).mode & OTHERS) !== 0) {
    deps.log.warn(`${what} found readable by others`, { path, reason: 'its mode should be 0600' });
  }
  return text;
}

/** On stable storage when it resolves. Rejects with the system's error. */
export async function writePrivateFile(
  path: string,
  text: string,
  deps: { readonly random: Random },
): Promise<void> {
  const temporary = `${path}.${randomId(deps.random, 4)}`;
  {
    await using file = await open(temporary, 'wx', 0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(temporary, path);
  await using folder = await open(join(path, '..'), 'r');
  await folder.sync();
}
