/**
 * P5 over a run: every write of a tag that some client was told of, and whether the writes that began after it, and
 * whose look was answered by its region, have seen it.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Dot, dotEquals } from '#domain/dot.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import { keyText } from './claim-store.ts';
import { p5LookedIsCovered } from './invariants.ts';
import type { KnownClaim } from './ledger.ts';
import type { Look } from './looks.ts';

type ToldWrite = { readonly key: ClaimKey; readonly dot: Dot; readonly atUs: number };

export class ToldWrites {
  /** Key → the writes of it, oldest first. */
  readonly #told = new Map<string, readonly ToldWrite[]>();

  /** A client was told of this write at `atUs`. Answers what is wrong with it, for each earlier write that it has not seen. */
  tell(claim: KnownClaim, look: Look | undefined, atUs: number): readonly (string | undefined)[] {
    // Only tags are looked at.
    if (claim.key.kind !== CLAIM_KIND.tag) return [];
    const key = keyText(claim.key);
    const told = this.#told.get(key) ?? [];
    // A delete that found nothing to delete is answered with an earlier claim, which could not know of this look.
    if (told.some(({ dot }) => dotEquals(dot, claim.dot))) return [];
    this.#told.set(key, [...told, { key: claim.key, dot: claim.dot, atUs }]);
    return told
      .filter((earlier) => look?.answered.has(earlier.dot.region) === true && earlier.atUs <= look.beganUs)
      .map(({ dot }) => p5LookedIsCovered(claim, dot));
  }

  /** What a restore took away can be told to nobody who looks there. */
  forget(isLost: (key: ClaimKey, dot: Dot) => boolean): void {
    for (const [text, told] of this.#told) {
      this.#told.set(
        text,
        told.filter(({ key, dot }) => !isLost(key, dot)),
      );
    }
  }
}
