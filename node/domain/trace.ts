/**
 * Where a request stands in a distributed trace: one id for the whole trace, and the id of the step that asked. It is
 * taken from who asks and passed on with our own step's id, so that a tracing system sees who called whom.
 *
 * What is malformed is as good as absent: another trace is begun, and never half of a foreign one used. Of versions
 * that are not known yet the four fields that every version has are read, and passed on as version 00.
 * Source: W3C Trace Context, sections 3.2 and 4.
 */

export type Trace = {
  /** 32 hexadecimal digits, not all zero. */
  readonly traceId: string;
  /** Of this step, 16 hexadecimal digits, not all zero: the parent of what it asks for. */
  readonly spanId: string;
  /** Whether who began the trace records it. */
  readonly sampled: boolean;
};

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const ZEROS = /^0+$/;
/** Longer than any version that may come is meant to be. */
const LENGTH_MAX = 256;

/** The trace of the step that asks; `undefined` when the text is no `traceparent`. */
export function parseTraceparent(text: string): Trace | undefined {
  if (text.length > LENGTH_MAX) return undefined;
  const [, version, traceId = '', spanId = '', flags = '', more] = TRACEPARENT.exec(text) ?? [];
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (ZEROS.test(traceId) || ZEROS.test(spanId)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** As it goes along to whoever is asked. */
export function traceparentText({ traceId, spanId, sampled }: Trace): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
}
