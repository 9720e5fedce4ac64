/**
 * What must hold, one function each, by the numbers of the mesh's specification. Each answers `undefined`, or says in
 * words what is wrong. They take plain data, so that a test can show each of them a fault. Absent numbers (I7–I10,
 * I14) belong to parts that this simulation does not run: range repair, content, sessions, failure detection.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import type { Dot } from '#domain/dot.ts';
import { compareHybridTimes } from '#domain/hybrid-time.ts';
import type { RegionNumber } from '#domain/region.ts';
import type { ClaimKey, CursorRow, ViewRow } from '#storage/metadata.ts';
import { type HeldClaim, type HeldOrigin, keyText, originText } from './claim-store.ts';
import { type Fingerprint, includes, type Knowledge, type KnownClaim, type Past } from './ledger.ts';

export type InvariantName =
  | 'I1'
  | 'I2'
  | 'I3'
  | 'I4'
  | 'I5'
  | 'I6'
  | 'I11'
  | 'I12'
  | 'I13'
  | 'I15'
  | 'I16'
  | 'P5'
  | 'assertion';
export type Violation = { readonly invariant: InvariantName; readonly what: string };

/** What one region shows for one key, and what that should follow from. */
export type KeyState = {
  readonly region: RegionNumber;
  readonly key: ClaimKey;
  readonly view: ViewRow | undefined;
  /** The claims that its store holds, and that count. */
  readonly stored: readonly KnownClaim[];
  /** Those that it holds, and that their region was not granted. */
  readonly refused: readonly KnownClaim[];
  readonly knowledge: Knowledge;
};

/** What follows from a set of claims: the rules of the specification, written a second time. */
export type Resolution = {
  /** Live and replaced by none. */
  readonly standing: readonly KnownClaim[];
  readonly winner: KnownClaim | undefined;
  readonly conflict: boolean;
};

/** I1: an acknowledged write is at its region, or one that had seen it is. */
export function i1AcknowledgedIsKept(state: KeyState, acknowledged: Dot | undefined): string | undefined {
  const { region, stored, key } = state;
  if (acknowledged === undefined) return undefined;
  const { epoch, sequence } = acknowledged;
  const held = stored.find(({ dot }) => dot.region === acknowledged.region && dot.epoch === epoch);
  if (held !== undefined && held.dot.sequence >= sequence) return undefined;
  const stores = held?.dot.sequence ?? 'none';
  return `region ${region} acknowledged claim ${sequence} of ${keyText(key)} and stores ${stores}`;
}

/** I1: what stands unreplaced is what clients see, or is listed as the loser of a conflict. */
export function i1StandingIsVisible(state: KeyState): string | undefined {
  const { standing } = resolve(state.stored, state.knowledge.replaced);
  const lost = standing.find((claim) => !isShown(claim, state.view));
  if (lost === undefined) return undefined;
  return `${dotText(lost)} of ${keyText(state.key)} was replaced by nothing, and region ${state.region} does not show it`;
}

/** I2: what a delete covered is visible nowhere that has applied the delete. */
export function i2DeletedStaysDeleted(state: KeyState): string | undefined {
  const { view, knowledge, region, key } = state;
  if (!view?.live || !includes(knowledge.deleted, view)) return undefined;
  return `${dotText(view)} of ${keyText(key)} was deleted, and region ${region} shows it`;
}

/** I3: two copies that are exact at one sequence number are equal. Shown by sums; `i3SameBytes` is for the end. */
export function i3ExactCopiesAreEqual(
  copy: { readonly region: RegionNumber; readonly cursor: CursorRow; readonly held: Fingerprint },
  truth: Fingerprint | undefined,
): string | undefined {
  const { cursor, held, region } = copy;
  if (cursor.safe !== cursor.have) return undefined;
  if (truth?.count === held.count && truth.sum === held.sum) return undefined;
  return (
    `region ${region} says that its copy of ${cursor.region} is exact at ${cursor.safe}, but it holds ` +
    `${held.count} claims (sum ${held.sum}) instead of ${truth?.count ?? 'none'} (${truth?.sum})`
  );
}

/** I3 at the end: byte for byte. */
export function i3SameBytes(copy: HeldOrigin, truth: HeldOrigin, what: string): string | undefined {
  for (const [sequence, claim] of truth.bySequence) {
    const other = copy.bySequence.get(sequence);
    if (other === undefined || !sameBytes(other.bytes, claim.bytes))
      return `${what}: claim ${sequence} differs`;
  }
  if (copy.bySequence.size === truth.bySequence.size) return undefined;
  return `${what}: ${copy.bySequence.size} claims instead of ${truth.bySequence.size}`;
}

/** I4: a dot is never given twice. `earlier` is what already stands under it. */
export function i4OneDotOneContent(claim: HeldClaim, earlier: HeldClaim | undefined): string | undefined {
  if (earlier === undefined) return undefined;
  return `${dotText(claim)} was given to ${keyText(claim.key)} and before to ${keyText(earlier.key)}`;
}

/** I5: cursors only grow, `safe` is never beyond `have`, nor `have` beyond what the origin has. */
export function i5CursorsOnlyGrow(
  region: RegionNumber,
  change: { readonly before: CursorRow | undefined; readonly after: CursorRow; readonly head: number },
): string | undefined {
  const { before, after, head } = change;
  const who = `region ${region}'s cursor of ${after.region}`;
  if (after.safe > after.have) return `${who}: safe ${after.safe} is beyond have ${after.have}`;
  if (after.have > head) return `${who}: have ${after.have} is beyond the origin's ${head}`;
  if (before === undefined) return undefined;
  if (after.have >= before.have && after.safe >= before.safe) return undefined;
  return `${who} went back from ${before.have}/${before.safe} to ${after.have}/${after.safe}`;
}

