/** Peers that break the rules, for tests: they speak gRPC, or only TLS or TCP, and say what they like. */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { create } from '@bufbuild/protobuf';
import { Client, credentials, type StatusObject } from '@grpc/grpc-js';
import { RpcClient, RpcServer, type TlsFiles } from '#mesh/transport/grpc-glue.ts';
import type { RpcStream, StreamEnd } from '#mesh/transport/grpc-stream.ts';
import {
  type FollowRequest,
  FollowRequestSchema,
  type FollowResponse,
  FollowResponseSchema,
  type Hello,
  HelloSchema,
  MeshService,
} from '#protos/fairway/mesh/v1/mesh_pb.ts';
import { MESH } from './grpc-rig.ts';

/** A hello as it should be, but for `changes`. */
export function hello(region: number, changes: Partial<Omit<Hello, '$typeName'>> = {}): Hello {
  const fields = { meshId: MESH, region, epoch: 1n, protocolMin: 1, protocolMax: 1, wallMs: 0n };
  return create(HelloSchema, { ...fields, ...changes });
}

export function request(message: FollowRequest['message']): FollowRequest {
  return create(FollowRequestSchema, { message });
}

export function response(message: FollowResponse['message']): FollowResponse {
  return create(FollowResponseSchema, { message });
}

/** Dials Follow, sends these, and reports how the call ended and what came until then. */
export async function dial(
  port: number,
  tls: TlsFiles,
  requests: readonly FollowRequest[],
  signal = AbortSignal.timeout(5000),
) {
  using client = new RpcClient({
    address: `127.0.0.1:${port}`,
    tls,
    serverName: 'localhost',
    checkServer: () => undefined,
  });
  const ended = Promise.withResolvers<StreamEnd>();
  const responses: FollowResponse[] = [];
  client.bidi(MeshService.method.follow, signal, (stream) => {
    for (const message of requests) stream.send(message);
    return { message: (arrived) => responses.push(arrived), closed: ended.resolve };
  });
  return { end: await ended.promise, responses };
}

/** Sends raw bytes as the first message of a Follow call, and reports its status. */
export async function dialBytes(port: number, tls: TlsFiles, bytes: Buffer) {
  const client = new Client(
    `127.0.0.1:${port}`,
    credentials.createSsl(
      Buffer.from(tls.authorityPem),
      Buffer.from(tls.keyPem),
      Buffer.from(tls.certificatePem),
    ),
    {
      'grpc.ssl_target_name_override': 'localhost',
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_send_message_length': -1,
    },
  );
  try {
    const path = '/fairway.mesh.v1.MeshService/Follow';
    const same = (raw: Buffer) => raw;
    const call = client.makeBidiStreamRequest<Buffer, Buffer>(path, same, same, {});
    const ended = Promise.withResolvers<StatusObject>();
    call.on('error', () => undefined);
    call.on('status', ended.resolve);
    call.resume();
    call.write(bytes);
    return await ended.promise;
  } finally {
    client.close();
  }
}

/** A server with this certificate that answers every Follow by `accept`. */
export async function serve(
  tls: TlsFiles,
  port: number,
  accept: (stream: RpcStream<FollowResponse>) => void,
) {
  const server = new RpcServer<string>({
    admit: () => ({ caller: 'anyone' }),
    refused: () => undefined,
    failed: () => undefined,
  });
  server.bidi(MeshService.method.follow, (stream) => ({
    message: ({ message }) => {
      if (message.case === 'hello') accept(stream);
    },
    closed: () => undefined,
  }));
  const bound = await server.listen({ host: '127.0.0.1', port }, tls);
  return { port: bound, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Opens a TLS session, writes these bytes into it, and resolves with how the connection ended. */
export async function writeTls(
  port: number,
  tls: { readonly ca: string; readonly cert?: string; readonly key?: string },
  bytes: Uint8Array,
): Promise<string> {
  const socket = connectTls({
    port,
    host: '127.0.0.1',
    servername: 'localhost',
    ALPNProtocols: ['h2'],
    ...tls,
  });
  socket.on('secureConnect', () => socket.write(bytes));
  return await ending(socket);
}

export async function writeTcp(port: number, bytes: Uint8Array): Promise<string> {
  const socket = connectTcp(port, '127.0.0.1');
  socket.write(bytes);
  return await ending(socket);
}

async function ending(socket: Socket): Promise<string> {
  const ended = Promise.withResolvers<string>();
  let error = 'closed';
  socket.resume();
  socket.on('error', (thrown) => {
    error = 'code' in thrown ? String(thrown.code) : thrown.message;
  });
  socket.on('close', () => ended.resolve(error));
  return await ended.promise;
}
