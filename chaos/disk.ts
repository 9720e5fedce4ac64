/**
 * A region's disk on virtual time: reads take a moment and are answered from what is committed; one writer commits
 * in order, each commit with its own flush. A crash drops everything that is under way: queued commits are lost, the
 * one being flushed may or may not be found afterwards, and no answer arrives. A full disk refuses commits.
 */
import type { ClaimBatch, ClaimCommit, EpochChange, OriginRow } from '#storage/metadata.ts';
import type { ClaimStore, Committed } from './claim-store.ts';
import type { EventQueue } from './event-queue.ts';
import type { Prng } from './prng.ts';
import type { DiskPlan } from './scenario.ts';
import type { Trace } from './trace.ts';

export type DiskDeps = {
  readonly queue: EventQueue;
  readonly trace: Trace;
  readonly prng: Prng;
  readonly store: ClaimStore;
  /** Called in the moment in which a commit becomes durable. */
  readonly onCommitted: (batch: ClaimBatch, committed: Committed) => void;
};

export type CommitAnswer = { readonly result: ClaimCommit } | { readonly failed: string };

export type EpochAnswer = { readonly origin: OriginRow } | { readonly failed: string };

/** `execute` writes and answers how to tell; `survive` is what a crash may have left of it. */
type Writing = {
  readonly execute: () => () => void;
  readonly refuse: (reason: string) => void;
  /** True when something was written. */
  readonly survive: () => boolean;
};

export class Disk {
  readonly #deps: DiskDeps;
  #plan: DiskPlan;
  #writing: Writing[] = [];
  #full = false;
  #unanswered = 0;
  /** Raised by a crash: whatever was planned before it never happens. */
  #life = 0;

  constructor(deps: DiskDeps, plan: DiskPlan) {
    this.#deps = deps;
    this.#plan = plan;
  }

  get pending(): number {
    return this.#writing.length;
  }

  setFull(full: boolean): void {
    this.#full = full;
  }

  /** Ends slowness and fullness. */
  heal(plan: DiskPlan): void {
    this.#plan = plan;
    this.#full = false;
  }

  read<Rows>(read: (store: ClaimStore) => Rows, answer: (rows: Rows) => void): void {
    this.#after(this.#delayUs(this.#plan.readMs), () => {
      const rows = read(this.#deps.store);
      this.#after(this.#delayUs(this.#plan.readMs / 2), () => answer(rows));
    });
  }

  commit(batch: ClaimBatch, answer: (answer: CommitAnswer) => void): void {
    this.#write({
      execute: () => {
        const result = this.#execute(batch);
        return () => answer({ result });
      },
      refuse: (failed) => answer({ failed }),
      survive: () => this.#apply(batch, this.#deps.store).outcome === 'committed',
    });
  }

  beginEpoch(change: EpochChange, answer: (answer: EpochAnswer) => void): void {
    const { store } = this.#deps;
    this.#write({
      execute: () => {
        const origin = store.beginEpoch(change);
        return () => answer({ origin });
      },
      refuse: (failed) => answer({ failed }),
      survive: () => store.beginEpoch(change).epoch === change.epoch,
    });
  }

  crash(): void {
    const { prng, trace } = this.#deps;
    trace.mark('commits unanswered in a crash', this.#unanswered);
    const [first] = this.#writing;
    const survives = first !== undefined && !this.#full && prng.chance(this.#plan.survival);
    if (survives && first.survive()) {
      trace.mark('commits unanswered in a crash');
    }
    trace.mark('commits lost in a crash', this.#writing.length - (survives ? 1 : 0));
    this.#writing = [];
    this.#unanswered = 0;
    this.#life += 1;
  }

  #write(writing: Writing): void {
    this.#writing.push(writing);
    if (this.#writing.length === 1) this.#writeNext();
  }

  #writeNext(): void {
    const [writing] = this.#writing;
    if (writing === undefined) return;
    this.#after(this.#delayUs(this.#plan.commitMs), () => {
      this.#writing.shift();
      const answer = this.#answerOf(writing);
      this.#unanswered += 1;
      this.#after(this.#delayUs(this.#plan.commitMs / 10), () => {
        this.#unanswered -= 1;
        answer();
      });
      this.#writeNext();
    });
  }

  #answerOf(writing: Writing): () => void {
    if (!this.#full) return writing.execute();
    this.#deps.trace.mark('full disks');
    return () => writing.refuse('the disk is full');
  }

  #execute(batch: ClaimBatch): ClaimCommit {
    const { store, prng } = this.#deps;
    if (prng.chance(this.#plan.rivalry)) store.raiseRevisions(batch.guards.map((guard) => guard.key));
    const result = this.#apply(batch, store);
    if (result.outcome === 'conflict') this.#deps.trace.mark('stale commits');
    return result;
  }

  #apply(batch: ClaimBatch, store: ClaimStore): ClaimCommit {
    return store.commit(batch, (committed) => this.#deps.onCommitted(batch, committed));
  }

  #delayUs(meanMs: number): number {
    return this.#deps.prng.skewed(meanMs * 1000);
  }

  #after(delayUs: number, run: () => void): void {
    const life = this.#life;
    this.#deps.queue.after(delayUs, () => {
      if (life === this.#life) run();
    });
  }
}
