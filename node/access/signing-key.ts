/**
 * The key with which this region signs tokens: ES256, made at the first start, its private half in the data folder
 * and nowhere else. Its public half becomes a claim, so that every region can verify what this one signed.
 *
 * A key's id is `<region number>.<milliseconds at which it was made>`. So a region that lost its disk makes a key
 * with another id, though it does not remember that it ever had one.
 * Source: RFC 7517 for the keys, RFC 7518 for ES256.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { parseRegionNumber, type RegionNumber } from '#domain/region.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Random } from '#runtime/random.ts';
import { canonicalJson } from './account-document.ts';
import { readPrivateFile, writePrivateFile } from './private-file.ts';

export const SIGNING_KEY_FILE = 'signing-key.json';

export type SigningKey = {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
};

const KEY_ID = /^([1-9]\d{0,4})\.(\d{1,15})$/;
const coordinate = z.base64url().length(43);
const publicSchema = z.strictObject({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: coordinate,
  y: coordinate,
});
const fileSchema = z.strictObject({
  id: z.string().regex(KEY_ID),
  key: publicSchema.extend({ d: coordinate }),
});

const generate = promisify(generateKeyPair);

/**
 * Reads the key of this folder, or makes it.
 * @throws TypeError when the file holds no key of this region; the system's error when it cannot be read or written.
 */
export async function openSigningKey(
  deps: { readonly clock: Clock; readonly random: Random; readonly log: Log },
  config: { readonly folder: string; readonly region: RegionNumber },
): Promise<SigningKey> {
  const path = join(config.folder, SIGNING_KEY_FILE);
  const text = await readPrivateFile(path, 'signing key', deps);
  if (text !== undefined) return readKey(text, path, config.region);
  const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' });
  const id = `${config.region}.${Math.floor(deps.clock.nowMs())}`;
  const file = { id, key: privateKey.export({ format: 'jwk' }) };
  await writePrivateFile(path, `${canonicalJson(file)}\n`, deps);
  deps.log.info('signing key made', { reason: id });
  return { id, privateKey, publicKey };
}

/** The region that a key's id belongs to; `undefined` when the text is no such id. */
export function regionOfKey(id: string): RegionNumber | undefined {
  const number = Number(KEY_ID.exec(id)?.[1] ?? 0);
  return number >= 1 && number <= 0xffff ? parseRegionNumber(number) : undefined;
}

/** The public half as it stands in a claim. */
export function publicKeyText({ publicKey }: Pick<SigningKey, 'publicKey'>): string {
  const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });
  return canonicalJson(publicSchema.parse({ kty, crv, x, y }));
}

/** The inverse of `publicKeyText`; `undefined` for everything else. */
export function parsePublicKey(bytes: Uint8Array): KeyObject | undefined {
  try {
    const key = publicSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return createPublicKey({ key, format: 'jwk' });
  } catch {
    return undefined;
  }
}

function readKey(text: string, path: string, region: RegionNumber): SigningKey {
  try {
    const { id, key } = fileSchema.parse(JSON.parse(text));
    if (regionOfKey(id) !== region) throw new TypeError(`it is of region ${regionOfKey(id)}`);
    const privateKey = createPrivateKey({ key, format: 'jwk' });
    return { id, privateKey, publicKey: createPublicKey(privateKey) };
  } catch (cause) {
    // The cause may quote what is in the file, so it is not shown.
    throw new TypeError(`${path} holds no signing key of this region; remove it to have one made`, { cause });
  }
}
