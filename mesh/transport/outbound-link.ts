/**
 * The link to one peer as we dial it: `follow` and `ack` go out on it, `delta` and `summary` come in. It is dialled
 * again whenever it ends, for as long as the transport runs, with back-off and jitter.
 *
 * Up means that the peer's certificate and hello were accepted. A link on which nothing arrives for `silenceMs` is
 * closed: beats go out every second and are echoed, so that a healthy link is never silent.
 */
import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import type { RegionName, RegionNumber } from '#domain/region.ts';
import {
  type Beat,
  type FollowRequest,
  FollowRequestSchema,
  type FollowResponse,
  type Hello,
  MeshService,
} from '#protos/fairway/mesh/v1/mesh_pb.ts';
import { type BackoffConfig, backoffMs } from '#runtime/backoff.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Random } from '#runtime/random.ts';
import { RpcClient, type RpcClientConfig } from './grpc-glue.ts';
import type { RpcStream, StreamEnd } from './grpc-stream.ts';
import { refusalOfHello } from './hello.ts';
import { type PeerIdentity, peerIdentity, sameIdentity } from './peer-identity.ts';
import type { Link } from './transport.ts';
import {
  type FollowerMessage,
  fromFollowResponse,
  MalformedMessageError,
  type SourceMessage,
  toFollowRequest,
} from './wire.ts';

export type OutboundDeps = {
  readonly clock: Clock;
  readonly random: Random;
  /** Our own hello, as of now. */
  readonly hello: () => Hello;
  readonly received: (message: SourceMessage) => void;
  readonly up: (hello: Hello) => void;
  /** After every dial that ended. `wasUp`: it had reached the peer. `isNews`: the dial before ended otherwise. */
  readonly down: (end: StreamEnd, dial: { readonly wasUp: boolean; readonly isNews: boolean }) => void;
};

export type OutboundConfig = {
  readonly peer: PeerIdentity;
  readonly address: string;
  readonly tls: RpcClientConfig['tls'];
  readonly silenceMs: number;
  readonly redial: BackoffConfig;
};

/** Weight of a new measure in the smoothed round trip. Source: RFC 6298, section 2. */
const ROUND_TRIP_GAIN = 1 / 8;

type Dial = {
  readonly client: RpcClient;
  readonly stream: RpcStream<FollowRequest>;
  readonly startedMs: number;
  /** When the hello was accepted; `undefined` before. */
  upMs: number | undefined;
  heardMs: number;
};

export class OutboundLink {
  readonly #deps: OutboundDeps;
  readonly #config: OutboundConfig;
  #dial: Dial | undefined;
  #sinceMs: number;
  #reason = 'not dialled yet';
  #roundTripMs = 0;
  /** Of the last link that the peer ended: questions that it still answers may end. */
  #former: RpcClient | undefined;

  constructor(deps: OutboundDeps, config: OutboundConfig) {
    this.#deps = deps;
    this.#config = config;
    this.#sinceMs = deps.clock.nowMs();
  }

  get name(): RegionName {
    return this.#config.peer.region;
  }

  get number(): RegionNumber {
    return this.#config.peer.number;
  }

  /** For questions; `undefined` while the link is down. */
  get client(): RpcClient | undefined {
    return this.#dial?.upMs === undefined ? undefined : this.#dial.client;
  }

  link(): Link {
    const up = this.client !== undefined;
    return {
      peer: this.number,
      up,
      sinceMs: this.#sinceMs,
      roundTripMs: this.#roundTripMs,
      reason: up ? '' : this.#reason,
    };
  }

