/** Texts that stand for keys and origins where a map needs one value; none is ever stored or sent. */
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { ClaimKey } from '#storage/metadata.ts';

/** The length keeps repository and name apart. */
export function keyText(key: ClaimKey): string {
  return `${key.kind}.${key.repository.length}.${key.repository}${key.name}`;
}

/** An origin is one region in one epoch. */
export function originText(origin: { readonly region: RegionNumber; readonly epoch: Epoch }): string {
  return `${origin.region}.${origin.epoch}`;
}
