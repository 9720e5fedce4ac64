/**
 * The administrator's bearer token: 256 random bits in `<folder>/admin.token`, readable by the owner only. Whoever
 * can read the file may administer the node; there is nothing else to set up on a fresh machine.
 *
 * The file is written under another name and renamed, so it is never seen half written. Comparing hashes of equal
 * length takes the same time for every wrong token.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '#runtime/log.ts';
import { type Random, randomId } from '#runtime/random.ts';

export const ADMIN_TOKEN_FILE = 'admin.token';

export interface AdminToken {
  /** Takes the same time for every token that is wrong. */
  matches(candidate: string): boolean;
}

const TOKEN_BYTES = 32;
/** 256 bits in base64url; also a token that an administrator wrote there by hand must be as long. */
const TOKEN = /^[A-Za-z0-9_-]{43,256}$/;
const OTHERS = 0o077;

/**
 * Reads the token of this folder, or makes it. A file that others may read is used with a warning: the token may be
 * known already, and refusing to start would not change that.
 * @throws TypeError when the file holds no token; the system's error when it cannot be read or written.
 */
export async function openAdminToken(
  deps: { readonly random: Random; readonly log: Log },
  folder: string,
): Promise<AdminToken> {
  const path = join(folder, ADMIN_TOKEN_FILE);
  const token = (await readToken(path, deps.log)) ?? (await makeToken(path, deps.random));
  const expected = hashOf(token);
  return { matches: (candidate) => timingSafeEqual(hashOf(candidate), expected) };
}

async function readToken(path: string, log: Log): Promise<string | undefined> {
  const text = await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT') return undefined;
    throw thrown;
  });
  if (text === undefined) return undefined;
  const token = text.trim();
  if (!TOKEN.test(token)) {
    throw new TypeError(
      `${path} holds no token (43 characters or more of base64url); remove it to have one made`,
    );
  }
  if (((await stat(path)).mode & OTHERS) !== 0) {
    log.warn('administrator token found readable by others', { path, reason: 'its mode should be 0600' });
  }
  return token;
}

async function makeToken(path: string, random: Random): Promise<string> {
  const token = Buffer.from(random.bytes(TOKEN_BYTES)).toString('base64url');
  const temporary = `${path}.${randomId(random, 4)}`;
  {
    await using file = await open(temporary, 'wx', 0o600);
    await file.writeFile(`${token}\n`);
    await file.sync();
  }
  await rename(temporary, path);
  await using folder = await open(join(path, '..'), 'r');
  await folder.sync();
  return token;
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
