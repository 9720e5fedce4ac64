/**
 * `Transport` over gRPC with mutual TLS. Every region dials every other and listens for them: of the two links
 * between A and B, the one that A dials brings A what B knows. `send` picks the one that fits the message.
 *
 * Who a peer is, its certificate says, and only a region of the roster is let in; what it sends is checked before
 * anything is used of it. A peer that breaks the rules loses its link, with a reason on both sides, and may dial
 * again. Limit: certificates are checked at the handshake only.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { status } from '@grpc/grpc-js';
import { UnavailableError } from '#domain/errors.ts';
import type { Epoch, RegionName, RegionNumber } from '#domain/region.ts';
import type { Message } from '#mesh/claims/message.ts';
import { type MeshId, parseMeshId } from '#mesh/membership/roster.ts';
import { type Hello, MeshService } from '#protos/fairway/mesh/v1/mesh_pb.ts';
import type { BackoffConfig } from '#runtime/backoff.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Registry } from '#runtime/metrics.ts';
import type { Random } from '#runtime/random.ts';
import { TaskGroup } from '#runtime/task-group.ts';
import { type Refusal, RpcServer, type TlsFiles } from './grpc-glue.ts';
import type { StreamEnd } from './grpc-stream.ts';
import { makeHello } from './hello.ts';
import { InboundLinks } from './inbound-links.ts';
import { OutboundLink } from './outbound-link.ts';
import { type PeerIdentity, peerIdentity, sameIdentity } from './peer-identity.ts';
import { answerQuestions, Questions } from './questions.ts';
import type {
  HoldingsReply,
  HoldingsRequest,
  Link,
  LocateReply,
  LocateRequest,
  Transport,
  TransportHandlers,
} from './transport.ts';
import { TransportMetrics } from './transport-metrics.ts';
import { isFollowerMessage } from './wire.ts';

export type GrpcTransportDeps = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Registry;
};

export type GrpcTransportConfig = {
  readonly meshId: string;
  readonly self: {
    readonly region: RegionName;
    readonly number: RegionNumber;
    /** Read at every hello: a restore begins another epoch while the process runs. */
    readonly epoch: () => Epoch;
  };
  /** Port 0: any; `port` says which. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls: TlsFiles;
  /** Every other region of the roster; whoever is not in it is refused. */
  readonly peers: readonly {
    readonly number: RegionNumber;
    readonly name: RegionName;
    /** `host:port` where we reach it. */
    readonly address: string;
  }[];
  readonly timings?: Partial<TransportTimings>;
};

export type TransportTimings = {
  /** Between beats. Default 1 s: a few bytes a second a link, and a round trip that is never old. */
  readonly beatMs: number;
  /** A link without any frame for so long is closed. Default 5 s: four lost beats are no accident. */
  readonly silenceMs: number;
  /** Between dials. Default 100 ms to 5 s: a restarted peer is found at once, a dead one is not hammered. */
  readonly redial: BackoffConfig;
  /** Longest wait for an answer, whatever the caller's signal says. Default 3 s, Locate's longest budget. */
  readonly requestMs: number;
  /** How long calls of peers may go on when we stop. Default 1 s, of the 5 s in which a process must end. */
  readonly drainMs: number;
};

const TIMINGS: TransportTimings = {
  beatMs: 1000,
  silenceMs: 5000,
  redial: { baseMs: 100, maxMs: 5000 },
  requestMs: 3000,
  drainMs: 1000,
};
/** Clocks further apart than this are worth a warning; they only break ties, but people read times. */
const CLOCK_OFFSET_WARN_MS = 10_000;

export class GrpcTransport implements Transport {
  readonly #deps: GrpcTransportDeps;
  readonly #config: GrpcTransportConfig;
  readonly #timings: TransportTimings;
  readonly #self: PeerIdentity;
  readonly #metrics: TransportMetrics;
  readonly #tasks: TaskGroup;
  readonly #server: RpcServer<PeerIdentity>;
  readonly #inbound: InboundLinks;
  readonly #questions: Questions;
  readonly #outbound: ReadonlyMap<RegionNumber, OutboundLink>;
  /** Absent before `start` and from the beginning of disposal on: nobody is called then. */
  #handlers: TransportHandlers | undefined;
  #ticker: Disposable | undefined;
  #tickedMs = 0;
  #port = 0;

