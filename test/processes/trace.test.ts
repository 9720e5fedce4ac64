/** One pull over two regions, found in both logs by the id of its request and by its trace. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from './management.ts';
import { REGIONS, startMesh } from './mesh-under-test.ts';
import { expectStatus, makeImage, pushImage } from './registry-calls.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';

test('trace: a pull carries its id and its trace to the region that it is answered from', async () => {
  await using mesh = await startMesh({ regions: REGIONS.slice(0, 2) });
  const image = makeImage(1000);
  await pushImage(mesh.url(0), 'prod/app', '1', image);
  const headers = { 'fairway-request-id': 'pull-1', traceparent: `00-${TRACE}-b7ad6b7169203331-01` };
  const [, layer] = image.blobs;
  const blob = `${mesh.url(1)}/v2/prod/app/blobs/${layer?.digest}`;
  await until('the blob is found', async () => (await fetch(blob, { headers })).status === 200);
  await expectStatus(await fetch(blob, { headers }), 200);
  const linesOf = async (position: number) => {
    const text = await readFile(join(mesh.region(position).folder, 'node.log'), 'utf8');
    return text
      .split('\n')
      .filter((line) => line.includes('"requestId":"pull-1"'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  };
  const hasFilled = async () => (await linesOf(1)).some(({ event }) => event === 'blob filled');
  await until('the fill is logged', hasFilled);
  const [there, here] = [await linesOf(0), await linesOf(1)];
  assert.ok(
    there.some(({ event }) => event === 'request answered'),
    JSON.stringify(there),
  );
  for (const line of [...here, ...there]) assert.equal(line['traceId'], TRACE, JSON.stringify(line));
});
