/**
 * A relay in front of a registry that ends one connection early: after so many bytes to the client it closes with
 * FIN, as a region does that loses its source, and lets everything through from then on. It notes what was asked.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export type CuttingRelay = AsyncDisposable & {
  readonly port: number;
  /** The next connection that carries more than this to the client ends there. */
  cutAfter(bytes: number): void;
  /** How often it cut. */
  readonly cuts: number;
  /** The `Range` headers that clients sent. */
  readonly ranges: readonly string[];
};

export async function openCuttingRelay(target: number): Promise<CuttingRelay> {
  const state = { left: Number.POSITIVE_INFINITY, cuts: 0 };
  const ranges: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const region = connect({ host: '127.0.0.1', port: target });
    for (const socket of [client, region]) {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      socket.on('error', () => socket.destroy());
    }
    let sent = 0;
    client.on('data', (piece: Buffer) => {
      const range = /^range: *(.+?)\r?$/im.exec(piece.toString('latin1'))?.[1];
      if (range !== undefined) ranges.push(range);
      region.write(piece);
    });
    client.once('end', () => region.end());
    region.on('data', (piece: Buffer) => {
      sent += piece.length;
      if (sent > state.left) {
        state.left = Number.POSITIVE_INFINITY;
        state.cuts += 1;
        region.destroy();
        client.end();
        return;
      }
      if (!client.write(piece)) {
        region.pause();
        client.once('drain', () => region.resume());
      }
    });
    region.once('end', () => client.end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    cutAfter: (bytes) => {
      state.left = bytes;
    },
    get cuts() {
      return state.cuts;
    },
    ranges,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
