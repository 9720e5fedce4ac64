/**
 * grpc-js, by the service descriptions of protobuf-es: the only file that starts servers, clients and calls of it.
 * A method's path, message types and kind come from its description; handlers and calls are typed by it.
 *
 * Both sides speak mutual TLS. A server admits a caller by its certificate before any handler sees the call. A
 * client accepts one server identity, and not any name that the authority has signed: addresses say nothing, since
 * regions may stand behind relays. Limits are set explicitly on both sides; nothing is retried here.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createSecureContext, type PeerCertificate } from 'node:tls';
import {
  type DescMessage,
  type DescMethod,
  type DescMethodBiDiStreaming,
  type DescMethodUnary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import {
  type ChannelOptions,
  Client,
  credentials,
  logVerbosity,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
  setLogVerbosity,
  status,
} from '@grpc/grpc-js';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import { BoundedStream, type RpcStream, type StreamEvents } from './grpc-stream.ts';
import { SocketSet } from './socket-set.ts';
import { MalformedMessageError, parseProto } from './wire-fields.ts';

/** Of one message, both ways. Deltas stay far below it; whoever sends more is refused with RESOURCE_EXHAUSTED. */
export const MESSAGE_BYTES_MAX = 4 * 1024 * 1024;
/**
 * What a server may have in flight to us, unacknowledged by HTTP/2. The default of 64 KiB limits a link of 150 ms
 * to 0.4 MB/s; this lets it carry 27 MB/s, and costs up to this much memory a link. Only a client can set it, which
 * is why the receiver of data dials.
 */
const RECEIVE_WINDOW_BYTES = 4 * 1024 * 1024;
/** Calls of one connection at a time; more wait at the caller until their deadlines. */
const CALLS_MAX = 64;
/**
 * Of all peers and strangers together; more are dropped. A peer needs one or two, and whoever has no certificate is
 * dropped by TLS, after two minutes at the latest.
 */
const CONNECTIONS_MAX = 1024;
/** NAT tables forget idle connections after about a minute; a peer that vanished is noticed after 25 s at most. */
const KEEPALIVE_MS = 20_000;
const KEEPALIVE_TIMEOUT_MS = 5_000;

const LIMITS: ChannelOptions = {
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': KEEPALIVE_MS,
  'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  'grpc.enable_channelz': 0,
};

// It writes to standard error beside our log; what it says there stands in the reasons that we log.
setLogVerbosity(logVerbosity.NONE);

export type TlsFiles = {
  /** Certificate of the mesh's authority. */
  readonly authorityPem: string;
  /** This region's own, signed by it. */
  readonly certificatePem: string;
  readonly keyPem: string;
};

/** Why a call is not let in. */
export type Refusal = { readonly code: status; readonly reason: string };

export type RpcServerDeps<Caller> = {
  /** Decides by the certificate, which TLS has verified, who calls. */
  readonly admit: (certificate: PeerCertificate | undefined) => { readonly caller: Caller } | Refusal;
  /** A call was not admitted, or its request was malformed: for counting and logs. */
  readonly refused: (refusal: Refusal) => void;
  /** A handler threw what is no answer to a peer: we are wrong. */
  readonly failed: (method: string, thrown: unknown) => void;
};

/** What a unary handler throws becomes a status: MalformedMessageError, UnavailableError, anything else. */
export class RpcServer<Caller> implements AsyncDisposable {
  readonly #deps: RpcServerDeps<Caller>;
  readonly #server: Server;
  readonly #listener = createServer({ noDelay: true });
  readonly #sockets = new SocketSet();

  constructor(deps: RpcServerDeps<Caller>) {
    this.#deps = deps;
    this.#server = new Server({ ...LIMITS, 'grpc.max_concurrent_streams': CALLS_MAX });
  }

  unary<In extends DescMessage, Out extends DescMessage>(
    method: DescMethodUnary<In, Out>,
    handle: (request: MessageShape<In>, caller: Caller) => Promise<MessageShape<Out>>,
  ): void {
    const answer = async (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
      const admitted = this.#admit(call);
      if ('code' in admitted) {
        reply({ code: admitted.code, details: admitted.reason });
        return;
      }
      try {
        const request = parseProto(method.input, call.request);
        reply(null, asBuffer(toBinary(method.output, await handle(request, admitted.caller))));
      } catch (thrown) {
        const { code, reason } = this.#refusalOf(method, thrown);
        reply({ code, details: reason });
      }
    };
    this.#server.register(pathOf(method), answer, same, same, 'unary');
  }

