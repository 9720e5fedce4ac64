/**
 * Waiting for work that is shared with others: whoever stops waiting leaves, and the work goes on without them.
 * For work of one's own, hand it the signal instead.
 */

/** What `promise` resolves to; rejects with the signal's reason when it aborts first. */
export async function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const left = Promise.withResolvers<never>();
  const leave = () => left.reject(signal.reason);
  if (signal.aborted) leave();
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([promise, left.promise]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
