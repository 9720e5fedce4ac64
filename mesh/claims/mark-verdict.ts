/**
 * Whether a database that was found at a start is the one that was left at the last stop. A copy that is older than
 * what was running last (a restored backup, a rolled back disk) would give its sequence numbers a second time.
 *
 * Beside the database lies a mark that says which start wrote it last, which file that was, and, after an orderly
 * stop, where the history ended. The rules, each before the first sequence number of our own:
 *
 * - The mark is missing or does not agree with the database: another epoch begins at once.
 * - They agree, and the region was stopped in order: it goes on at once.
 * - They agree, but nobody stopped it (or it was stopped while still in doubt): the database may be as old as this
 *   start of it, together with its mark. Writes wait until every other region has said what it holds of us
 *   (`epochs.ts`); after 5 s in which one of them was silent a waiting write begins another epoch.
 *
 * Limit: a whole disk that is set back to a moment in which the region was stopped in order agrees with itself. Only
 * the other regions can tell then, and only once they are heard: such a restore is to be started with `--new-epoch`.
 */
import type { FoundDatabase, RollbackMark } from '#storage/rollback-mark.ts';

/** Why an epoch began; the last two are found while running. */
export const EPOCH_REASONS = ['asked', 'mark-missing', 'mark-differs', 'peer-ahead', 'peer-silent'] as const;
export type EpochReason = (typeof EPOCH_REASONS)[number];
/** `trusted`: go on; `doubted`: ask the other regions first; else begin another epoch. */
export type MarkVerdict = 'trusted' | 'doubted' | EpochReason;

export function judgeMark(mark: RollbackMark | undefined, found: FoundDatabase): MarkVerdict {
  if (found.isNew) return 'trusted';
  if (mark === undefined) return 'mark-missing';
  if (mark.start !== found.start || mark.file !== found.file) return 'mark-differs';
  const { stopped } = mark;
  if (stopped === undefined) return 'doubted';
  const isSame =
    stopped.epoch === found.epoch && stopped.sequence === found.sequence && stopped.changed === found.changed;
  return isSame ? 'trusted' : 'mark-differs';
}