  /** `accept` may close the stream at once; its events are then told so. */
  bidi<In extends DescMessage, Out extends DescMessage>(
    method: DescMethodBiDiStreaming<In, Out>,
    accept: (stream: RpcStream<MessageShape<Out>>, caller: Caller) => StreamEvents<MessageShape<In>>,
  ): void {
    const open = (call: ServerDuplexStream<Buffer, Buffer>) => {
      const stream = new BoundedStream(call, {
        outgoing: method.output,
        incoming: method.input,
        malformed: status.INVALID_ARGUMENT,
        end: (code, details) => call.emit('error', { code, details }),
      });
      call.on('cancelled', () => stream.ended(status.CANCELLED, 'the peer cancelled the call or is gone'));
      call.on('end', () => {
        stream.ended(status.OK, 'the peer ended the call');
        call.end();
      });
      const admitted = this.#admit(call);
      if ('code' in admitted) stream.close(admitted.code, admitted.reason);
      else stream.listen(accept(stream, admitted.caller));
    };
    this.#server.register(pathOf(method), open, same, same, 'bidi');
  }

  /** The port that was bound. @throws UnavailableError when the address cannot be listened on. */
  async listen(address: { readonly host: string; readonly port: number }, tls: TlsFiles): Promise<number> {
    const pair = { private_key: Buffer.from(tls.keyPem), cert_chain: Buffer.from(tls.certificatePem) };
    const mutual = ServerCredentials.createSsl(Buffer.from(tls.authorityPem), [pair], true);
    const injector = this.#server.createConnectionInjector(mutual);
    this.#listener.maxConnections = CONNECTIONS_MAX;
    this.#listener.on('connection', (socket) => {
      this.#sockets.add(socket);
      injector.injectConnection(socket);
    });
    try {
      this.#listener.listen(address.port, address.host);
      await once(this.#listener, 'listening');
    } catch (cause) {
      const what = `cannot listen on ${address.host}:${address.port}: ${messageOf(cause)}`;
      throw new UnavailableError(what, { cause });
    }
    const bound = this.#listener.address();
    assert.ok(bound !== null && typeof bound === 'object');
    return bound.port;
  }

  /** Accepts no more connections and calls, and resolves when those that there are have ended. */
  async drain(): Promise<void> {
    this.#server.tryShutdown(() => undefined);
    await this.#closed();
  }

  /** Ends every connection at once, and resolves when the port is free. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#sockets[Symbol.dispose]();
    this.#server.forceShutdown();
    await this.#closed();
  }

  async #closed(): Promise<void> {
    const closed = Promise.withResolvers<void>();
    this.#listener.close(() => closed.resolve());
    await closed.promise;
  }

  #admit(call: { getAuthContext(): { sslPeerCertificate?: PeerCertificate } }) {
    const admitted = this.#deps.admit(call.getAuthContext().sslPeerCertificate);
    if ('code' in admitted) this.#deps.refused(admitted);
    return admitted;
  }

  #refusalOf(method: DescMethod, thrown: unknown): Refusal {
    if (thrown instanceof UnavailableError) return { code: status.UNAVAILABLE, reason: thrown.message };
    if (thrown instanceof MalformedMessageError) {
      const refusal = { code: status.INVALID_ARGUMENT, reason: thrown.message };
      this.#deps.refused(refusal);
      return refusal;
    }
    this.#deps.failed(method.name, thrown);
    return { code: status.INTERNAL, reason: 'the region failed to answer' };
  }
}

export type RpcClientConfig = {
  /** `host:port`. */
  readonly address: string;
  readonly tls: TlsFiles;
  /** The TLS server name to ask for; it is not what is checked. */
  readonly serverName: string;
  /** Says what is wrong with the server's certificate, or nothing. */
  readonly checkServer: (certificate: PeerCertificate) => string | undefined;
};

