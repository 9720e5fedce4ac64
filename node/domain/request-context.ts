/**
 * What every request carries through the house, over every hop, and into every log line.
 */
import type { Permit } from './permit.ts';
import type { RegionName } from './region.ts';
import type { Trace } from './trace.ts';

export type RequestContext = {
  /** `Fairway-Request-Id`: taken from the request or made. */
  readonly requestId: string;
  /** From `traceparent`, or begun. Absent for work that nobody asked for. */
  readonly trace?: Trace | undefined;
  /** Aborts when the client has gone or the node stops. */
  readonly signal: AbortSignal;
  /** Who asks; `anonymous` where nobody said. Stands in the claims that a write makes. */
  readonly principal: string;
  /** The region that asks on behalf of its client: answer from what is here, and ask nobody (stops loops). */
  readonly from?: RegionName;
  /** What the client may do. Absent where no client asks: between regions, and for work of our own. */
  readonly permit?: Permit;
};

/** What a request puts into each of its log lines. */
export function requestFields({ requestId, trace }: Pick<RequestContext, 'requestId' | 'trace'>) {
  return trace === undefined ? { requestId } : { requestId, traceId: trace.traceId };
}

/** What goes along to whoever is asked on its behalf. */
export function asking({ requestId, trace }: Pick<RequestContext, 'requestId' | 'trace'>) {
  return trace === undefined ? { requestId } : { requestId, trace };
}
