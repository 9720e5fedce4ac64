/**
 * Puts an answer on the wire.
 *
 * Two rules come from what real clients do with broken transfers. A stream whose first piece cannot be had fails
 * before its headers are sent, so that the client gets an honest 503. One that fails later ends short, by FIN and
 * never by RST: containerd, docker and podman resume at the same byte elsewhere after an early end, and give up
 * after a reset; `lingering-close.ts` makes it one.
 */
import type { Clock } from '#runtime/clock.ts';
import type { ReadStream } from '#storage/blob-store.ts';
import type { Answer } from './answer.ts';
import type { Call } from './call.ts';
import { closeAfter } from './lingering-close.ts';

/** @returns `short` when the stream failed after its headers, with what it threw; `gone` when the client left. */
export type Written =
  | { readonly outcome: 'whole' }
  | { readonly outcome: 'gone' }
  | { readonly outcome: 'short'; readonly thrown: unknown };

const WHOLE: Written = { outcome: 'whole' };
const GONE: Written = { outcome: 'gone' };

/** Rejects with what the stream threw when that was before its first byte: nothing is sent then. */
export async function writeAnswer(call: Call, answer: Answer, clock: Clock): Promise<Written> {
  if (call.response.destroyed) return discardStream(answer);
  if (answer.stream !== undefined) return writeStream(call, answer, answer.stream);
  return writeWhole(call, answer, clock);
}

/** True when the answer was written; false where it takes longer, and nothing was done. */
export function writeAtOnce(call: Call, answer: Answer): boolean {
  const { response, method } = call;
  if (answer.stream !== undefined || response.destroyed || call.body.isUnread) return false;
  writeHead(call, answer);
  const bytes = method === 'HEAD' ? undefined : answer.body;
  call.bytesOut = bytes?.length ?? 0;
  response.end(bytes, 'latin1');
  return true;
}

async function writeWhole(call: Call, answer: Answer, clock: Clock): Promise<Written> {
  if (writeAtOnce(call, answer)) return WHOLE;
  const { response, body } = call;
  const { closesConnection } = body;
  writeHead(call, answer);
  const bytes = call.method === 'HEAD' ? undefined : answer.body;
  call.bytesOut = bytes?.length ?? 0;
  // The client has its whole answer before it has sent its whole request; see `RequestBody.discard`.
  if (bytes === undefined) response.flushHeaders();
  else response.write(bytes, 'latin1');
  if (closesConnection || !response.shouldKeepAlive) {
    closeAfter(response);
    return WHOLE;
  }
  await body.discard(clock, call.context.signal);
  response.end();
  return WHOLE;
}

async function writeStream(call: Call, answer: Answer, stream: ReadStream): Promise<Written> {
  const { response } = call;
  const expected = Number(answer.headers['Content-Length']);
  const iterator = stream[Symbol.asyncIterator]();
  try {
    const first = await iterator.next();
    if (response.destroyed) return GONE;
    writeHead(call, answer);
    return await pump(call, iterator, { first, expected, release: (piece) => stream.release?.(piece) });
  } finally {
    await iterator.return?.();
  }
}

type Pumped = {
  readonly first: IteratorResult<Uint8Array>;
  readonly expected: number;
  /** Takes the memory of a piece that was sent. */
  readonly release: (piece: Uint8Array) => void;
};

async function pump(
  call: Call,
  iterator: AsyncIterator<Uint8Array>,
  { first, expected, release }: Pumped,
): Promise<Written> {
  const { response } = call;
  const { signal } = call.context;
  let wake: () => void = () => undefined;
  // One listener for the whole stream: one a piece would be made and removed 400 times for 100 MB.
  const onAbort = () => wake();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (let next = first; next.done !== true; next = await iterator.next()) {
      signal.throwIfAborted();
      if (call.bytesOut + next.value.length > expected)
        throw new Error('the source has more bytes than it said');
      call.bytesOut += next.value.length;
      const piece = next.value;
      const isTaken = response.write(piece, (failure) => {
        // The kernel has its own copy now. Of a write that failed nobody knows, so its piece is not used again.
        if (failure == null && !response.destroyed) release(piece);
      });
      if (isTaken) continue;
      await new Promise<void>((resolve) => {
        wake = resolve;
        response.once('drain', resolve);
        if (signal.aborted) resolve();
      });
      signal.throwIfAborted();
    }
    if (call.bytesOut < expected) throw new Error('the source has fewer bytes than it said');
    response.end();
    return WHOLE;
  } catch (thrown) {
    if (response.destroyed) return GONE;
    // A client that does not read is cut off by the listener's idle limit.
    closeAfter(response);
    return { outcome: 'short', thrown };
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function writeHead(call: Call, answer: Answer): void {
  const headers = {
    'Docker-Distribution-Api-Version': 'registry/2.0',
    'Fairway-Request-Id': call.requestId,
    'X-Content-Type-Options': 'nosniff',
    ...answer.headers,
    ...(call.body.closesConnection ? { Connection: 'close' } : undefined),
  };
  call.response.writeHead(answer.status, headers as Record<string, string | number | string[]>);
}

async function discardStream(answer: Answer): Promise<Written> {
  await answer.stream?.[Symbol.asyncIterator]().return?.();
  return GONE;
}
