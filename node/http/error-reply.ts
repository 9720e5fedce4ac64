/**
 * The one renderer of errors: what was thrown becomes the spec's error body, with the status, the headers and no
 * more than the client may know. What is neither a wrong request nor an unavailable world is our own fault; its
 * stack goes to the log under the request's id, and the client is given that id.
 */
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { type Answer, type Headers, json } from './answer.ts';

/** `isOurFault`: it was no error of the two kinds that may reach a client. */
export type ErrorReply = { readonly answer: Answer; readonly isOurFault: boolean };

export function errorReply(thrown: unknown, requestId: string): ErrorReply {
  if (thrown instanceof RegistryError) {
    return {
      answer: errorAnswer(thrown.status, thrown, thrown.headers),
      isOurFault: false,
    };
  }
  if (thrown instanceof UnavailableError) return { answer: unavailable(thrown), isOurFault: false };
  const message = `an internal error occurred; its log lines carry the request id ${requestId}`;
  return { answer: errorAnswer(500, { code: 'UNKNOWN', message }), isOurFault: true };
}

/** 503, with when to come back and what was tried. */
function unavailable(thrown: UnavailableError): Answer {
  const detail = thrown.tried.length === 0 ? undefined : { tried: thrown.tried };
  const retryAfterSeconds = Math.max(1, Math.ceil(thrown.retryAfterMs / 1000));
  return errorAnswer(
    503,
    { code: 'UNAVAILABLE', message: thrown.message, detail },
    { 'Retry-After': retryAfterSeconds },
  );
}

function errorAnswer(
  status: number,
  error: { readonly code: string; readonly message: string; readonly detail?: unknown },
  headers: Headers = {},
): Answer {
  return json(status, errorBody(error), headers);
}

/** The error body of the distribution spec. */
export function errorBody(error: {
  readonly code: string;
  readonly message: string;
  readonly detail?: unknown;
}): unknown {
  const { code, message, detail } = error;
  return { errors: [{ code, message, ...(detail === undefined ? {} : { detail }) }] };
}

/** Warn-code 299, no date, visible ASCII only, well below the spec's 4,096 bytes. */
export function warningHeader(text: string): string {
  const visible = text.replaceAll(/[^\x20-\x7e]/g, '?').replaceAll(/["\\]/g, "'");
  return `299 - "${visible.slice(0, 1000)}"`;
}
