/**
 * Holds a run against the invariants: what a commit changed, in the moment in which it became durable; what a client
 * is told, when it is told; and everything at the end. The first violation is kept, and ends the run.
 */
import type { Dot } from '#domain/dot.ts';
import { messageOf } from '#domain/errors.ts';
import type { Epoch } from '#domain/region.ts';
import type { ClaimEvent, Output } from '#mesh/claims/step.ts';
import type { ClaimBatch, ClaimKey, CursorRow } from '#storage/metadata.ts';
import { type Committed, type HeldClaim, keyText, originText } from './claim-store.ts';
import type { Edge } from './edge.ts';
import {
  type InvariantName,
  i1AcknowledgedIsKept,
  i1StandingIsVisible,
  i2DeletedStaysDeleted,
  i3ExactCopiesAreEqual,
  i3SameBytes,
  i4OneDotOneContent,
  i5CursorsOnlyGrow,
  i6ViewFollowsFromClaims,
  i11TagsVanishByDeletesOnly,
  i12StateIsBounded,
  i13BecomesEqual,
  i15OnlyTrueBytes,
  i16RefusedIsInvisible,
  type KeyState,
  type Violation,
} from './invariants.ts';
import type { KnownClaim, Ledger, RegionMemory } from './ledger.ts';
import type { Look } from './looks.ts';
import type { RegionProcess, Watcher } from './region-process.ts';
import { ToldWrites } from './told-writes.ts';
import type { Mark, Trace } from './trace.ts';
import { differentViews } from './view-differences.ts';

export type CheckerDeps = {
  readonly ledger: Ledger;
  readonly trace: Trace;
  readonly nowUs: () => number;
  /** Where there is one: what it may not write. */
  readonly edge?: Edge | undefined;
};

/** A claim that an acknowledged write must have made. */
export type Expected = {
  readonly key: ClaimKey;
  readonly live: boolean;
  readonly value: Uint8Array | undefined;
};

/** What a client asked for, and what its region was told by others before it wrote. */
export type Acknowledged = { readonly expected: readonly Expected[]; readonly look: Look | undefined };
type ToldWrite = { readonly key: ClaimKey; readonly dot: Dot };
/** An acknowledged write that a restore took away; `holders`: other regions that have had it all the time since. */
type LostWrite = ToldWrite & { readonly process: RegionProcess; readonly holders: Set<number> };

/** Far above what a healthy run reaches (tens), far below what a leak reaches in its seconds of virtual time. */
const PENDING_MAX = 256;
const OUTPUTS_MAX = 2_000;
const DELTA_BYTES_MAX = 512 * 1024;
const DELTA_CLAIMS_MAX = 1_000;
const EVENT_MARKS: Readonly<Record<ClaimEvent['event'], Mark>> = {
  conflict: 'conflicts',
  'conflict-closed': 'conflicts closed',
  'refused-delta': 'refused deltas',
  'refused-claims': 'refused claims',
  gap: 'gaps',
  'epoch-begun': 'new epochs',
};

export class Checker implements Watcher {
  readonly #deps: CheckerDeps;
  /** `region key` → per epoch the newest claim that a client of that region was told of. */
  readonly #acknowledged = new Map<string, Map<Epoch, ToldWrite>>();
  readonly #lost: LostWrite[] = [];
  readonly #processes: readonly RegionProcess[];
  readonly #told = new ToldWrites();
  #violation: Violation | undefined;

  /** `processes` may be filled after this. */
  constructor(deps: CheckerDeps, processes: readonly RegionProcess[]) {
    this.#deps = deps;
    this.#processes = processes;
  }

  get violation(): Violation | undefined {
    return this.#violation;
  }

