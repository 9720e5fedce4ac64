/**
 * Looks before tag writes, as the real observer makes them: every core region to which a session is open is asked at once
 * what it holds of the tags, over the same lossy paths as all messages, and what has not come in time is left out.
 */
import type { RegionNumber } from '#domain/region.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import type { HeldClaim } from './claim-store.ts';
import type { EventQueue } from './event-queue.ts';
import type { Network } from './network.ts';
import type { RegionProcess } from './region-process.ts';
import type { Trace } from './trace.ts';

export type LooksDeps = {
  readonly queue: EventQueue;
  readonly trace: Trace;
  readonly network: Network;
  readonly processes: readonly RegionProcess[];
};

/** What a writer was told before it wrote. */
export type Look = {
  readonly beganUs: number;
  /** Regions that were heard. */
  readonly answered: ReadonlySet<RegionNumber>;
  readonly claims: readonly HeldClaim[];
};

const BUDGET_US = 150_000;

export class Looks {
  readonly #deps: LooksDeps;
  readonly #budgetUs: number;

  /** `delayMs`: the mean of one way; a look waits for a round trip, and never for less than 150 ms. */
  constructor(deps: LooksDeps, delayMs: number) {
    this.#deps = deps;
    this.#budgetUs = Math.max(BUDGET_US, 2 * delayMs * 1000 + 50_000);
  }

  /** Calls back once, with the last answer or when the time is over. */
  begin(process: RegionProcess, keys: readonly ClaimKey[], ended: (look: Look) => void): void {
    const { queue, trace, network, processes } = this.#deps;
    const beganUs = queue.nowUs;
    const others = processes.filter(
      (other) => other !== process && !other.isEdge && network.isOpen(process.region, other.region),
    );
    const answers = new Map<RegionNumber, readonly HeldClaim[]>();
    let hasEnded = false;
    const end = () => {
      if (hasEnded) return;
      hasEnded = true;
      trace.mark(answers.size === others.length ? 'looks' : 'looks cut short');
      ended({ beganUs, answered: new Set(answers.keys()), claims: [...answers.values()].flat() });
    };
    if (others.length === 0) {
      end();
      return;
    }
    for (const other of others) {
      network.ask(process.region, other.region, {
        answer: () => (other.isListening ? keys.flatMap((key) => other.store.claimsOf(key)) : undefined),
        heard: (claims) => {
          answers.set(other.region, claims);
          if (answers.size === others.length) end();
        },
      });
    }
    queue.after(this.#budgetUs, end);
  }
}
