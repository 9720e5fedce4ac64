/**
 * A dot names one claim for ever: the region that made it, the epoch of that region's history, and the sequence
 * number in it. What clients see of it is a version, `<region>.<epoch>.<sequence>`.
 */
import type { Epoch, RegionName, RegionNumber } from './region.ts';

export type Dot = {
  readonly region: RegionNumber;
  readonly epoch: Epoch;
  /** Dense within the epoch, from 1; a safe integer. */
  readonly sequence: number;
};

export function dotEquals(a: Dot, b: Dot): boolean {
  return a.sequence === b.sequence && a.region === b.region && a.epoch === b.epoch;
}

/** Total order used wherever dots are listed: region, epoch, sequence. */
export function compareDots(a: Dot, b: Dot): number {
  if (a.region !== b.region) return a.region - b.region;
  if (a.epoch !== b.epoch) return a.epoch < b.epoch ? -1 : 1;
  return a.sequence - b.sequence;
}

/** The text of `Fairway-Version` for one origin. */
export function versionText(region: RegionName, dot: Pick<Dot, 'epoch' | 'sequence'>): string {
  return `${region}.${dot.epoch}.${dot.sequence}`;
}