  committed(process: RegionProcess, batch: ClaimBatch, committed: Committed): void {
    const { ledger, trace } = this.#deps;
    for (const claim of committed.foreign) this.#foreignApplied(process, claim);
    for (const [position, claim] of committed.own.entries()) {
      const time = committed.times[position];
      if (time === undefined) continue;
      this.#hold('I4', i4OneDotOneContent(claim, ledger.recordOwn(claim, time)));
      trace.mix(claim.dot.region, claim.dot.sequence, claim.hash);
      trace.tell(this.#deps.nowUs(), () => this.#tellOwn(claim));
    }
    this.#cursorsRaised(process, batch, committed);
    const before = new Map(batch.views.map((view, at) => [keyText(view), committed.viewsBefore[at]]));
    for (const { key } of batch.guards) {
      const state = this.#stateOf(process, key);
      this.#hold('I11', i11TagsVanishByDeletesOnly(state, before.get(keyText(key)) ?? state.view));
      this.#checkKey(state);
    }
  }

  stepped(process: RegionProcess, outputs: readonly Output[]): void {
    const { region, pending } = process;
    this.#hold(
      'I12',
      i12StateIsBounded(region, { what: 'outputs at once', count: outputs.length, most: OUTPUTS_MAX }),
    );
    this.#hold(
      'I12',
      i12StateIsBounded(region, { what: 'reads and commits under way', count: pending, most: PENDING_MAX }),
    );
    for (const output of outputs) {
      if (output.output === 'event') this.#deps.trace.mark(EVENT_MARKS[output.event.event]);
      if (output.output !== 'send' || output.message.type !== 'delta') continue;
      const { claims } = output.message;
      const sizeBytes = claims.reduce(
        (sum, claim) => sum + claim.bytes.length + (claim.manifest?.bytes.length ?? 0),
        0,
      );
      this.#hold(
        'I12',
        i12StateIsBounded(region, {
          what: 'claims in a delta',
          count: claims.length,
          most: DELTA_CLAIMS_MAX,
        }),
      );
      this.#hold(
        'I12',
        i12StateIsBounded(region, { what: 'bytes in a delta', count: sizeBytes, most: DELTA_BYTES_MAX }),
      );
    }
  }

  threw(process: RegionProcess, reason: string): void {
    this.#hold('assertion', `the step of region ${process.region} threw: ${reason}`);
  }

  /** The simulated store, or the codec under test, would not take what the core gave it. */
  refused(thrown: unknown): void {
    this.#hold('assertion', `the core asked for what is refused: ${messageOf(thrown)}`);
  }

  /** A region heard what others hold, before it writes. */
  looked(process: RegionProcess, { claims }: Look): void {
    for (const claim of claims) {
      if (this.#counts(process, claim)) this.#deps.ledger.recordLooked(process.region, claim);
    }
  }

  /** A client was told that its write is on stable storage, its last claim under `dot`. */
  acknowledged(process: RegionProcess, dot: Dot, { expected, look }: Acknowledged): void {
    for (const [position, wanted] of expected.entries()) {
      const sequence = dot.sequence - expected.length + 1 + position;
      const claim = this.#deps.ledger.find({ ...dot, sequence });
      const text = `${process.region} ${keyText(wanted.key)}`;
      if (claim?.dot.region === process.region && isAsAsked(claim, wanted)) {
        const epochs = this.#acknowledged.get(text) ?? new Map<Epoch, ToldWrite>();
        this.#acknowledged.set(text, epochs);
        const newest = Math.max(sequence, epochs.get(dot.epoch)?.dot.sequence ?? 0);
        epochs.set(dot.epoch, { key: wanted.key, dot: { ...dot, sequence: newest } });
        for (const fault of this.#told.tell(claim, look, this.#deps.nowUs())) this.#hold('P5', fault);
      } else if (expected.length > 1 || wanted.live || process.store.views.get(keyText(wanted.key))?.live) {
        // A delete of what is not there may make no claim; everything else must have made its own.
        const what = claim === undefined ? 'is not on stable storage' : 'says something else';
        this.#hold('I1', `region ${text} was acknowledged, and its claim ${sequence} ${what}`);
      }
      this.#checkKey(this.#stateOf(process, wanted.key));
    }
  }

  memory(process: RegionProcess): RegionMemory {
    return this.#deps.ledger.memory(process.region);
  }

  /** The region was restored: what its clients were told since then must come back, if any other region had it. */
  setBack(process: RegionProcess, memory: RegionMemory): void {
    const { region } = process;
    this.#deps.ledger.setBack(region, memory);
    for (const { key, dot, holders } of this.#lost) if (!holds(process, key, dot)) holders.delete(region);
    this.#told.forget((key, dot) => dot.region === region && !holds(process, key, dot));
    for (const [text, epochs] of this.#acknowledged) {
      for (const [epoch, { key, dot }] of epochs) {
        if (dot.region !== region || holds(process, key, dot)) continue;
        const others = honest(this.#processes).filter((other) => other !== process && holds(other, key, dot));
        this.#lost.push({ process, key, dot, holders: new Set(others.map((other) => other.region)) });
        this.#acknowledged.get(text)?.delete(epoch);
      }
    }
  }

  /** True when every region holds all that every other has; `exactly`: and knows that this is all. */
  isEqual(processes: readonly RegionProcess[], exactly: boolean): boolean {
    return this.#behind(processes, exactly).length === 0;
  }

  /** I13 while one pair of regions is still cut off from each other: the others pass on what the two lack. */
  finishIndirect(processes: readonly RegionProcess[], afterMs: number): void {
    this.#hold('I13', i13BecomesEqual(this.#behind(processes, false), afterMs));
  }

  /** Everything, at the end of the second phase. `unanswered`: writes whose clients still wait. */
  finish(processes: readonly RegionProcess[], unanswered: number, afterMs: number): void {
    const differences = this.#behind(processes, true).concat(
      unanswered > 0 ? [`${unanswered} writes were never answered`] : [],
    );
    this.#hold('I13', i13BecomesEqual(differences, afterMs));
    if (this.#violation !== undefined) return;
    for (const process of processes) {
      for (const view of process.store.views.values()) this.#checkKey(this.#stateOf(process, view));
      for (const origin of processes) this.#compareCopies(process, origin);
    }
    for (const closed of closedOrigins(processes)) {
      if (isExact(processes, closed)) this.#compareClosed(honest(processes), closed);
    }
    const different = differentViews(honest(processes), this.#unrepaired(processes));
    this.#hold('I13', i13BecomesEqual(different, afterMs));
    for (const lost of this.#lost) this.#checkLost(lost);
  }

  #foreignApplied(process: RegionProcess, held: HeldClaim): void {
    const truth = this.#deps.ledger.find(held.dot);
    this.#hold('I15', i15OnlyTrueBytes(held, truth));
    if (truth === undefined) return;
    if (this.#counts(process, truth)) this.#deps.ledger.recordForeign(process.region, truth);
    else this.#deps.ledger.recordRefused(process.region, truth);
  }

  #cursorsRaised(process: RegionProcess, batch: ClaimBatch, { cursorsBefore }: Committed): void {
    const { ledger, trace } = this.#deps;
    const { region, store } = process;
    for (const [position, after] of batch.cursors.entries()) {
      const before = cursorsBefore[position];
      this.#hold('I5', i5CursorsOnlyGrow(region, { before, after, head: ledger.head(after) }));
      const held = store.originMap(after) ?? { count: 0, sum: 0 };
      const truth = ledger.fingerprint(after, after.safe);
      this.#hold('I3', i3ExactCopiesAreEqual({ region, cursor: after, held }, truth));
      if (after.safe < after.have) trace.mark('inexact copies');
      trace.mix(region, after.region, after.have, after.safe);
      trace.tell(this.#deps.nowUs(), () => {
        const claims = batch.foreign.map((claim) => claim.dot.sequence).join(',');
        return `${region} holds ${after.region} up to ${after.have}, safe ${after.safe} (applied: ${claims || 'none'})`;
      });
    }
  }

  #checkKey(state: KeyState): void {
    for (const { dot } of this.#acknowledged.get(`${state.region} ${keyText(state.key)}`)?.values() ?? []) {
      this.#hold('I1', i1AcknowledgedIsKept(state, dot));
    }
    this.#hold('I2', i2DeletedStaysDeleted(state));
    this.#hold('I1', i1StandingIsVisible(state));
    this.#hold('I16', i16RefusedIsInvisible(state));
    this.#hold('I6', i6ViewFollowsFromClaims(state));
  }

  #stateOf(process: RegionProcess, key: ClaimKey): KeyState {
    const { ledger } = this.#deps;
    const stored = process.store
      .claimsOf(key)
      .map((held) => ledger.find(held.dot))
      .filter((claim): claim is KnownClaim => claim !== undefined);
    const { region, store } = process;
    const view = store.views.get(keyText(key));
    const knowledge = ledger.knowledge(region, key);
    const isRefused = (claim: KnownClaim) => !this.#counts(process, claim);
    const refused = stored.filter(isRefused);
    return { region, key, view, stored: stored.filter((claim) => !isRefused(claim)), refused, knowledge };
  }

  /** Nothing is refused by the edge itself, which is in other hands. */
  #counts({ isEdge }: RegionProcess, claim: Pick<KnownClaim, 'dot' | 'key'>): boolean {
    return isEdge || this.#deps.edge?.isRefused(claim) !== true;
  }

  #behind(processes: readonly RegionProcess[], exactly: boolean): string[] {
    return closedBehind(processes).concat(
      processes.flatMap((process) =>
        processes
          .filter((origin) => origin !== process)
          .flatMap((origin) => {
            const head = origin.store.origin.sequence;
            const { have, safe } = process.store.cursor(origin.store.origin) ?? { have: 0, safe: 0 };
            if (have === head && (safe === head || !exactly)) return [];
            return [
              `region ${process.region} holds ${origin.region} up to ${have}, safe ${safe}, of ${head}`,
            ];
          }),
      ),
    );
  }

  isClosedExact(processes: readonly RegionProcess[]): boolean {
    return closedOrigins(processes).every((closed) => isExact(processes, closed));
  }

  /** Keys of closed epochs of which some copy is not exact: only repair by ranges, which is not there, mends them. */
  #unrepaired(processes: readonly RegionProcess[]): ReadonlySet<string> {
    const inexact = closedOrigins(processes).filter((closed) => !isExact(processes, closed));
    return new Set(
      inexact.flatMap((closed) =>
        processes.flatMap(({ store }) =>
          [...(store.originMap(closed)?.bySequence.values() ?? [])].map((claim) => keyText(claim.key)),
        ),
      ),
    );
  }

  #checkLost({ process, key, dot, holders }: LostWrite): void {
    if (holders.size === 0) {
      this.#deps.trace.mark('lost tails that nobody had');
      return;
    }
    this.#hold('I1', i1AcknowledgedIsKept(this.#stateOf(process, key), dot));
    this.#deps.trace.mark('lost tails that came back');
  }

  #compareClosed([first, ...others]: readonly RegionProcess[], closed: CursorRow): void {
    const nothing = { bySequence: new Map(), count: 0, sum: 0 };
    const truth = first?.store.originMap(closed) ?? nothing;
    for (const { region, store } of others) {
      const what = `region ${region}'s copy of the closed epoch ${originText(closed)}`;
      this.#hold('I3', i3SameBytes(store.originMap(closed) ?? nothing, truth, what));
    }
  }

  #compareCopies(process: RegionProcess, origin: RegionProcess): void {
    const truth = origin.store.originMap(origin.store.origin);
    const copy = process.store.originMap(origin.store.origin);
    if (truth === undefined && copy === undefined) return;
    const nothing = { bySequence: new Map(), count: 0, sum: 0 };
    const what = `region ${process.region}'s copy of ${origin.region}`;
    this.#hold('I3', i3SameBytes(copy ?? nothing, truth ?? nothing, what));
  }

  #tellOwn(claim: HeldClaim): string {
    const { live = false, context = [] } = this.#deps.ledger.find(claim.dot) ?? {};
    const replaces = context.map((dot) => `${dot.region}.${dot.sequence}`).join(' ');
    const { region, sequence } = claim.dot;
    return `${region} commits ${region}.${sequence} ${live ? 'sets' : 'deletes'} ${keyText(claim.key)} [${replaces}]`;
  }

  #hold(invariant: InvariantName, what: string | undefined): void {
    if (what !== undefined) this.#violation ??= { invariant, what };
  }
}

