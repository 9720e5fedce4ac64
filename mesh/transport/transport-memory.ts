/**
 * `Transport` in memory, for tests of whatever stands above it: any number of regions in one process, whose links
 * are cut and healed at will. Every message passes through the wire codec, so that nobody shares an object with a
 * peer, and arrives in a later microtask, in order. Nothing is delayed or reordered: that is the simulation's work.
 */
import assert from 'node:assert/strict';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import { parseRegionNumber, type RegionNumber } from '#domain/region.ts';
import type { Message } from '#mesh/claims/message.ts';
import { type Clock, systemClock } from '#runtime/clock.ts';
import { QUEUE_BYTES_MAX } from './grpc-stream.ts';
import type {
  HoldingsReply,
  HoldingsRequest,
  Link,
  LocateReply,
  LocateRequest,
  Transport,
  TransportHandlers,
} from './transport.ts';
import { decodeMessage, encodeMessage, isFollowerMessage } from './wire.ts';

export function memoryMesh(numbers: readonly number[], clock: Clock = systemClock): MemoryMesh {
  return new MemoryMesh(numbers.map(parseRegionNumber), clock);
}

/** The wires between the regions. A link is up while both ends run and nobody cut it. */
export class MemoryMesh {
  readonly #clock: Clock;
  readonly #numbers: readonly RegionNumber[];
  readonly #running = new Map<RegionNumber, TransportHandlers>();
  readonly #wires: readonly Wire[];

