/**
 * A client that keeps its side of a connection open when the server has ended its own, as clients do that send all
 * of a body before they read: a reset then shows, wherever it comes from.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export type WireClient = AsyncDisposable & {
  readonly socket: Socket;
  /** Resolves when the kernel or the buffer took it. Rejects after a reset. */
  send(bytes: string | Uint8Array): Promise<void>;
  /** All that came, once the server has ended its side. Rejects when it resets instead. */
  ended(): Promise<string>;
};

export async function wireClient(
  port: number,
  options: { readonly tls?: boolean } = {},
): Promise<WireClient> {
  const at = { port, host: '127.0.0.1', allowHalfOpen: true };
  const socket = options.tls === true ? connectTls({ ...at, rejectUnauthorized: false }) : connect(at);
  const pieces: Buffer[] = [];
  const ended = Promise.withResolvers<string>();
  // Who only sends sees the reset there.
  ended.promise.catch(() => undefined);
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  socket.once('end', () => ended.resolve(Buffer.concat(pieces).toString('latin1')));
  socket.once('error', (fault) => ended.reject(fault));
  await once(socket, options.tls === true ? 'secureConnect' : 'connect');
  return {
    socket,
    send: (bytes) =>
      new Promise((resolve, reject) => {
        socket.write(bytes, (fault) => (fault == null ? resolve() : reject(fault)));
      }),
    ended: () => ended.promise,
    [Symbol.asyncDispose]: async () => {
      if (socket.closed) return;
      socket.destroy();
      await once(socket, 'close');
    },
  };
}
