/** The transport in memory keeps the law of the seam. */
import { memoryMesh } from '#mesh/transport/transport-memory.ts';
import { transportSuite } from '#test/suites/transport-suite.ts';

transportSuite('transport in memory', async (regions) => {
  const mesh = memoryMesh(Array.from({ length: regions }, (_, position) => position + 1));
  return {
    transport: (number) => mesh.transport(number),
    cut: (dialler, peer) => mesh.cut(dialler, peer),
    heal: (dialler, peer) => mesh.heal(dialler, peer),
    [Symbol.asyncDispose]: async () => undefined,
  };
});
