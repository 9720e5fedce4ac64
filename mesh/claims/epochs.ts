/**
 * When this region's history ends and another begins. A region that was set back to an older state must not give a
 * sequence number twice, and peers that hold more of an epoch than its own region are the proof that it was.
 *
 * While there is doubt, or an epoch is about to begin, no write is decided: what is decided carries its epoch. The
 * epoch that ended is from then on an origin like any other: it is followed from the peers, which brings back what
 * was lost here, and passed on to them.
 *
 * Limit: what a peer has received of us but not stored when it answers is not counted, so that a restore must take
 * longer than a peer's storing of a delta, some 100 ms.
 */
import type { RegionNumber } from '#domain/region.ts';
import { type CoreState, noteHead } from './core-state.ts';
import type { EpochReason } from './mark-verdict.ts';
import type { OriginCursor } from './message.ts';

/** How long a write waits for peers that are silent. Longer lets slow ones answer and holds pushes up. */
const DOUBT_MS = 5000;

export class Epochs {
  readonly #state: CoreState;
  /** Peers that have not said yet what they hold of us; `undefined` when there is no doubt. */
  #unheard: Set<RegionNumber> | undefined;
  #doubtedSinceMs: number | undefined;
  /** The newest sequence of the epoch that a peer was heard to hold. */
  #heard = 0;
  #isBeginning = false;
  /** The store refused: the next tick tries again. */
  #isResting = false;

  constructor(state: CoreState, isDoubted: boolean) {
    this.#state = state;
    this.#unheard = isDoubted && state.peers.length > 0 ? new Set(state.peers) : undefined;
  }

  /** False while no write of our own may be decided. */
  get isOpen(): boolean {
    return !this.isDoubted && !this.#isBeginning && this.#heard <= this.#state.own.have;
  }

  get isDoubted(): boolean {
    return this.#unheard !== undefined;
  }

  /** What a peer says that it holds. `isAll`: whatever is not named, it does not hold. */
  heard(from: RegionNumber, cursors: readonly OriginCursor[], isAll: boolean): void {
    const { region, epoch } = this.#state.own;
    for (const cursor of cursors) {
      if (cursor.region === region && cursor.epoch === epoch)
        this.#heard = Math.max(this.#heard, cursor.have);
    }
    if (isAll) this.#unheard?.delete(from);
  }

  tick(): void {
    this.#isResting = false;
  }

  /** To be called after every input. `isWaited`: writes wait for this to be open. */
  review(isWaited: boolean): void {
    this.#doubtedSinceMs ??= this.#state.nowMs;
    if (this.#isBeginning || this.#isResting) return;
    if (this.#heard > this.#state.own.have) {
      // A commit that is under way may be what the peer has heard of already.
      if (!this.#state.hasOwnCommitSince(this.#state.lastQuestion)) this.#begin('peer-ahead', this.#heard);
      return;
    }
    if (this.#unheard?.size === 0) this.#unheard = undefined;
    if (this.#unheard === undefined || !isWaited) return;
    if (this.#state.hasPassed(this.#doubtedSinceMs, DOUBT_MS))
      this.#begin('peer-silent', Number.MAX_SAFE_INTEGER);
  }

  #begin(reason: EpochReason, below: number): void {
    this.#isBeginning = true;
    const former = this.#state.own;
    this.#state.beginEpoch(
      { former: former.epoch, below },
      (origin) => {
        this.#isBeginning = false;
        if (origin.epoch === former.epoch) {
          former.have = Math.max(former.have, origin.sequence);
          former.safe = former.have;
          return;
        }
        this.#state.closeEpoch(origin);
        noteHead(former, this.#heard, this.#state.nowMs);
        this.#heard = 0;
        this.#unheard = undefined;
        this.#state.emit({ output: 'event', event: { event: 'epoch-begun', reason } });
      },
      () => {
        this.#isBeginning = false;
        this.#isResting = true;
      },
    );
  }
}