export type CallOptions = {
  readonly signal: AbortSignal;
  /** Wall clock ms; the server learns of it, and stops when it has passed. */
  readonly deadlineMs: number;
  readonly metadata: Readonly<Record<string, string>>;
};

/** One connection to one server, and never another: whoever wants to try again makes another client. */
export class RpcClient implements Disposable {
  readonly #client: Client;
  readonly #sockets = new SocketSet();

  constructor(config: RpcClientConfig) {
    const { authorityPem, certificatePem, keyPem } = config.tls;
    const secureContext = createSecureContext({ ca: authorityPem, cert: certificatePem, key: keyPem });
    const channelCredentials = credentials.createFromSecureContext(secureContext, {
      checkServerIdentity: (_host, certificate) => {
        const wrong = config.checkServer(certificate);
        return wrong === undefined ? undefined : new Error(wrong);
      },
    });
    this.#sockets.watch(channelCredentials);
    this.#client = new Client(config.address, channelCredentials, {
      ...LIMITS,
      'grpc-node.flow_control_window': RECEIVE_WINDOW_BYTES,
      'grpc.ssl_target_name_override': config.serverName,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.service_config_disable_resolution': 1,
      'grpc.enable_retries': 0,
      'grpc.enable_http_proxy': 0,
    });
  }

  /**
   * @throws UnavailableError with the peer's reason, or when signal or deadline came first.
   * @throws MalformedMessageError when the answer is no message of the method.
   */
  async unary<In extends DescMessage, Out extends DescMessage>(
    method: DescMethodUnary<In, Out>,
    request: MessageShape<In>,
    options: CallOptions,
  ): Promise<MessageShape<Out>> {
    const answered = Promise.withResolvers<Buffer>();
    const call = this.#client.makeUnaryRequest<Buffer, Buffer>(
      pathOf(method),
      same,
      same,
      asBuffer(toBinary(method.input, request)),
      metadataOf(options.metadata),
      { deadline: options.deadlineMs },
      (cause, reply) => {
        if (cause === null && reply !== undefined) return answered.resolve(reply);
        const reason = options.signal.aborted ? messageOf(options.signal.reason) : reasonOf(cause?.details);
        answered.reject(new UnavailableError(reason, { cause }));
      },
    );
    const cancel = () => call.cancel();
    if (options.signal.aborted) cancel();
    options.signal.addEventListener('abort', cancel, { once: true });
    try {
      return parseProto(method.output, await answered.promise);
    } finally {
      options.signal.removeEventListener('abort', cancel);
    }
  }

  /** Ends when the signal aborts, without other deadline. */
  bidi<In extends DescMessage, Out extends DescMessage>(
    method: DescMethodBiDiStreaming<In, Out>,
    signal: AbortSignal,
    accept: (stream: RpcStream<MessageShape<In>>) => StreamEvents<MessageShape<Out>>,
  ): void {
    const call = this.#client.makeBidiStreamRequest<Buffer, Buffer>(pathOf(method), same, same, {});
    const stream = new BoundedStream(call, {
      outgoing: method.input,
      incoming: method.output,
      malformed: status.INVALID_ARGUMENT,
      end: () => call.cancel(),
    });
    const abort = () => stream.close(status.CANCELLED, messageOf(signal.reason));
    call.on('error', () => undefined); // Its status comes by the next event.
    call.on('status', ({ code, details }) => {
      signal.removeEventListener('abort', abort);
      stream.ended(code, reasonOf(details));
    });
    stream.listen(accept(stream));
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  }

  /** Makes no more calls, and ends the connection when those that run have ended. */
  close(): void {
    this.#client.close();
  }

  /** Ends the connection at once, and every call with it. */
  [Symbol.dispose](): void {
    this.close();
    this.#sockets[Symbol.dispose]();
  }
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

function metadataOf(values: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(values)) metadata.set(name, value);
  return metadata;
}

/** Without the frame and the times that grpc-js adds: a reason that did not change reads the same. */
function reasonOf(details: string | undefined): string {
  const reason = (details ?? '')
    .replace(/^No connection established\. Last error: (?:Error: )?/, '')
    .replace(/\.? *Resolution note: *$/, '')
    .replaceAll(/ \(\d{4}-\d\d-\d\dT[^)]*\)/g, '');
  return reason === '' ? 'the peer gave no reason' : reason;
}
