/**
 * One bidirectional gRPC call as a stream of typed messages, the same on both ends: a bounded queue on the way out,
 * checked messages on the way in, and exactly one `closed` at the end, whoever ended it.
 *
 * Messages are serialised here and not by grpc-js, so that their bytes can be counted: what grpc-js itself buffers
 * is counted in messages. A write that it answers with `false` stops the queue until `drain`.
 */

import { type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf';
import type { ClientDuplexStream, ServerDuplexStream, status } from '@grpc/grpc-js';
import { MalformedMessageError, parseProto } from './wire-fields.ts';

/**
 * Unsent bytes of one stream. More would let a slow peer hold more memory; less would drop what a burst can well
 * deliver. At the limit `send` answers false, and a later summary mends what was dropped.
 */
export const QUEUE_BYTES_MAX = 1024 * 1024;
/** What a queued message costs beside its bytes, so that a queue of tiny messages is bounded too. */
const MESSAGE_OVERHEAD_BYTES = 64;

export type StreamEnd = {
  readonly code: status;
  /** For people: why the call ended. */
  readonly reason: string;
  readonly endedBy: 'us' | 'peer';
};

export type StreamEvents<In> = {
  /** Whole and well-formed protobuf. A `MalformedMessageError` thrown here closes the stream with its message. */
  message(message: In): void;
  /** Once, after the last message. */
  closed(end: StreamEnd): void;
};

/** The sending half, as the owner of a stream holds it. */
export interface RpcStream<Out> {
  /** False when the stream is closed, or when its queue is full; the message is dropped. */
  send(message: Out): boolean;
  /** Ends the call: a server answers with this status, a client cancels. Safe to repeat. */
  close(code: status, reason: string): void;
}

export type RawStream = ClientDuplexStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>;

export type BoundedStreamOptions<Out extends DescMessage, In extends DescMessage> = {
  readonly outgoing: Out;
  readonly incoming: In;
  /** The status with which a malformed message is answered. */
  readonly malformed: status;
  /** Ends the underlying call; called once at most. */
  readonly end: (code: status, reason: string) => void;
};

export class BoundedStream<Out extends DescMessage, In extends DescMessage>
  implements RpcStream<MessageShape<Out>>
{
  readonly #raw: RawStream;
  readonly #options: BoundedStreamOptions<Out, In>;
  #events: StreamEvents<MessageShape<In>> | undefined;
  #end: StreamEnd | undefined;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #blocked = false;

  constructor(raw: RawStream, options: BoundedStreamOptions<Out, In>) {
    this.#raw = raw;
    this.#options = options;
    raw.on('drain', () => {
      this.#blocked = false;
      this.#pump();
    });
  }

  /** Begins to read. A stream that has already ended says so at once. */
  listen(events: StreamEvents<MessageShape<In>>): void {
    this.#events = events;
    if (this.#end === undefined) this.#raw.on('data', (bytes: Buffer) => this.#receive(bytes));
    else events.closed(this.#end);
  }

  send(message: MessageShape<Out>): boolean {
    if (this.#end !== undefined) return false;
    const bytes = toBinary(this.#options.outgoing, message);
    const costBytes = bytes.length + MESSAGE_OVERHEAD_BYTES;
    // A message larger than the whole queue passes when nothing else waits, or it would never pass.
    if (this.#queuedBytes > 0 && this.#queuedBytes + costBytes > QUEUE_BYTES_MAX) return false;
    this.#queuedBytes += costBytes;
    this.#queue.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    this.#pump();
    return true;
  }

  close(code: status, reason: string): void {
    if (this.#end !== undefined) return;
    this.#settle({ code, reason, endedBy: 'us' });
    this.#options.end(code, reason);
  }

  /** The underlying call is over. */
  ended(code: status, reason: string): void {
    if (this.#end === undefined) this.#settle({ code, reason, endedBy: 'peer' });
  }

  #receive(bytes: Buffer): void {
    if (this.#end !== undefined) return;
    try {
      this.#events?.message(parseProto(this.#options.incoming, bytes));
    } catch (thrown) {
      if (!(thrown instanceof MalformedMessageError)) throw thrown;
      this.close(this.#options.malformed, thrown.message);
    }
  }

  #pump(): void {
    while (!this.#blocked && this.#end === undefined) {
      const bytes = this.#queue.shift();
      if (bytes === undefined) return;
      const written = () => {
        this.#queuedBytes -= bytes.length + MESSAGE_OVERHEAD_BYTES;
      };
      this.#blocked = !this.#raw.write(bytes, written);
    }
  }

  #settle(end: StreamEnd): void {
    this.#end = end;
    this.#queue = [];
    this.#events?.closed(end);
  }
}
