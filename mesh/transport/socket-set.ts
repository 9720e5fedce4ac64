/**
 * The TCP connections of one server or client, so that they can be ended. grpc-js ends calls and sessions, but not
 * connections whose TLS handshake never completes, nor those whose peer stands still: they would stay for minutes,
 * one more with every dial, and keep a stopped process alive.
 */
import type { Socket } from 'node:net';
import type { ChannelCredentials } from '@grpc/grpc-js';

export class SocketSet implements Disposable {
  readonly #sockets = new Set<Socket>();
  #ended = false;

  add(socket: Socket): void {
    if (this.#ended) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  /** Adds every connection that is made with these credentials, before its handshake: grpc-js offers no other place. */
  watch(credentials: ChannelCredentials): void {
    const createConnector = credentials._createSecureConnector.bind(credentials);
    credentials._createSecureConnector = (...parameters) => {
      const connector = createConnector(...parameters);
      const connect = connector.connect.bind(connector);
      connector.connect = (socket) => {
        this.add(socket);
        return connect(socket);
      };
      return connector;
    };
  }

  /** Ends all of them at once, and whichever comes later. */
  [Symbol.dispose](): void {
    this.#ended = true;
    for (const socket of this.#sockets) socket.destroy();
  }
}
