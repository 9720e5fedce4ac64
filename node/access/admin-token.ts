/**
 * The administrator's bearer token: 256 random bits in `<folder>/admin.token`, readable by the owner only. Whoever
 * can read the file may administer the node; there is nothing else to set up on a fresh machine.
 *
 * Comparing hashes of equal length takes the same time for every wrong token.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import type { Log } from '#runtime/log.ts';
import type { Random } from '#runtime/random.ts';
import { readPrivateFile, writePrivateFile } from './private-file.ts';

export const ADMIN_TOKEN_FILE = 'admin.token';

export interface AdminToken {
  /** Takes the same time for every token that is wrong. */
  matches(candidate: string): boolean;
}

const TOKEN_BYTES = 32;
/** 256 bits in base64url; also a token that an administrator wrote there by hand must be as long. */
const TOKEN = /^[A-Za-z0-9_-]{43,256}$/;

/**
 * Reads the token of this folder, or makes it.
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
  const token = (await readPrivateFile(path, 'administrator token', { log }))?.trim();
  if (token === undefined || TOKEN.test(token)) return token;
  throw new TypeError(
    `${path} holds no token (43 characters or more of base64url); remove it to have one made`,
  );
}

async function makeToken(path: string, random: Random): Promise<string> {
  const token = Buffer.from(random.bytes(TOKEN_BYTES)).toString('base64url');
  await writePrivateFile(path, `${token}\n`, { random });
  return token;
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
