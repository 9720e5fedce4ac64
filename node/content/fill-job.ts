/**
 * The shared state of one fill: what those who asked wait for. It only holds promises; `fill.ts` settles them.
 */
import { UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import type { BlobRow } from '#storage/metadata.ts';
import type { FillingBlob } from './fill.ts';
import type { GrowingBlob } from './growing-blob.ts';

export class FillJob {
  /** Whose sources are asked. */
  readonly askedFor: RepositoryName;
  /** On whose behalf it is filled. */
  readonly repositories = new Set<RepositoryName>();
  readonly #done = Promise.withResolvers<BlobRow>();
  #opened = Promise.withResolvers<FillingBlob | undefined>();

  constructor(askedFor: RepositoryName) {
    this.askedFor = askedFor;
    ignoreUnwatched(this.#done.promise);
    ignoreUnwatched(this.#opened.promise);
  }

  /** The blob, from its first byte on; `undefined` when nobody has it. */
  get opened(): Promise<FillingBlob | undefined> {
    return this.#opened.promise;
  }

  began(blob: GrowingBlob): void {
    this.#open({ sizeBytes: blob.sizeBytes, source: blob.source, read: (...range) => blob.read(...range) });
  }

  /** What had begun is broken: who comes now waits for the next beginning. */
  beginAgain(): void {
    this.#opened = Promise.withResolvers();
    ignoreUnwatched(this.#opened.promise);
  }

  absent(): void {
    this.#opened.resolve(undefined);
    this.#done.reject(new UnavailableError('no source has it'));
  }

  complete(row: BlobRow, blob?: Omit<FillingBlob, 'done'>): void {
    if (blob !== undefined) this.#open(blob);
    this.#done.resolve(row);
  }

  fail(thrown: unknown): void {
    this.#opened.reject(thrown);
    this.#done.reject(thrown);
  }

  #open(blob: Omit<FillingBlob, 'done'>): void {
    this.#opened.resolve({ ...blob, done: this.#done.promise });
  }
}

/** Nobody may be left who waits for it; its failure is logged where it happened. */
function ignoreUnwatched(promise: Promise<unknown>): void {
  promise.then(undefined, () => undefined);
}