  /** Dials until the signal aborts, and rejects then. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#deps;
    let attempt = 0;
    try {
      while (!signal.aborted) {
        const upForMs = await this.#dialOnce(signal);
        // A link that falls at once is dialled as rarely as one that never stood.
        attempt = upForMs >= this.#config.redial.maxMs ? 1 : attempt + 1;
        await clock.sleep(backoffMs(attempt, this.#config.redial, random), signal);
      }
    } finally {
      this.#former?.[Symbol.dispose]();
    }
  }

  send(message: FollowerMessage): boolean {
    if (this.#dial?.upMs === undefined) return false;
    return this.#dial.stream.send(toFollowRequest(message));
  }

  /** Every beat. `forgive`: this process itself stood still, and cannot judge who was silent. */
  tick(forgive: boolean): void {
    if (this.#dial === undefined) return;
    const nowMs = this.#deps.clock.monotonicMs();
    if (forgive) this.#dial.heardMs = nowMs;
    if (nowMs - this.#dial.heardMs > this.#config.silenceMs) {
      const reason = `nothing was heard from the peer for ${this.#config.silenceMs} ms`;
      this.#dial.stream.close(status.DEADLINE_EXCEEDED, reason);
    } else if (this.#dial.upMs !== undefined) {
      this.#beat(this.#dial);
    }
  }

  /** How long the link was up, in ms. */
  async #dialOnce(signal: AbortSignal): Promise<number> {
    const { clock } = this.#deps;
    const { address, peer, tls } = this.#config;
    const client = new RpcClient({
      address,
      tls,
      serverName: peer.region,
      checkServer: (certificate) => wrongServer(peerIdentity(certificate), peer),
    });
    const ended = Promise.withResolvers<StreamEnd>();
    const startedMs = clock.monotonicMs();
    client.bidi(MeshService.method.follow, signal, (stream) => {
      const dial: Dial = { client, stream, startedMs, upMs: undefined, heardMs: startedMs };
      this.#dial = dial;
      stream.send(create(FollowRequestSchema, { message: { case: 'hello', value: this.#deps.hello() } }));
      return { message: (response) => this.#receive(dial, response), closed: ended.resolve };
    });
    const end = await ended.promise;
    this.#retire(client, end);
    return this.#fall(end);
  }

  /** One former client at most: whatever hangs in it ends with the next link that falls. */
  #retire(client: RpcClient, end: StreamEnd): void {
    if (this.#dial?.upMs === undefined || end.endedBy === 'us') {
      client[Symbol.dispose]();
      return;
    }
    this.#former?.[Symbol.dispose]();
    this.#former = client;
    client.close();
  }

  #fall(end: StreamEnd): number {
    const { clock } = this.#deps;
    const upMs = this.#dial?.upMs;
    const wasUp = upMs !== undefined;
    const isNews = wasUp || end.reason !== this.#reason;
    this.#dial = undefined;
    this.#reason = end.reason;
    this.#roundTripMs = 0;
    if (wasUp) this.#sinceMs = clock.nowMs();
    this.#deps.down(end, { wasUp, isNews });
    return wasUp ? clock.monotonicMs() - upMs : 0;
  }

  #receive(dial: Dial, response: FollowResponse): void {
    dial.heardMs = this.#deps.clock.monotonicMs();
    const { message } = response;
    if (dial.upMs === undefined) {
      if (message.case !== 'hello') throw new MalformedMessageError('the first message is no hello');
      this.#greeted(dial, message.value);
    } else if (message.case === 'beat') {
      this.#echoed(dial, message.value);
    } else {
      this.#deps.received(fromFollowResponse(response));
    }
  }

  #greeted(dial: Dial, hello: Hello): void {
    const refusal = refusalOfHello(hello, this.#config.peer);
    if (refusal !== undefined) {
      dial.stream.close(refusal.code, refusal.reason);
      return;
    }
    dial.upMs = dial.heardMs;
    this.#sinceMs = this.#deps.clock.nowMs();
    this.#beat(dial);
    this.#deps.up(hello);
  }

  #beat(dial: Dial): void {
    const sentUs = microseconds(this.#deps.clock.monotonicMs());
    dial.stream.send(create(FollowRequestSchema, { message: { case: 'beat', value: { sentUs } } }));
  }

  #echoed(dial: Dial, { echoUs }: Beat): void {
    const nowMs = this.#deps.clock.monotonicMs();
    const ours = echoUs >= microseconds(dial.startedMs) && echoUs <= microseconds(nowMs);
    if (!ours) throw new MalformedMessageError('the peer echoes a beat that was never sent');
    const measureMs = Number(microseconds(nowMs) - echoUs) / 1000;
    const first = this.#roundTripMs === 0;
    this.#roundTripMs += (measureMs - this.#roundTripMs) * (first ? 1 : ROUND_TRIP_GAIN);
  }
}

function wrongServer(found: PeerIdentity | undefined, peer: PeerIdentity): string | undefined {
  if (sameIdentity(found, peer)) return undefined;
  const holder =
    found === undefined ? 'no region' : `${found.region} (${found.number}) of mesh "${found.meshId}"`;
  return `the server's certificate is of ${holder}; dialled was ${peer.region} (${peer.number})`;
}

function microseconds(ms: number): bigint {
  return BigInt(Math.round(ms * 1000));
}
