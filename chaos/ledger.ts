/**
 * The model: what is true, kept apart from the core under test. It records every claim in the moment in which it
 * becomes durable at its origin, together with what that region had seen of the same key until then: directly, or
 * through what others had seen. From this follows which claims a region must consider replaced, without a look at
 * the contexts that the core wrote. Of what it was told by a look at others, a claim has seen what its context names:
 * nobody must write what it looked for, but who did and says so has seen it. It also keeps a fingerprint of each origin's map after every sequence number.
 *
 * A region that is set back to an older state has not seen, from then on, what it saw after that.
 */
import type { Dot } from '#domain/dot.ts';
import type { HybridTime } from '#domain/hybrid-time.ts';
import type { RegionNumber } from '#domain/region.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import { type HeldClaim, keyText, originText } from './claim-store.ts';

/** The newest sequence number by origin (as text: region and epoch), of one key. */
export type Past = ReadonlyMap<string, number>;

/** What the core's own codec reads from a claim's bytes, reduced to what is checked. */
export type ReadClaim = {
  readonly live: boolean;
  readonly value: Uint8Array;
  readonly principal: string;
  /** The claims that it says it replaces. */
  readonly context: readonly Dot[];
};

export type KnownClaim = HeldClaim &
  ReadClaim & {
    readonly time: HybridTime;
    /** What its region had seen of the key when it was committed. */
    readonly saw: Past;
  };

/** What one region has applied of one key. */
export type Knowledge = {
  /** Every claim that it knows of, directly or through others. */
  readonly seen: Past;
  /** What the applied claims have replaced; nothing of it may ever be visible again. */
  readonly replaced: Past;
  /** The part of it that deletes replaced. */
  readonly deleted: Past;
};

/** Knowledge by key. */
export type RegionMemory = ReadonlyMap<string, Knowledge>;

export type Fingerprint = { readonly count: number; readonly sum: number };

type MutableKnowledge = {
  readonly seen: Map<string, number>;
  readonly replaced: Map<string, number>;
  readonly deleted: Map<string, number>;
  /** What others have told this region in looks. */
  readonly looked: Map<string, number>;
};
type OriginHistory = {
  readonly claims: KnownClaim[];
  readonly newest: Map<string, KnownClaim>;
  readonly fingerprints: Fingerprint[];
};

export class Ledger {
  readonly #read: (bytes: Uint8Array) => ReadClaim;
  readonly #origins = new Map<string, OriginHistory>();
  /** By region, then by key. */
  readonly #knowledge = new Map<RegionNumber, Map<string, MutableKnowledge>>();

  constructor(read: (bytes: Uint8Array) => ReadClaim) {
    this.#read = read;
  }

  /** A claim became durable at its origin. Answers what already stands under its dot, instead of recording it. */
  recordOwn(held: HeldClaim, time: HybridTime): KnownClaim | undefined {
    const history = this.#history(held);
    const earlier = history.claims[held.dot.sequence - 1];
    if (earlier !== undefined) return earlier;
    const knowledge = this.#knowledgeOf(held.dot.region, held.key);
    const read = this.#read(held.bytes);
    const saw = new Map(knowledge.seen);
    for (const seen of read.context) {
      const origin = originText(seen);
      raise(saw, origin, Math.min(seen.sequence, knowledge.looked.get(origin) ?? 0));
    }
    const claim: KnownClaim = { ...held, ...read, time, saw };
    history.claims.push(claim);
    const former = history.newest.get(keyText(held.key));
    history.newest.set(keyText(held.key), claim);
    const last = history.fingerprints.at(-1) ?? { count: 0, sum: 0 };
    history.fingerprints.push({
      count: last.count + (former === undefined ? 1 : 0),
      sum: (last.sum + held.hash - (former?.hash ?? 0)) >>> 0,
    });
    learn(knowledge, claim);
    return undefined;
  }

