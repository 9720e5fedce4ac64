/**
 * What the writer and its worker say to each other. A statement's text crosses once and is a number from then on,
 * because copying and comparing texts would cost more than running most of them.
 */
import type { SqliteFailure } from './sqlite-error.ts';
import type { SqlValue, WriteStatement } from './statement.ts';

export type WriterStart = { readonly path: string };

export type ToWorker =
  | {
      readonly type: 'group';
      /** Texts that the worker has not seen; their numbers follow on the last one's. */
      readonly texts: readonly string[];
      readonly batches: readonly WireBatch[];
    }
  /** Answered by the end of the thread. */
  | { readonly type: 'close' };

export type WireBatch = readonly WireStatement[];

export type WireStatement = {
  readonly text: number;
  readonly role: WriteStatement['role'];
  readonly parameters: readonly SqlValue[];
};

export type FromWorker =
  | { readonly type: 'opened' }
  | { readonly type: 'open-failed'; readonly failure: SqliteFailure }
  | { readonly type: 'written'; readonly results: readonly BatchResult[] };

export type BatchResult =
  | { readonly outcome: 'committed'; readonly answers: readonly (readonly unknown[])[] }
  | { readonly outcome: 'refused' }
  | { readonly outcome: 'failed'; readonly failure: SqliteFailure };
