/**
 * How connections to a whole region end: on a signal, and when the only source of a blob dies. Clients resume after
 * FIN and give up after a reset, so a reset anywhere here is a failure.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import type { RegionName } from '#domain/region.ts';
import { wireClient } from '#test/http/wire-client.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';
import { makeImage, pushImage } from './registry-calls.ts';

const [EU, US] = REGIONS as [RegionName, RegionName];
const BLOB_BYTES = 40_000_000;

describe('endings', () => {
  let mesh: MeshUnderTest;
  let blob: string;

  before(async () => {
    mesh = await startMesh();
    const image = makeImage(BLOB_BYTES);
    await pushImage(mesh.url(0), 'team/app', '1', image);
    blob = `/v2/team/app/blobs/${image.blobs.at(-1)?.digest}`;
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
  });

  const client = (position: number) => wireClient(mesh.region(position).registry.port);

  test('endings: when the only source of a blob dies, what arrived is delivered, then FIN', async () => {
    mesh.mesh.shape(EU, US, { delayMs: 0, bytesPerSecond: 10_000_000 });
    await using puller = await client(1);
    const begun = once(puller.socket, 'data');
    await puller.send(`GET ${blob} HTTP/1.1\r\nHost: r\r\n\r\n`);
    await begun;
    await mesh.mesh.kill(EU, 'SIGKILL');
    const answer = await puller.ended();
    assert.match(answer, /^HTTP\/1\.1 200 /);
    assert.ok(answer.length < BLOB_BYTES, 'it ended early');
    await mesh.mesh.startRegion(EU);
    mesh.mesh.shape(EU, US, { delayMs: 0, bytesPerSecond: 0 });
  });

  test('endings: a pull and a push that a signal interrupts end by FIN, the push with an answer', async () => {
    await using puller = await client(0);
    const begun = once(puller.socket, 'data');
    await puller.send(`GET ${blob} HTTP/1.1\r\nHost: r\r\n\r\n`);
    await begun;
    puller.socket.pause();
    await using pusher = await client(0);
    const invited = once(pusher.socket, 'data');
    const post = 'POST /v2/team/app/blobs/uploads/?digest=';
    const headers = `Host: r\r\nExpect: 100-continue\r\nContent-Length: ${BLOB_BYTES}`;
    await pusher.send(`${post}${blob.split('/').at(-1)} HTTP/1.1\r\n${headers}\r\n\r\n`);
    await invited;
    await pusher.send(Buffer.alloc(1_000_000));
    const stopped = mesh.mesh.kill(EU, 'SIGTERM');
    assert.match(await pusher.ended(), /\r\n\r\nHTTP\/1\.1 503 /);
    pusher.socket.end();
    puller.socket.resume();
    const answer = await puller.ended();
    assert.ok(answer.length < BLOB_BYTES, 'it ended early');
    puller.socket.end();
    await stopped;
    await mesh.mesh.startRegion(EU);
  });
});
