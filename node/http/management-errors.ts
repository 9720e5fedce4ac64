/**
 * Errors of the management API: `{ error: { code, message } }`, whatever was thrown. Wrong queries say which
 * parameter and why; a refused policy lists every problem with its place; our own faults say only the request's id.
 */
import { z } from 'zod';
import { RegistryError, UnavailableError } from '#domain/errors.ts';
import { refusedPolicy } from './management-schemas.ts';

export type FailureReply = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: { readonly error: Failure };
  readonly isOurFault: boolean;
};

type Failure = {
  readonly code: string;
  readonly message: string;
  readonly problems?: readonly unknown[];
  readonly tried?: readonly string[];
};

export function failureReply(thrown: unknown, requestId: string): FailureReply {
  if (thrown instanceof RegistryError) {
    return reply(thrown.status, { code: thrown.code, message: thrown.message });
  }
  if (thrown instanceof UnavailableError) {
    const seconds = Math.max(1, Math.ceil(thrown.retryAfterMs / 1000));
    const { message, tried } = thrown;
    return reply(503, { code: 'UNAVAILABLE', message, tried }, { 'Retry-After': String(seconds) });
  }
  if (thrown instanceof z.ZodError) return reply(400, { code: 'INVALID', message: issuesOf(thrown) });
  const refused = refusedPolicy.safeParse(thrown);
  if (refused.success) return reply(422, { code: 'POLICY_REFUSED', ...refused.data });
  const status = clientStatusOf(thrown);
  if (status !== undefined) {
    return reply(status, {
      code: status === 413 ? 'TOO_LARGE' : 'INVALID',
      message: (thrown as Error).message,
    });
  }
  const message = `an internal error occurred; its log lines carry the request id ${requestId}`;
  return { ...reply(500, { code: 'INTERNAL', message }), isOurFault: true };
}

function reply(status: number, failure: Failure, headers: Record<string, string> = {}): FailureReply {
  return { status, headers, body: { error: failure }, isOurFault: false };
}

function issuesOf(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.join('.') || 'query'}: ${issue.message}`).join('; ');
}

/** What fastify refused before a handler saw it: a body that is too large, a malformed path or header. */
function clientStatusOf(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !('statusCode' in thrown)) return undefined;
  const { statusCode } = thrown;
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500 ? statusCode : undefined;
}
