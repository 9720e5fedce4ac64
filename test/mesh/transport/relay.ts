/** A TCP relay in front of one port, for tests: delays bytes, holds them back, cuts connections, and counts. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export class Relay implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #targetPort: () => number;
  #isCut = false;
  /** One way, in ms. */
  delayMs = 0;
  /** While true, bytes are taken and go nowhere: a network that is silently gone. */
  swallows = false;
  /** Bytes that arrived from the target so far, and bytes handed on to the client. */
  readonly fromTarget = { taken: 0, delivered: 0, inFlightMax: 0 };

  private constructor(targetPort: () => number) {
    this.#targetPort = targetPort;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async open(targetPort: () => number): Promise<Relay> {
    const relay = new Relay(targetPort);
    const listening = Promise.withResolvers<void>();
    relay.#server.listen(0, '127.0.0.1', listening.resolve);
    await listening.promise;
    return relay;
  }

  get address(): string {
    const address = this.#server.address();
    return `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  }

  /** Connections from now on go to this port instead. */
  redirect(port: number): void {
    this.#targetPort = () => port;
  }

  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  heal(): void {
    this.#isCut = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    const closed = Promise.withResolvers<void>();
    this.#server.close(() => closed.resolve());
    await closed.promise;
  }

  #accept(client: Socket): void {
    if (this.#isCut) {
      client.destroy();
      return;
    }
    const target = connect(this.#targetPort(), '127.0.0.1');
    this.#pass(client, target, (_bytes) => undefined);
    this.#pass(target, client, (bytes) => {
      this.fromTarget.taken += Math.max(bytes, 0);
      this.fromTarget.delivered += Math.max(-bytes, 0);
      const inFlight = this.fromTarget.taken - this.fromTarget.delivered;
      this.fromTarget.inFlightMax = Math.max(this.fromTarget.inFlightMax, inFlight);
    });
  }

  /** `count` is told what came in as a positive, what went out as a negative number. */
  #pass(from: Socket, to: Socket, count: (bytes: number) => void): void {
    this.#sockets.add(from);
    let last = Promise.resolve();
    from.setNoDelay();
    from.on('error', () => to.destroy());
    from.on('close', () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    from.on('data', (bytes) => {
      if (this.swallows) return;
      count(bytes.length);
      const due = this.delayMs === 0 ? Promise.resolve() : sleep(this.delayMs, undefined, { ref: false });
      last = Promise.all([last, due]).then(() => {
        count(-bytes.length);
        if (!to.destroyed) to.write(bytes);
      });
    });
  }
}
