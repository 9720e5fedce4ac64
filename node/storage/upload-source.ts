/**
 * What both kinds of upload share: how a source is drained, and the words of a refusal.
 *
 * A source may be silent for minutes (a client that hangs, an upstream that stalls), so waiting for its next piece
 * ends with the signal, whether or not the source knows of that signal.
 */
import type { Digest } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import type { AppendOptions } from './blob-store.ts';

/**
 * The source's pieces without the empty ones. Throws the signal's reason on abort, and leaves the source: its
 * `return` is called, and not waited for when it is the silent one.
 */
export async function* drain(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  let leave: ((reason: unknown) => void) | undefined;
  const onAbort = () => leave?.(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  let ended = false;
  try {
    for (;;) {
      signal.throwIfAborted();
      // A promise per piece: racing each against one long-lived promise would keep every race's memory until the end.
      const step = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        leave = reject;
        iterator.next().then(resolve, (thrown: unknown) => {
          ended = true;
          reject(thrown);
        });
      });
      if (step.done === true) {
        ended = true;
        return;
      }
      if (step.value.byteLength > 0) yield step.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // A source that fails while it is being left has nothing more to say to us.
    if (!ended) iterator.return?.().then(undefined, () => undefined);
  }
}

/**
 * Gives back the memory of a piece that nobody looks at any more, where it has memory of its own. Otherwise pieces
 * pile up until a collection of the whole heap, which 100 MB then set off twice: half the time of a push.
 */
export function freeMemory({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** @throws RegistryError SIZE_INVALID (413) when the upload would grow past its limit. */
export function requireRoom(sizeBytes: number, options: Pick<AppendOptions, 'maxBytes'>): void {
  if (options.maxBytes === undefined || sizeBytes <= options.maxBytes) return;
  throw new RegistryError('SIZE_INVALID', `the upload is larger than ${options.maxBytes} bytes`, {
    status: 413,
  });
}

export function busyUpload(id: string): RegistryError {
  return new RegistryError('BLOB_UPLOAD_INVALID', `another request is writing to upload ${id}`, {
    status: 409,
  });
}

export function unknownUpload(id: string): RegistryError {
  return new RegistryError('BLOB_UPLOAD_UNKNOWN', `upload ${id} is not here; it was finished or discarded`);
}

export function digestMismatch(expected: Digest, actual: Digest, sizeBytes: number): RegistryError {
  return new RegistryError(
    'DIGEST_INVALID',
    `the ${sizeBytes} bytes received have the digest ${actual}, not ${expected}; the upload was discarded`,
    { detail: { expected, actual, sizeBytes } },
  );
}
