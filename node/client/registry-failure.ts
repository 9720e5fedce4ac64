/**
 * An answer that is no answer, as an error that says who refused what, in whose words, and what to do about it.
 */
import { UnavailableError } from '#domain/errors.ts';
import type { ExchangeReply } from './http-exchange.ts';
import { parseRetryAfterMs } from './reply-headers.ts';

export type FailureContext = {
  /** The registry's or region's name in our configuration. */
  readonly name: string;
  /** What was asked for, e.g. `manifest 3.20 of library/alpine`. */
  readonly what: string;
  readonly nowMs: number;
};

const ERROR_BODY_BYTES_MAX = 16 * 1024;
const QUOTE_LENGTH_MAX = 200;

/** Consumes the reply's body. */
export async function failureOf(reply: ExchangeReply, context: FailureContext): Promise<UnavailableError> {
  const { name, what, nowMs } = context;
  const said = await wordsOf(reply);
  const retryAfterMs = parseRetryAfterMs(reply.header('retry-after'), nowMs);
  return new UnavailableError(
    `upstream "${name}" (${reply.url.host}) ${verdict(reply.status)} ${what}${said}`,
    {
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      tried: [`${name}: ${reply.status}${said}`],
    },
  );
}

function verdict(status: number): string {
  if (status === 401 || status === 403) {
    return `refused access (${status}); it does not exist there, or the upstream's credentials are missing or wrong:`;
  }
  if (status === 429) return 'limits our rate (429; credentials often raise the limit):';
  return `answered ${status} when asked for`;
}

/** The first message of a spec-shaped error body, as printable text; everything else says nothing worth quoting. */
async function wordsOf(reply: ExchangeReply): Promise<string> {
  try {
    const bytes = await reply.body.read(ERROR_BODY_BYTES_MAX);
    const { errors } = JSON.parse(new TextDecoder().decode(bytes)) as { errors?: { message?: unknown }[] };
    const message = errors?.[0]?.message;
    if (typeof message !== 'string' || message === '') return '';
    return ` (it says: ${message.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, QUOTE_LENGTH_MAX)})`;
  } catch {
    // A body that breaks off or is no JSON adds nothing; the status is the failure to report.
    return '';
  }
}