  /** A region applied another's claim. */
  recordForeign(region: RegionNumber, claim: KnownClaim): void {
    learn(this.#knowledgeOf(region, claim.key), claim);
  }

  /** A region stored another's claim, and takes nothing that it says: only that it is there. */
  recordRefused(region: RegionNumber, claim: KnownClaim): void {
    raise(this.#knowledgeOf(region, claim.key).seen, originText(claim.dot), claim.dot.sequence);
  }

  /** A region was told of another's claim in a look. */
  recordLooked(region: RegionNumber, held: HeldClaim): void {
    const { looked } = this.#knowledgeOf(region, held.key);
    join(looked, this.find(held.dot)?.saw ?? new Map());
    raise(looked, originText(held.dot), held.dot.sequence);
  }

  find(dot: HeldClaim['dot']): KnownClaim | undefined {
    return this.#origins.get(originText(dot))?.claims[dot.sequence - 1];
  }

  knowledge(region: RegionNumber, key: ClaimKey): Knowledge {
    return this.#knowledgeOf(region, key);
  }

  /** What a region knows at this moment, to be given to `setBack` later. */
  memory(region: RegionNumber): RegionMemory {
    return copied(this.#knowledge.get(region) ?? new Map<string, MutableKnowledge>());
  }

  /** The region was restored to an older state: it knows what it knew then. */
  setBack(region: RegionNumber, memory: RegionMemory): void {
    this.#knowledge.set(region, copied(memory));
  }

  /** The origin's map as it was right after `sequence`; `undefined` when it never came that far. */
  fingerprint(origin: { readonly region: RegionNumber; readonly epoch: string }, sequence: number) {
    if (sequence === 0) return { count: 0, sum: 0 };
    return this.#origins.get(originText(origin))?.fingerprints[sequence - 1];
  }

  /** The last sequence number that is durable at the origin. */
  head(origin: { readonly region: RegionNumber; readonly epoch: string }): number {
    return this.#origins.get(originText(origin))?.claims.length ?? 0;
  }

  #history({ dot }: HeldClaim): OriginHistory {
    const text = originText(dot);
    const history = this.#origins.get(text) ?? { claims: [], newest: new Map(), fingerprints: [] };
    this.#origins.set(text, history);
    return history;
  }

  #knowledgeOf(region: RegionNumber, key: ClaimKey): MutableKnowledge {
    const keys = this.#knowledge.get(region) ?? new Map<string, MutableKnowledge>();
    this.#knowledge.set(region, keys);
    const text = keyText(key);
    const known = keys.get(text) ?? {
      seen: new Map(),
      replaced: new Map(),
      deleted: new Map(),
      looked: new Map(),
    };
    keys.set(text, known);
    return known;
  }
}

function copied(memory: RegionMemory): Map<string, MutableKnowledge> {
  return new Map(
    [...memory].map(([key, { seen, replaced, deleted }]): [string, MutableKnowledge] => [
      key,
      // What looks told is not kept: it was never on a disk.
      { seen: new Map(seen), replaced: new Map(replaced), deleted: new Map(deleted), looked: new Map() },
    ]),
  );
}

/** True when the past includes the claim. */
export function includes(past: Past, { dot }: Pick<HeldClaim, 'dot'>): boolean {
  return (past.get(originText(dot)) ?? 0) >= dot.sequence;
}

function learn(knowledge: MutableKnowledge, claim: KnownClaim): void {
  join(knowledge.seen, claim.saw);
  raise(knowledge.seen, originText(claim.dot), claim.dot.sequence);
  join(knowledge.replaced, claim.saw);
  if (!claim.live) join(knowledge.deleted, claim.saw);
}

function join(into: Map<string, number>, from: Past): void {
  for (const [origin, sequence] of from) raise(into, origin, sequence);
}

function raise(into: Map<string, number>, origin: string, sequence: number): void {
  if ((into.get(origin) ?? 0) < sequence) into.set(origin, sequence);
}
