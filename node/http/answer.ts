/**
 * What a handler answers: a value, which `answer-writer.ts` puts on the wire. Handlers return or throw; they never
 * touch the response.
 */
import type { ContentSource } from '#content/upstream.ts';
import type { Digest } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import type { ReadStream } from '#storage/blob-store.ts';
import { entityTag } from './conditional.ts';

export type Headers = Record<string, string | number | readonly string[]>;

export type Answer = {
  readonly status: number;
  readonly headers: Headers;
  /** All of the body; absent for an empty one. A text is of bytes, one a character (`latin1`). */
  readonly body?: Uint8Array | string;
  /** The body piece by piece, of exactly the `Content-Length` in `headers`. */
  readonly stream?: ReadStream;
};

export const DIGEST_HEADER = 'Docker-Content-Digest';

/** A digest names the same bytes for ever. Without `public`, a shared cache keeps what needed authorization to itself. */
export const CACHE_FOREVER = 'max-age=31536000, immutable';

/** An answer without a body. */
export function empty(status: number, headers: Headers = {}): Answer {
  return {
    status,
    headers: status === 204 || status === 304 ? headers : { ...headers, 'Content-Length': 0 },
  };
}

export function json(status: number, value: unknown, headers: Headers = {}): Answer {
  const body = Buffer.from(JSON.stringify(value));
  return {
    status,
    headers: { 'Content-Type': 'application/json', ...headers, 'Content-Length': body.length },
    body,
  };
}

export function unchanged(digest: Digest, source: ContentSource): Answer {
  return empty(304, {
    [DIGEST_HEADER]: digest,
    ETag: entityTag(digest),
    'Fairway-Source': sourceText(source),
  });
}

export function sourceText(source: ContentSource): string {
  return `${source.kind}; name=${source.name}`;
}

/** The path is one of the API's, but not with this method. */
export function methodNotAllowed(method: string, allowed: readonly string[]): RegistryError {
  return new RegistryError('UNSUPPORTED', `${method} is not supported here`, {
    headers: { Allow: allowed.join(', ') },
  });
}
