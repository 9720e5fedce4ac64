/**
 * Questions to one peer (Locate, Holdings) and the answers to theirs. A question has a deadline of its own beside
 * the caller's signal, is asked once, and only over a link that is up: whoever asks has other peers to try.
 */
import type { DescMessage, DescMethodUnary, MessageShape } from '@bufbuild/protobuf';
import { UnavailableError } from '#domain/errors.ts';
import { type Trace, traceparentText } from '#domain/trace.ts';
import { MeshService } from '#protos/fairway/mesh/v1/mesh_pb.ts';
import type { Clock } from '#runtime/clock.ts';
import type { RpcServer } from './grpc-glue.ts';
import type { OutboundLink } from './outbound-link.ts';
import type { PeerIdentity } from './peer-identity.ts';
import type {
  HoldingsReply,
  HoldingsRequest,
  LocateReply,
  LocateRequest,
  TransportHandlers,
} from './transport.ts';
import { MalformedMessageError } from './wire-fields.ts';
import {
  fromHoldingsRequest,
  fromHoldingsResponse,
  fromLocateRequest,
  fromLocateResponse,
  isRequestId,
  toHoldingsRequest,
  toHoldingsResponse,
  toLocateRequest,
  toLocateResponse,
} from './wire-requests.ts';

/** The request's id stands in the body, and here for whatever looks at headers on the way. */
export const REQUEST_ID_METADATA = 'fairway-request-id';
export const TRACE_METADATA = 'traceparent';

export type QuestionsDeps = {
  readonly clock: Clock;
  /** A peer's answer was malformed. */
  readonly malformed: () => void;
};

export type QuestionsConfig = {
  /** Longest wait for an answer, in ms. */
  readonly requestMs: number;
};

export class Questions {
  readonly #deps: QuestionsDeps;
  readonly #config: QuestionsConfig;

  constructor(deps: QuestionsDeps, config: QuestionsConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  /** @throws UnavailableError without a link, at the signal's end, or when the answer is an error or garbage. */
  async locate(link: OutboundLink, request: LocateRequest, signal: AbortSignal): Promise<LocateReply> {
    const asked = {
      request: toLocateRequest(request),
      trace: request.trace,
      read: fromLocateResponse,
      signal,
    };
    return await this.#ask(link, MeshService.method.locate, asked);
  }

  /** @throws UnavailableError as `locate`. */
  async holdings(link: OutboundLink, request: HoldingsRequest, signal: AbortSignal): Promise<HoldingsReply> {
    const asked = {
      request: toHoldingsRequest(request),
      trace: request.trace,
      read: fromHoldingsResponse,
      signal,
    };
    return await this.#ask(link, MeshService.method.holdings, asked);
  }

  async #ask<In extends DescMessage, Out extends DescMessage, Reply>(
    link: OutboundLink,
    method: DescMethodUnary<In, Out>,
    asked: Asked<MessageShape<In> & { readonly requestId: string }, MessageShape<Out>, Reply>,
  ): Promise<Reply> {
    const { client } = link;
    if (client === undefined) throw new UnavailableError(`no link to ${link.name}: ${link.link().reason}`);
    const { requestId } = asked.request;
    const { trace } = asked;
    try {
      const response = await client.unary(method, asked.request, {
        signal: asked.signal,
        deadlineMs: this.#deps.clock.nowMs() + this.#config.requestMs,
        metadata: {
          ...(requestId !== '' && isRequestId(requestId) ? { [REQUEST_ID_METADATA]: requestId } : {}),
          ...(trace === undefined ? {} : { [TRACE_METADATA]: traceparentText(trace) }),
        },
      });
      return asked.read(response);
    } catch (cause) {
      if (cause instanceof UnavailableError) {
        throw new UnavailableError(`${link.name} did not answer: ${cause.message}`, { cause });
      }
      if (!(cause instanceof MalformedMessageError)) throw cause;
      this.#deps.malformed();
      throw new UnavailableError(`${link.name} answered garbage: ${cause.message}`, { cause });
    }
  }
}

type Asked<Request, Response, Reply> = {
  readonly request: Request;
  readonly trace: Trace | undefined;
  readonly read: (response: Response) => Reply;
  readonly signal: AbortSignal;
};

/** `handlers` throws UnavailableError while there are none. */
export function answerQuestions(server: RpcServer<PeerIdentity>, handlers: () => TransportHandlers): void {
  const { locate, holdings } = MeshService.method;
  server.unary(locate, async (request, caller) =>
    toLocateResponse(await handlers().locate(caller.number, fromLocateRequest(request))),
  );
  server.unary(holdings, async (request, caller) =>
    toHoldingsResponse(await handlers().holdings(caller.number, fromHoldingsRequest(request))),
  );
}
