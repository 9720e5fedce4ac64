/**
 * The two kinds of error that reach a client; the third kind (we are wrong) is a plain assertion failure.
 *
 * `RegistryError`: the request is wrong, with a code of the OCI distribution spec. `UnavailableError`: the world
 * did not answer; a retry may help. A foreign error is translated into one of these once, where it was met, with
 * `cause`. Handlers throw; `node/http/error-reply.ts` is the only place that renders them.
 */

/** Error codes of the OCI distribution spec, with the status each is answered with unless an error says otherwise. */
export const ERROR_STATUS = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 404,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  RANGE_INVALID: 416,
  SIZE_INVALID: 400,
  TAG_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  UNSUPPORTED: 405,
  TOOMANYREQUESTS: 429,
} as const;

export type ErrorCode = keyof typeof ERROR_STATUS;

export type RegistryErrorOptions = {
  /** Overrides the status of the code. */
  readonly status?: number;
  /** Machine-readable detail, put into the spec's error body. */
  readonly detail?: unknown;
  /** Headers the answer must carry, e.g. `range` beside a 416. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
};

/** The request is wrong, and asking again will not help. */
export class RegistryError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly detail: unknown;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: ErrorCode, message: string, options: RegistryErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.name = 'RegistryError';
    this.code = code;
    this.status = options.status ?? ERROR_STATUS[code];
    this.detail = options.detail;
    this.headers = options.headers ?? {};
  }
}

export type UnavailableErrorOptions = {
  /** When a retry is worth it; answered as `Retry-After`, rounded up to seconds. Default 1000. */
  readonly retryAfterMs?: number;
  /** What was asked, and how each answered: shown to the client. */
  readonly tried?: readonly string[];
  readonly cause?: unknown;
};

/** The world did not answer: answered as 503 with `Retry-After`, never as 404. */
export class UnavailableError extends Error {
  readonly retryAfterMs: number;
  readonly tried: readonly string[];

  constructor(message: string, options: UnavailableErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.name = 'UnavailableError';
    this.retryAfterMs = options.retryAfterMs ?? 1000;
    this.tried = options.tried ?? [];
  }
}

/** The text of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
