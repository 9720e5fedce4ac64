/** The gRPC transport keeps the law of the seam, over real sockets and relays. */
import { transportSuite } from '#test/suites/transport-suite.ts';
import { GrpcRig } from './grpc-rig.ts';

transportSuite('transport over gRPC', (regions) => GrpcRig.open(regions));
