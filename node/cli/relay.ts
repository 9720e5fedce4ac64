/**
 * Pretended distance: one relay per directed pair of regions, through which all bytes between them pass. Nothing in
 * a node knows of it; a node only has addresses to dial.
 *
 * A link has two directions, each with a delay and a rate shared by all its connections; bytes are counted per
 * direction, and a link can be cut, which ends its connections and refuses new ones. What a direction holds back
 * (delay and rate) is bounded by stopping to read from the sender.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Address } from '#node/config.ts';
import type { Clock } from '#runtime/clock.ts';

export type Shape = {
  /** One-way delay in ms. */
  readonly delayMs: number;
  /** Bytes per second; 0 is unlimited. */
  readonly bytesPerSecond: number;
};

export const NO_SHAPE: Shape = { delayMs: 0, bytesPerSecond: 0 };
/** Beyond this much held back in one connection the sender is no longer read: 4 MiB carries 200 Mbit/s at 160 ms. */
const HELD_BYTES_MAX = 4 * 1024 * 1024;
/** A shaped direction is fed pieces of at most this size, so that rates stay smooth: 16 KiB at 5 MB/s is 3 ms. */
const PIECE_BYTES = 16 * 1024;

/** One direction between two regions: its shape, and the bytes that went through. */
export class Direction {
  shape: Shape;
  bytes = 0;
  #freeAtMs = 0;

  constructor(shape: Shape) {
    this.shape = shape;
  }

  /** When a piece that is ready now arrives; takes its share of the rate. */
  arrivalMs(sizeBytes: number, nowMs: number): number {
    const { bytesPerSecond, delayMs } = this.shape;
    if (bytesPerSecond === 0) return nowMs + delayMs;
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + (sizeBytes * 1000) / bytesPerSecond;
    return this.#freeAtMs + delayMs;
  }

  get isShaped(): boolean {
    return this.shape.delayMs > 0 || this.shape.bytesPerSecond > 0;
  }
}

/** Accepts on loopback what one region dials, and passes it to one listener of another. */
export class Relay implements AsyncDisposable {
  readonly #server: Server;
  readonly #target: Address;
  readonly #there: Direction;
  readonly #back: Direction;
  readonly #clock: RelayClock;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  constructor(
    deps: { readonly there: Direction; readonly back: Direction; readonly clock: RelayClock },
    target: Address,
  ) {
    this.#there = deps.there;
    this.#back = deps.back;
    this.#clock = deps.clock;
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  async listen(port: number): Promise<Address> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once('error', reject);
    this.#server.listen(port, '127.0.0.1', resolve);
    await promise;
    const bound = this.#server.address();
    if (bound === null || typeof bound === 'string') throw new Error('the relay has no port');
    return { host: '127.0.0.1', port: bound.port };
  }

  /** Ends every connection at once and refuses new ones until `heal`. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  heal(): void {
    this.#isCut = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    await promise;
  }

  #accept(near: Socket): void {
    if (this.#isCut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
    near.setNoDelay(true);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroySoon();
      });
    }
    carry(near, far, this.#there, this.#clock);
    carry(far, near, this.#back, this.#clock);
  }
}

type RelayClock = Pick<Clock, 'monotonicMs' | 'after'>;

/** Copies `from` to `to` under the direction's shape, keeping order, half-closes and back-pressure. */
function carry(from: Socket, to: Socket, direction: Direction, clock: RelayClock): void {
  const held: { readonly piece: Buffer | undefined; readonly atMs: number }[] = [];
  let heldBytes = 0;
  let waiting = false;
  let lastMs = 0;

  from.on('data', (chunk: Buffer) => {
    direction.bytes += chunk.length;
    if (!direction.isShaped && held.length === 0) {
      if (!to.write(chunk)) from.pause();
      return;
    }
    for (let start = 0; start < chunk.length; start += PIECE_BYTES)
      hold(chunk.subarray(start, start + PIECE_BYTES));
    if (heldBytes > HELD_BYTES_MAX) from.pause();
    release();
  });
  from.on('end', () => {
    if (held.length === 0) to.end();
    else hold(undefined);
  });
  to.on('drain', () => from.resume());

  function hold(piece: Buffer | undefined): void {
    lastMs = Math.max(lastMs, direction.arrivalMs(piece?.length ?? 0, clock.monotonicMs()));
    held.push({ piece, atMs: lastMs });
    heldBytes += piece?.length ?? 0;
  }

  function release(): void {
    if (waiting || to.destroyed) return;
    for (let next = held[0]; next !== undefined; next = held[0]) {
      const waitMs = next.atMs - clock.monotonicMs();
      if (waitMs > 0.5) {
        waiting = true;
        clock.after(waitMs, () => {
          waiting = false;
          release();
        });
        return;
      }
      held.shift();
      if (next.piece === undefined) to.end();
      else to.write(next.piece);
      heldBytes -= next.piece?.length ?? 0;
    }
    if (heldBytes <= HELD_BYTES_MAX / 2 && to.writableLength < HELD_BYTES_MAX) from.resume();
  }
}
