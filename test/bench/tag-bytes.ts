/**
 * What one more tag costs on a link, as encoded messages, between two regions on real stores that already know N
 * tags: from its write until both are at rest and a summary has passed each way.
 */

import type { IndexChange } from '#content/claim-writer.ts';
import { digestOf } from '#domain/digest.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { mintEpoch, type RegionNumber } from '#domain/region.ts';
import { DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import { ClaimsDriver } from '#mesh/claims/driver.ts';
import type { Message } from '#mesh/claims/message.ts';
import { memoryMesh } from '#mesh/transport/transport-memory.ts';
import { encodeMessage } from '#mesh/transport/wire.ts';
import { systemClock } from '#runtime/clock.ts';
import { silentLog } from '#runtime/log.ts';
import { openMetrics } from '#runtime/metrics.ts';
import { openTemporaryMetadata } from '#test/storage/temporary.ts';
import type { OwnBench } from './measure.ts';

const FEW = 100;
const MANY = 100_000;
const CHANGES_A_WRITE = 500;
const repository = parseRepositoryName('bench/tags');
const digest = digestOf('bench');

/** Zero would be perfect; cursors are variable-length numbers, which take a byte or two more when they are larger. */
export const tagBytes: OwnBench = {
  name: 'tag-bytes-growth',
  unit: 'bytes',
  limit: 16,
  round: async () => (await bytesForOneMore(MANY)) - (await bytesForOneMore(FEW)),
};

async function bytesForOneMore(count: number): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const [one, two] = [1 as RegionNumber, 2 as RegionNumber];
  const mesh = memoryMesh([one, two]);
  let bytes = 0;
  const open = async (self: RegionNumber, peer: RegionNumber) => {
    const metadata = stack.use(await openTemporaryMetadata(self));
    const transport = stack.use(mesh.transport(self));
    const send = (to: RegionNumber, message: Message) => {
      bytes += encodeMessage(message).length;
      return transport.send(to, message);
    };
    const driver = stack.use(
      await ClaimsDriver.open(
        {
          ...{ claims: metadata.claims, manifests: metadata.manifests, transport: { send } },
          ...{
            clock: systemClock,
            log: silentLog,
            metrics: openMetrics(),
            mintEpoch: () => mintEpoch(systemClock.nowMs(), 0),
            nameOf: (region) => `region ${region}`,
          },
        },
        { ...DEFAULT_CLAIMS_CONFIG, self, peers: [peer], verdict: 'trusted' },
      ),
    );
    await transport.start({
      received: (from, message) => driver.received(from, message),
      linkUp: (from) => driver.linkUp(from),
      linkDown: (from) => driver.linkDown(from),
      locate: async (_from, request) => await driver.locate(request),
      holdings: async () => ({ holdings: [] }),
    });
    return driver;
  };
  const [writer, follower] = [await open(one, two), await open(two, one)];
  const signal = AbortSignal.timeout(300_000);
  const write = async (changes: readonly IndexChange[]) =>
    await writer.write(changes, { principal: 'bench', signal });
  for (let stored = 0; stored < count; stored += CHANGES_A_WRITE) {
    const size = Math.min(CHANGES_A_WRITE, count - stored);
    await write(
      Array.from({ length: size }, (_, n) => ({
        change: 'set-tag',
        repository,
        tag: `t${stored + n}`,
        digest,
      })),
    );
  }
  const isEqual = () =>
    follower.status().origins.some((origin) => origin.region === one && origin.safe === writer.status().head);
  while (!isEqual()) await systemClock.sleep(50, signal);
  await systemClock.sleep(SUMMARY_MS, signal);
  bytes = 0;
  await write([{ change: 'set-tag', repository, tag: 'one-more', digest }]);
  while (!isEqual()) await systemClock.sleep(5, signal);
  return bytes;
}

/** Until what is under way has been confirmed and summed up. */
const SUMMARY_MS = 1500;
