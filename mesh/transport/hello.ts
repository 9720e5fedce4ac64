/**
 * The first message of each side of a link: which mesh and region it is, and which versions of the protocol it
 * speaks. A peer that is not who it must be, or with which no version is shared, is refused with both sides named;
 * the certificate has proven who it *can* be before.
 */
import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { MeshId } from '#mesh/membership/roster.ts';
import { type Hello, HelloSchema } from '#protos/fairway/mesh/v1/mesh_pb.ts';
import type { Refusal } from './grpc-glue.ts';
import { epochToWire } from './wire-fields.ts';

/** The versions of the protocol that this program speaks; the highest common one is used. */
export const PROTOCOL_MIN = 1;
export const PROTOCOL_MAX = 1;

export function makeHello(self: {
  readonly meshId: MeshId;
  readonly number: RegionNumber;
  readonly epoch: Epoch;
  readonly wallMs: number;
}): Hello {
  return create(HelloSchema, {
    meshId: self.meshId,
    region: self.number,
    epoch: epochToWire(self.epoch),
    protocolMin: PROTOCOL_MIN,
    protocolMax: PROTOCOL_MAX,
    wallMs: BigInt(self.wallMs),
  });
}

/** Why the sender of this hello is refused, if it is. `expected.number` is the region in its certificate. */
export function refusalOfHello(
  hello: Hello,
  expected: { readonly meshId: MeshId; readonly number: RegionNumber },
): Refusal | undefined {
  if (hello.meshId !== expected.meshId) {
    const reason = `the hello is of mesh "${hello.meshId.slice(0, 64)}"; this is mesh "${expected.meshId}"`;
    return { code: status.FAILED_PRECONDITION, reason };
  }
  if (hello.region !== expected.number) {
    const reason = `the hello is of region ${hello.region}, but the certificate of region ${expected.number}`;
    return { code: status.PERMISSION_DENIED, reason };
  }
  if (hello.protocolMin > PROTOCOL_MAX || hello.protocolMax < PROTOCOL_MIN) {
    const reason =
      `no protocol version in common: the peer speaks ${hello.protocolMin} to ${hello.protocolMax}, ` +
      `this region ${PROTOCOL_MIN} to ${PROTOCOL_MAX}`;
    return { code: status.FAILED_PRECONDITION, reason };
  }
  return undefined;
}
