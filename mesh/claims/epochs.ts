/**
 * When this region's history ends while it runs, and another begins: a peer that holds more of our epoch than we do
 * proves that we were set back to an older state, which the mark did not show (`mark-verdict.ts`).
 *
 * Until the epoch has begun no write is decided: what is decided carries its epoch. The epoch that ended is from then
 * on an origin like any other: it is followed from the peers, which brings back what was lost here, and passed on.
 */
import { type CoreState, noteHead } from './core-state.ts';
import type { OriginCursor } from './message.ts';

export class Epochs {
  readonly #state: CoreState;
  /** The newest sequence of our epoch that a peer was heard to hold. */
  #heard = 0;
  #isBeginning = false;
  /** The store refused: the next tick tries again. */
  #isResting = false;

  constructor(state: CoreState) {
    this.#state = state;
  }

  /** False while no write of our own may be decided. */
  get isOpen(): boolean {
    return !this.#isBeginning && this.#heard <= this.#state.own.have;
  }

  /** What a peer says that it holds. */
  heard(cursors: readonly OriginCursor[]): void {
    const { region, epoch } = this.#state.own;
    const cursor = cursors.find((other) => other.region === region && other.epoch === epoch);
    if (cursor !== undefined) this.#heard = Math.max(this.#heard, cursor.have);
  }

  tick(): void {
    this.#isResting = false;
  }

  /** To be called after every input. A commit that is under way may be what the peer has heard of already. */
  review(): void {
    const { own, lastQuestion } = this.#state;
    if (this.#isBeginning || this.#isResting || this.#heard <= own.have) return;
    if (this.#state.hasOwnCommitSince(lastQuestion)) return;
    this.#isBeginning = true;
    this.#state.beginEpoch(
      { former: own.epoch, below: this.#heard },
      (origin) => {
        this.#isBeginning = false;
        if (origin.epoch === own.epoch) {
          // Another process of the region committed what the peer holds.
          own.have = Math.max(own.have, origin.sequence);
          own.safe = own.have;
          return;
        }
        this.#state.closeEpoch(origin);
        noteHead(own, this.#heard, this.#state.nowMs);
        this.#heard = 0;
        this.#state.emit({ output: 'event', event: { event: 'epoch-begun', reason: 'peer-ahead' } });
      },
      () => {
        this.#isBeginning = false;
        this.#isResting = true;
      },
    );
  }
}
