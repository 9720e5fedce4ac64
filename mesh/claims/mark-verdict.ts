/**
 * Whether a database that was found at a start is the one that was left at the last stop. A copy that is older than
 * what was running last (a restored backup, a disk that was set back) would give its sequence numbers a second time,
 * also such as no other region ever held.
 *
 * Beside the database lies a mark that says which start wrote it last, which file that was, and, after an orderly
 * stop, where the history ended. Only a database that agrees with all of that goes on in its epoch. Any other begins
 * another epoch before its first sequence number, also one that was merely killed: a whole disk that was set back to
 * a moment of running looks the same from within, and from the other regions too, as long as the numbers that were
 * lost had reached none of them. So nothing has to be waited for. An epoch without claims leaves nothing behind, so
 * that starting again and again costs nothing either.
 *
 * Limit: a whole disk that is set back to a moment after an orderly stop agrees with itself. The other regions show
 * it as soon as they are heard (`epochs.ts`), which may be after the first write: such a restore is to be started
 * with `--new-epoch`.
 */
import type { FoundDatabase, RollbackMark } from '#storage/rollback-mark.ts';

/** Why an epoch began; the last is found while running. */
export const EPOCH_REASONS = ['asked', 'mark-missing', 'mark-differs', 'unclean-stop', 'peer-ahead'] as const;
export type EpochReason = (typeof EPOCH_REASONS)[number];
/** `trusted`: go on; else begin another epoch. */
export type MarkVerdict = 'trusted' | EpochReason;

export function judgeMark(mark: RollbackMark | undefined, found: FoundDatabase): MarkVerdict {
  if (found.isNew) return 'trusted';
  if (mark === undefined) return 'mark-missing';
  if (mark.start !== found.start || mark.file !== found.file) return 'mark-differs';
  const { stopped } = mark;
  if (stopped === undefined) return 'unclean-stop';
  const isSame =
    stopped.epoch === found.epoch && stopped.sequence === found.sequence && stopped.changed === found.changed;
  return isSame ? 'trusted' : 'mark-differs';
}
