/**
 * The replicated index as a pure step: (state, input) → outputs. It reads no clock, does no I/O, and keeps no data
 * but cursors: claims are on disk, asked for by `read` outputs and changed by `commit` outputs, whose results come
 * back as inputs. `mesh/claims/driver.ts` runs it on a real store and transport, `chaos/` on simulated ones.
 */
import type { IndexChange } from '#content/claim-writer.ts';
import type { Dot } from '#domain/dot.ts';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type {
  ClaimBatch,
  ClaimCommit,
  ClaimKey,
  ClaimRange,
  CursorRow,
  OriginRow,
  StoredClaim,
  StoredKey,
} from '#storage/metadata.ts';
import type { Grants } from './granted.ts';
import type { EpochReason } from './mark-verdict.ts';
import type { Message } from './message.ts';

/** `id`s are chosen by the step for its reads and commits, and by the caller for its writes. */
export type Input =
  | {
      readonly input: 'write';
      readonly id: number;
      readonly changes: readonly IndexChange[];
      readonly principal: string;
      /** Claims of its keys that other regions hold, verbatim: the write has seen them, whether they are here or not. */
      readonly seen?: readonly Uint8Array[];
    }
  | { readonly input: 'received'; readonly from: RegionNumber; readonly message: Message }
  | { readonly input: 'link-up'; readonly peer: RegionNumber }
  | { readonly input: 'link-down'; readonly peer: RegionNumber }
  /** Every 100 ms or so; summaries, retries and time-outs hang on it. */
  | { readonly input: 'tick' }
  | { readonly input: 'keys-read'; readonly id: number; readonly keys: readonly StoredKey[] }
  | { readonly input: 'range-read'; readonly id: number; readonly claims: readonly StoredClaim[] }
  | { readonly input: 'committed'; readonly id: number; readonly result: ClaimCommit }
  | { readonly input: 'epoch-begun'; readonly id: number; readonly origin: OriginRow }
  /** The store refused (disk full, closed): nothing was written, as far as anyone can tell. */
  | { readonly input: 'failed'; readonly id: number; readonly reason: string };

export type Output =
  | { readonly output: 'send'; readonly to: RegionNumber; readonly message: Message }
  | { readonly output: 'read-keys'; readonly id: number; readonly keys: readonly ClaimKey[] }
  | { readonly output: 'read-range'; readonly id: number; readonly range: ClaimRange }
  | { readonly output: 'commit'; readonly id: number; readonly batch: ClaimBatch }
  /** As `ClaimRows.beginEpoch`; who carries it out mints the epoch. */
  | { readonly output: 'begin-epoch'; readonly id: number; readonly former: Epoch; readonly below: number }
  /** A write is on stable storage; `dot` is that of its last claim. */
  | { readonly output: 'written'; readonly id: number; readonly dot: Dot }
  | { readonly output: 'write-failed'; readonly id: number; readonly reason: string }
  /** Views that changed by a commit, ours or another's: what caches and planners follow. */
  | { readonly output: 'changed'; readonly keys: readonly ClaimKey[] }
  | { readonly output: 'event'; readonly event: ClaimEvent };

/** What an operator may want to know of; each is logged and counted by the driver. */
export type ClaimEvent =
  | { readonly event: 'conflict'; readonly key: ClaimKey }
  | { readonly event: 'conflict-closed'; readonly key: ClaimKey }
  | { readonly event: 'refused-delta'; readonly from: RegionNumber; readonly reason: string }
  /** Claims outside of their region's grant were stored, and count for nothing. `key`: of one of them. */
  | {
      readonly event: 'refused-claims';
      readonly region: RegionNumber;
      readonly count: number;
      readonly key: ClaimKey;
    }
  | { readonly event: 'gap'; readonly from: RegionNumber; readonly region: RegionNumber }
  | { readonly event: 'epoch-begun'; readonly reason: EpochReason };

export type StepStart = {
  readonly self: RegionNumber;
  readonly peers: readonly RegionNumber[];
  readonly origin: OriginRow;
  readonly cursors: readonly CursorRow[];
  /** Absent: no region is limited. */
  readonly grants?: Grants | undefined;
};