  /** @throws TypeError when the mesh id is malformed, or when the certificate is not this region's. */
  constructor(deps: GrpcTransportDeps, config: GrpcTransportConfig) {
    this.#deps = deps;
    this.#config = config;
    this.#timings = { ...TIMINGS, ...config.timings };
    const meshId = parseMeshId(config.meshId);
    this.#self = { meshId, region: config.self.region, number: config.self.number };
    refuseForeignCertificate(config.tls.certificatePem, this.#self);
    this.#tasks = new TaskGroup((err) => deps.log.error('mesh link loop failed', { err }));
    this.#inbound = new InboundLinks(
      {
        clock: deps.clock,
        hello: () => this.#hello(),
        received: (from, message) => this.#received(from, message),
        ended: (peer, end) => this.#inboundEnded(peer, end),
      },
      { silenceMs: this.#timings.silenceMs },
    );
    this.#outbound = new Map(config.peers.map((peer) => [peer.number, this.#outboundLink(meshId, peer)]));
    this.#metrics = new TransportMetrics(deps.metrics, () =>
      [...this.#outbound.values()].map((link) => ({ ...link.link(), name: link.name })),
    );
    this.#questions = new Questions(
      { clock: deps.clock, malformed: () => this.#metrics.ended(status.INVALID_ARGUMENT) },
      { requestMs: this.#timings.requestMs },
    );
    this.#server = this.#rpcServer();
  }

  /** Where it listens; 0 before `start`. */
  get port(): number {
    return this.#port;
  }

  /** @throws UnavailableError when the address cannot be listened on. */
  async start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers;
    this.#port = await this.#server.listen(this.#config.listen, this.#config.tls);
    this.#tickedMs = this.#deps.clock.monotonicMs();
    this.#ticker = this.#deps.clock.every(this.#timings.beatMs, () => this.#tick());
    for (const link of this.#outbound.values()) this.#tasks.start((signal) => link.run(signal));
  }

  send(to: RegionNumber, message: Message): boolean {
    const queued = isFollowerMessage(message)
      ? (this.#outbound.get(to)?.send(message) ?? false)
      : this.#inbound.send(to, message);
    this.#metrics.sent(message.type, queued);
    return queued;
  }

  async locate(to: RegionNumber, request: LocateRequest, signal: AbortSignal): Promise<LocateReply> {
    return await this.#questions.locate(this.#link(to), request, signal);
  }

  async holdings(to: RegionNumber, request: HoldingsRequest, signal: AbortSignal): Promise<HoldingsReply> {
    return await this.#questions.holdings(this.#link(to), request, signal);
  }

  links(): readonly Link[] {
    return [...this.#outbound.values()].map((link) => link.link());
  }

  /** Peers are told; their calls have `drainMs` to end. No handler is called from here on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#handlers = undefined;
    this.#ticker?.[Symbol.dispose]();
    this.#inbound.close(`${this.#self.region} is stopping`);
    await this.#tasks[Symbol.asyncDispose]();
    const drained = new AbortController();
    const waited = this.#deps.clock.sleep(this.#timings.drainMs, drained.signal).catch(() => undefined);
    await Promise.race([this.#server.drain(), waited]);
    drained.abort();
    await this.#server[Symbol.asyncDispose]();
  }

  #outboundLink(meshId: MeshId, peer: GrpcTransportConfig['peers'][number]): OutboundLink {
    const { clock, random } = this.#deps;
    return new OutboundLink(
      {
        clock,
        random,
        hello: () => this.#hello(),
        received: (message) => this.#received(peer.number, message),
        up: (hello) => this.#linkUp(peer, hello),
        down: (end, dial) => this.#linkDown(peer, end, dial),
      },
      {
        peer: { meshId, region: peer.name, number: peer.number },
        address: peer.address,
        tls: this.#config.tls,
        silenceMs: this.#timings.silenceMs,
        redial: this.#timings.redial,
      },
    );
  }

  #rpcServer(): RpcServer<PeerIdentity> {
    const { log } = this.#deps;
    const server = new RpcServer<PeerIdentity>({
      admit: (certificate) => this.#admit(certificate),
      refused: ({ code, reason }) => {
        this.#metrics.ended(code);
        log.warn('call of a peer refused', { reason });
      },
      failed: (method, err) => log.error('answer to a peer failed', { method, err }),
    });
    server.bidi(MeshService.method.follow, (stream, caller) => this.#inbound.accept(stream, caller));
    answerQuestions(server, () => this.#running());
    return server;
  }

  #link(to: RegionNumber): OutboundLink {
    const link = this.#outbound.get(to);
    assert.ok(link !== undefined, `region ${to} is no peer`);
    return link;
  }

  #running(): TransportHandlers {
    if (this.#handlers !== undefined) return this.#handlers;
    throw new UnavailableError(`${this.#self.region} is starting or stopping`);
  }

  /** TLS has verified the chain; this decides whether its holder is a peer of the roster. */
  #admit(certificate: PeerCertificate | undefined): { readonly caller: PeerIdentity } | Refusal {
    const caller = certificate === undefined ? undefined : peerIdentity(certificate);
    if (caller === undefined) {
      return { code: status.PERMISSION_DENIED, reason: 'the certificate names no region' };
    }
    const known =
      caller.meshId === this.#self.meshId && this.#outbound.get(caller.number)?.name === caller.region;
    if (known) return { caller };
    const who = `${caller.region} (${caller.number}) of mesh "${caller.meshId}"`;
    return { code: status.PERMISSION_DENIED, reason: `${who} is not in the roster of ${this.#self.region}` };
  }

  #hello(): Hello {
    const { meshId, number } = this.#self;
    return makeHello({ meshId, number, epoch: this.#config.self.epoch(), wallMs: this.#deps.clock.nowMs() });
  }

  #received(from: RegionNumber, message: Message): void {
    this.#metrics.received(message.type);
    this.#handlers?.received(from, message);
  }

  #linkUp(peer: { readonly number: RegionNumber; readonly name: RegionName }, hello: Hello): void {
    const { clock, log } = this.#deps;
    log.info('mesh link came up', { peer: peer.name });
    const offsetMs = Math.round(Number(hello.wallMs) - clock.nowMs());
    if (Math.abs(offsetMs) > CLOCK_OFFSET_WARN_MS) {
      log.warn('clock of a peer differed', { peer: peer.name, durationMs: offsetMs });
    }
    this.#handlers?.linkUp(peer.number);
  }

  #linkDown(
    peer: { readonly number: RegionNumber; readonly name: RegionName },
    end: StreamEnd,
    dial: { readonly wasUp: boolean; readonly isNews: boolean },
  ): void {
    if (end.endedBy === 'us') this.#metrics.ended(end.code);
    const fields = { peer: peer.name, reason: end.reason };
    if (dial.wasUp) this.#deps.log.warn('mesh link went down', fields);
    else if (dial.isNews) this.#deps.log.warn('mesh link could not be made', fields);
    if (dial.wasUp) this.#handlers?.linkDown(peer.number, end.reason);
  }

  #inboundEnded(peer: PeerIdentity, end: StreamEnd): void {
    if (end.endedBy === 'us') this.#metrics.ended(end.code);
    this.#deps.log.info('link of a peer ended', { peer: peer.region, reason: end.reason });
  }

  #tick(): void {
    const nowMs = this.#deps.clock.monotonicMs();
    // A tick that is this late says that our own process stood still: what peers sent meanwhile is not read yet.
    const forgive = nowMs - this.#tickedMs > this.#timings.beatMs + this.#timings.silenceMs / 2;
    this.#tickedMs = nowMs;
    for (const link of this.#outbound.values()) link.tick(forgive);
    this.#inbound.tick(forgive);
  }
}

function refuseForeignCertificate(certificatePem: string, self: PeerIdentity): void {
  const { subjectAltName } = new X509Certificate(certificatePem);
  if (sameIdentity(peerIdentity({ subjectaltname: subjectAltName }), self)) return;
  const names = subjectAltName ?? 'nobody';
  throw new TypeError(`the certificate is of ${names}, not of region ${self.region} (${self.number})`);
}