  constructor(numbers: readonly RegionNumber[], clock: Clock) {
    this.#clock = clock;
    this.#numbers = numbers;
    this.#wires = numbers.flatMap((dialler) =>
      numbers.filter((peer) => peer !== dialler).map((peer) => new Wire(dialler, peer, clock.nowMs())),
    );
  }

  /** A region's transport; another one after it was disposed is that region's restart. */
  transport(number: number): Transport {
    const self = this.#numbers.find((known) => known === number);
    assert.ok(self !== undefined, `region ${number} is not in this mesh`);
    return new MemoryTransport(this, self);
  }

  /** Cuts the link that `dialler` holds to `peer`; what is on its way is lost. The peer's own link stays. */
  cut(dialler: number, peer: number): void {
    this.wire(dialler, peer).cut = true;
    this.#settle('the link was cut');
  }

  heal(dialler: number, peer: number): void {
    this.wire(dialler, peer).cut = false;
    this.#settle('');
  }

  /** The wire that `dialler` holds to `peer`. */
  wire(dialler: number, peer: number): Wire {
    const found = this.#wires.find((wire) => wire.dialler === dialler && wire.peer === peer);
    assert.ok(found !== undefined, `there is no link from ${dialler} to ${peer}`);
    return found;
  }

  wiresOf(dialler: RegionNumber): readonly Wire[] {
    return this.#wires.filter((wire) => wire.dialler === dialler);
  }

  handlersOf(number: RegionNumber): TransportHandlers | undefined {
    return this.#running.get(number);
  }

  join(number: RegionNumber, handlers: TransportHandlers): void {
    assert.ok(!this.#running.has(number), `region ${number} runs already`);
    this.#running.set(number, handlers);
    this.#settle('');
  }

  leave(number: RegionNumber): void {
    this.#running.delete(number);
    this.#settle(`region ${number} is stopping`);
  }

  /** Brings every wire to what its ends and cuts make of it. */
  #settle(reason: string): void {
    for (const wire of this.#wires) {
      const [dialler, peer] = [this.#running.get(wire.dialler), this.#running.get(wire.peer)];
      const up = dialler !== undefined && peer !== undefined && !wire.cut;
      if (up === wire.isUp) continue;
      wire.turn(up, { reason, nowMs: this.#clock.nowMs() });
      const tell = () => (up ? dialler.linkUp(wire.peer) : dialler?.linkDown(wire.peer, reason));
      wire.later(() => {
        if (this.#running.get(wire.dialler) === dialler) tell();
      });
    }
  }
}

/** One dialled link, both its directions. */
class Wire {
  readonly dialler: RegionNumber;
  readonly peer: RegionNumber;
  cut = false;
  #sinceMs: number;
  #reason = 'not dialled yet';
  /** Aborts when the link falls; absent while it is down. */
  #life: AbortController | undefined;
  #queuedBytes = 0;

  constructor(dialler: RegionNumber, peer: RegionNumber, nowMs: number) {
    this.dialler = dialler;
    this.peer = peer;
    this.#sinceMs = nowMs;
  }

  get isUp(): boolean {
    return this.#life !== undefined;
  }

  /** Aborts when the link falls; `undefined` while it is down. */
  get life(): AbortSignal | undefined {
    return this.#life?.signal;
  }

  get link(): Link {
    const { peer, isUp } = this;
    return { peer, up: isUp, sinceMs: this.#sinceMs, roundTripMs: 0, reason: isUp ? '' : this.#reason };
  }

  turn(up: boolean, change: { readonly reason: string; readonly nowMs: number }): void {
    this.#life?.abort(new Error(change.reason));
    this.#life = up ? new AbortController() : undefined;
    this.#reason = change.reason;
    this.#sinceMs = change.nowMs;
    this.#queuedBytes = 0;
  }

  /** Microtasks run in the order in which they were queued, which makes every wire one. */
  later(deliver: () => void): void {
    queueMicrotask(deliver);
  }

  /** False while the link is down, or when too much is on its way. */
  carry(message: Message, deliver: (message: Message) => void): boolean {
    const life = this.life;
    if (life === undefined) return false;
    const bytes = encodeMessage(message);
    if (this.#queuedBytes > 0 && this.#queuedBytes + bytes.length > QUEUE_BYTES_MAX) return false;
    this.#queuedBytes += bytes.length;
    this.later(() => {
      if (life.aborted) return;
      this.#queuedBytes -= bytes.length;
      deliver(decodeMessage(bytes));
    });
    return true;
  }
}

class MemoryTransport implements Transport {
  readonly #mesh: MemoryMesh;
  readonly #self: RegionNumber;
  #started = false;

  constructor(mesh: MemoryMesh, self: RegionNumber) {
    this.#mesh = mesh;
    this.#self = self;
  }

  async start(handlers: TransportHandlers): Promise<void> {
    this.#mesh.join(this.#self, handlers);
    this.#started = true;
  }

  send(to: RegionNumber, message: Message): boolean {
    const wire = isFollowerMessage(message)
      ? this.#mesh.wire(this.#self, to)
      : this.#mesh.wire(to, this.#self);
    return wire.carry(message, (arrived) => this.#mesh.handlersOf(to)?.received(this.#self, arrived));
  }

  async locate(to: RegionNumber, request: LocateRequest, signal: AbortSignal): Promise<LocateReply> {
    return await this.#ask(to, signal, (handlers) => handlers.locate(this.#self, request));
  }

  async holdings(to: RegionNumber, request: HoldingsRequest, signal: AbortSignal): Promise<HoldingsReply> {
    return await this.#ask(to, signal, (handlers) => handlers.holdings(this.#self, request));
  }

  links(): readonly Link[] {
    return this.#mesh.wiresOf(this.#self).map((wire) => wire.link);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#started) this.#mesh.leave(this.#self);
    this.#started = false;
  }

  /** An answer races against the caller's signal and the end of the link. */
  async #ask<Reply>(
    to: RegionNumber,
    signal: AbortSignal,
    ask: (handlers: TransportHandlers) => Promise<Reply>,
  ): Promise<Reply> {
    const { life, link } = this.#mesh.wire(this.#self, to);
    const handlers = this.#mesh.handlersOf(to);
    if (life === undefined || handlers === undefined) {
      throw new UnavailableError(`no link to region ${to}: ${link.reason}`);
    }
    const ended = Promise.withResolvers<never>();
    const either = AbortSignal.any([life, signal]);
    const end = () => ended.reject(either.reason);
    if (either.aborted) end();
    either.addEventListener('abort', end, { once: true });
    try {
      return structuredClone(await Promise.race([ask(handlers), ended.promise]));
    } catch (cause) {
      throw new UnavailableError(`region ${to} did not answer: ${messageOf(cause)}`, { cause });
    } finally {
      either.removeEventListener('abort', end);
    }
  }
}
