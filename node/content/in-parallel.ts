/**
 * The same work for many items, a few at a time. The first failure stops what has not begun and aborts what has;
 * when the promise settles, nothing of it is running any more.
 */
import PQueue from 'p-queue';

export type ParallelOptions = {
  /** How many run at once. */
  readonly limit: number;
  readonly signal: AbortSignal;
};

/** Rejects with the first failure, in order of time. `work` must end soon after its signal aborts. */
export async function inParallel<Item>(
  items: Iterable<Item>,
  work: (item: Item, signal: AbortSignal) => Promise<void>,
  options: ParallelOptions,
): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const queue = new PQueue({ concurrency: options.limit });
  const run = async (item: Item) => {
    signal.throwIfAborted();
    try {
      await work(item, signal);
    } catch (thrown) {
      failed.abort(thrown);
      throw thrown;
    }
  };
  await Promise.allSettled([...items].map((item) => queue.add(() => run(item))));
  signal.throwIfAborted();
}