/** I6: the stored view is what the stored claims give, resolved from their own contexts. */
export function i6ViewFollowsFromClaims(state: KeyState): string | undefined {
  const { stored, view, key, region } = state;
  const { winner, conflict } = resolve(stored, pastOf(stored));
  const wrong = (what: string) =>
    `region ${region} shows ${keyText(key)} with ${what}, its claims give ` +
    `${winner ? `${dotText(winner)} (conflict: ${conflict})` : 'nothing'}`;
  if (winner === undefined) return view?.live ? wrong(dotText(view)) : undefined;
  if (!view?.live) return wrong('nothing');
  const isSame =
    sameDot(view, winner) &&
    sameBytes(view.value, winner.value) &&
    view.changedMs === winner.time.ms &&
    view.principal === winner.principal &&
    view.conflict === conflict;
  return isSame ? undefined : wrong(`${dotText(view)} (conflict: ${view.conflict})`);
}

/** I11: a tag that clients saw is gone only when a delete that covers it has arrived. */
export function i11TagsVanishByDeletesOnly(state: KeyState, before: ViewRow | undefined): string | undefined {
  const { key, view, knowledge, region } = state;
  if (key.kind !== CLAIM_KIND.tag || !before?.live || view?.live) return undefined;
  if (includes(knowledge.deleted, before)) return undefined;
  return `${keyText(key)} vanished from region ${region}: no delete covers ${dotText(before)}`;
}

/** I12: everything that can pile up has an end. */
export function i12StateIsBounded(
  region: RegionNumber,
  amount: { readonly what: string; readonly count: number; readonly most: number },
): string | undefined {
  const { what, count, most } = amount;
  return count <= most ? undefined : `region ${region} has ${count} ${what}, at most ${most} are allowed`;
}

/** I13: with everything healed and nobody writing, all is equal and answered in time. */
export function i13BecomesEqual(differences: readonly string[], afterMs: number): string | undefined {
  if (differences.length === 0) return undefined;
  return `${afterMs} ms after everything healed: ${differences.slice(0, 4).join('; ')}`;
}

/** I15: only bytes that the origin itself committed are ever applied. */
export function i15OnlyTrueBytes(claim: HeldClaim, truth: HeldClaim | undefined): string | undefined {
  if (truth === undefined) return `${dotText(claim)} was applied, and its origin never committed it`;
  if (sameBytes(claim.bytes, truth.bytes)) return undefined;
  return `${dotText(claim)} was applied with other bytes than its origin committed`;
}

/** I16, of what it says: a claim outside of its region's grant is what no honest region shows. */
export function i16RefusedIsInvisible({ refused, view, region, key }: KeyState): string | undefined {
  const shown = refused.find((claim) => view?.live && sameDot(view, claim));
  if (shown === undefined) return undefined;
  return `${dotText(shown)} of ${keyText(key)} is outside of its region's grant, and region ${region} shows it`;
}

/**
 * P5: who began to write after another was answered, and looked at that one's region, has seen its write. Neither can
 * then be in conflict with the other, whatever the clocks say.
 */
export function p5LookedIsCovered(claim: KnownClaim, earlier: HeldClaim['dot']): string | undefined {
  const isCovered = claim.context.some(
    ({ region, epoch, sequence }) =>
      region === earlier.region && epoch === earlier.epoch && sequence >= earlier.sequence,
  );
  if (isCovered) return undefined;
  return (
    `${dotText(claim)} of ${keyText(claim.key)} was written after ${dotText({ dot: earlier })} was acknowledged ` +
    'and its region had answered the look, and does not replace it'
  );
}

/** The latest live claim that nothing replaced wins; ties go to the higher region, then epoch. */
export function resolve(claims: readonly KnownClaim[], replaced: Past): Resolution {
  const standing = claims.filter((claim) => claim.live && !includes(replaced, claim));
  const [winner] = [...standing].sort(
    (a, b) => compareHybridTimes(b.time, a.time) || compareOrigins(b.dot, a.dot),
  );
  const conflict = standing.some((claim) => winner && !sameBytes(claim.value, winner.value));
  return { standing, winner, conflict };
}

function compareOrigins(a: Dot, b: Dot): number {
  if (a.region !== b.region || a.epoch === b.epoch) return a.region - b.region;
  return a.epoch < b.epoch ? -1 : 1;
}

/** What the claims say they replaced, by their own contexts. */
function pastOf(claims: readonly KnownClaim[]): Past {
  const past = new Map<string, number>();
  for (const dot of claims.flatMap((claim) => claim.context)) {
    past.set(originText(dot), Math.max(past.get(originText(dot)) ?? 0, dot.sequence));
  }
  return past;
}

function isShown(claim: KnownClaim, view: ViewRow | undefined): boolean {
  if (!view?.live) return false;
  return view.conflict || sameDot(view, claim) || sameBytes(view.value, claim.value);
}

function sameDot(a: Pick<HeldClaim, 'dot'>, b: Pick<HeldClaim, 'dot'>): boolean {
  return a.dot.region === b.dot.region && a.dot.sequence === b.dot.sequence && a.dot.epoch === b.dot.epoch;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function dotText({ dot }: Pick<HeldClaim, 'dot'>): string {
  return `${dot.region}.${dot.sequence}`;
}
