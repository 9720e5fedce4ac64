/**
 * Closes a connection whose client may still be sending, without a reset.
 *
 * A socket that is closed over bytes that nobody read is reset by the kernel, and so is one to which more is sent; a
 * reset can destroy the answer before the client has read it. So our side is ended first (FIN, behind all that was
 * written), and what still comes is read and dropped until the client closes, too. Whoever goes on sending without
 * a look at the answer is let go on, as long as it is not silent: it may be a large body over a slow link.
 * Source: RFC 9112, 9.6; nginx's `lingering_close`, where the limit on silence is from as well.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export type LingerLimits = {
  /** A client that has seen our end and sends nothing for so long is done. Default 5,000; more only keeps sockets. */
  readonly silenceMs: number;
  /** More of what nobody wants is not taken. Default 1 GiB: a layer of usual size fits, and a flood does not. */
  readonly droppedBytesMax: number;
};

const LIMITS: LingerLimits = { silenceMs: 5_000, droppedBytesMax: 1024 ** 3 };

/** Ends an answer whose bytes are all written: its connection ends with it, once it is this answer's turn. */
export function closeAfter(response: ServerResponse): void {
  if (response.socket !== null) closeLingering(response.socket);
  // An earlier answer on the connection is still under way. This one is flushed right after it was given its socket.
  else response.once('socket', (socket: Socket) => queueMicrotask(() => closeLingering(socket)));
}

/** Never waits; the socket is closed later, at a limit by force. */
export function closeLingering(socket: Socket, limits: LingerLimits = LIMITS): void {
  if (socket.destroyed) return;
  takeOver(socket, limits.droppedBytesMax);
  // The end of theirs may come while the answer still waits for them to read it.
  if (socket.readableEnded) {
    socket.destroySoon();
    return;
  }
  socket.once('end', () => socket.destroySoon());
  socket.end(() => socket.setTimeout(limits.silenceMs, () => socket.destroy()));
  socket.resume();
}

/** From now on nothing is parsed. A listener of ours first: it ends the parser's shortcut past the stream. */
function takeOver(socket: Socket, droppedBytesMax: number): void {
  const parsing = socket.listeners('data') as ((piece: Buffer) => void)[];
  let dropped = 0;
  socket.on('data', (piece: Buffer) => {
    dropped += piece.length;
    if (dropped > droppedBytesMax) socket.destroy();
  });
  for (const listener of parsing) socket.off('data', listener);
}