function holds({ store }: RegionProcess, key: ClaimKey, { region, epoch, sequence }: Dot): boolean {
  return store
    .claimsOf(key)
    .some(({ dot }) => dot.region === region && dot.epoch === epoch && dot.sequence >= sequence);
}

/** What an edge alone holds, others do not take from it, and what it shows is its own matter. */
function honest(processes: readonly RegionProcess[]): readonly RegionProcess[] {
  return processes.filter(({ isEdge }) => !isEdge);
}

/** Every epoch that is no region's own any more, at the newest sequence that any region holds of it. */
function closedOrigins(processes: readonly RegionProcess[]): readonly CursorRow[] {
  const own = new Set(processes.map(({ store }) => originText(store.origin)));
  const closed = new Map<string, CursorRow>();
  for (const cursor of honest(processes).flatMap(({ store }) => store.cursors)) {
    const text = originText(cursor);
    if (!own.has(text) && cursor.have > (closed.get(text)?.have ?? 0)) closed.set(text, cursor);
  }
  return [...closed.values()];
}

function closedBehind(processes: readonly RegionProcess[]): string[] {
  return closedOrigins(processes).flatMap((closed) =>
    processes
      .filter(({ store }) => (store.cursor(closed)?.have ?? 0) < closed.have)
      .map(({ region }) => `region ${region} lacks a part of the closed epoch ${originText(closed)}`),
  );
}

function isExact(processes: readonly RegionProcess[], closed: CursorRow): boolean {
  return honest(processes).every(({ store }) => store.cursor(closed)?.safe === closed.have);
}

function isAsAsked(claim: KnownClaim, { key, live, value }: Expected): boolean {
  if (keyText(claim.key) !== keyText(key) || claim.live !== live) return false;
  return value === undefined || Buffer.compare(claim.value, value) === 0;
}
