/**
 * The links that peers dial to us: `delta` and `summary` go out on them, `follow` and `ack` come in. Each peer has
 * one; a second dial of the same region replaces the first, whose end we may not have noticed yet.
 */
import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import type { RegionNumber } from '#domain/region.ts';
import {
  type FollowRequest,
  type FollowResponse,
  FollowResponseSchema,
  type Hello,
} from '#protos/fairway/mesh/v1/mesh_pb.ts';
import type { Clock } from '#runtime/clock.ts';
import type { RpcStream, StreamEnd, StreamEvents } from './grpc-stream.ts';
import { refusalOfHello } from './hello.ts';
import type { PeerIdentity } from './peer-identity.ts';
import {
  type FollowerMessage,
  fromFollowRequest,
  MalformedMessageError,
  type SourceMessage,
  toFollowResponse,
} from './wire.ts';

export type InboundDeps = {
  readonly clock: Clock;
  /** Our own hello, as of now. */
  readonly hello: () => Hello;
  readonly received: (from: RegionNumber, message: FollowerMessage) => void;
  readonly ended: (peer: PeerIdentity, end: StreamEnd) => void;
};

export type InboundConfig = { readonly silenceMs: number };

type InboundLink = {
  readonly peer: PeerIdentity;
  readonly stream: RpcStream<FollowResponse>;
  heardMs: number;
};

export class InboundLinks {
  readonly #deps: InboundDeps;
  readonly #config: InboundConfig;
  /** Every open stream, those before their hello included. */
  readonly #open = new Set<InboundLink>();
  /** Those whose hello was accepted. */
  readonly #greeted = new Map<RegionNumber, InboundLink>();

  constructor(deps: InboundDeps, config: InboundConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  accept(stream: RpcStream<FollowResponse>, peer: PeerIdentity): StreamEvents<FollowRequest> {
    const link: InboundLink = { peer, stream, heardMs: this.#deps.clock.monotonicMs() };
    this.#open.add(link);
    return {
      message: (request) => this.#receive(link, request),
      closed: (end) => {
        this.#open.delete(link);
        if (this.#greeted.get(peer.number) === link) this.#greeted.delete(peer.number);
        this.#deps.ended(peer, end);
      },
    };
  }

  send(to: RegionNumber, message: SourceMessage): boolean {
    return this.#greeted.get(to)?.stream.send(toFollowResponse(message)) ?? false;
  }

  /** Every beat. `forgive`: this process itself stood still, and cannot judge who was silent. */
  tick(forgive: boolean): void {
    const nowMs = this.#deps.clock.monotonicMs();
    for (const link of this.#open) {
      if (forgive) link.heardMs = nowMs;
      if (nowMs - link.heardMs <= this.#config.silenceMs) continue;
      const reason = `nothing was heard from the peer for ${this.#config.silenceMs} ms`;
      link.stream.close(status.DEADLINE_EXCEEDED, reason);
    }
  }

  close(reason: string): void {
    for (const link of this.#open) link.stream.close(status.UNAVAILABLE, reason);
  }

  #receive(link: InboundLink, request: FollowRequest): void {
    link.heardMs = this.#deps.clock.monotonicMs();
    const { message } = request;
    if (this.#greeted.get(link.peer.number) !== link) {
      if (message.case !== 'hello') throw new MalformedMessageError('the first message is no hello');
      this.#greet(link, message.value);
    } else if (message.case === 'beat') {
      const value = { echoUs: message.value.sentUs };
      link.stream.send(create(FollowResponseSchema, { message: { case: 'beat', value } }));
    } else {
      this.#deps.received(link.peer.number, fromFollowRequest(request));
    }
  }

  #greet(link: InboundLink, hello: Hello): void {
    const refusal = refusalOfHello(hello, link.peer);
    if (refusal !== undefined) {
      link.stream.close(refusal.code, refusal.reason);
      return;
    }
    const former = this.#greeted.get(link.peer.number);
    this.#greeted.set(link.peer.number, link);
    former?.stream.close(status.ABORTED, 'the same region dialled again');
    link.stream.send(create(FollowResponseSchema, { message: { case: 'hello', value: this.#deps.hello() } }));
  }
}
