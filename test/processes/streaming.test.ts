/** A pull of what another region holds: streamed while it is stored, in constant memory, and cut short when wrong. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import type { RegionName } from '#domain/region.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';
import { expectStatus } from './registry-calls.ts';

const [EU, US] = REGIONS as [RegionName, RegionName];
const PIECE_BYTES = 1024 * 1024;
const PIECES = 1024;
const GROWTH_BYTES_MAX = 32 * 1024 * 1024;

describe('streaming', () => {
  let mesh: MeshUnderTest;

  before(async () => {
    mesh = await startMesh();
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
  });

  /** Uploads `pieces` times the same mebibyte, numbered; the digest. */
  const upload = async (pieces: number): Promise<string> => {
    const hash = createHash('sha256');
    const started = await expectStatus(
      await fetch(`${mesh.url(0)}/v2/large/blob/blobs/uploads/`, { method: 'POST' }),
      202,
    );
    const location = new URL(started.headers.get('location') ?? '', mesh.url(0));
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const patch = request(location, { method: 'PATCH' }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    patch.once('error', reject);
    const piece = Buffer.alloc(PIECE_BYTES);
    for (let n = 0; n < pieces; n += 1) {
      const numbered = Buffer.from(piece);
      numbered.writeUInt32BE(n);
      hash.update(numbered);
      if (!patch.write(numbered)) await new Promise((drained) => patch.once('drain', drained));
    }
    patch.end();
    assert.equal(await promise, 202);
    const digest = `sha256:${hash.digest('hex')}`;
    location.searchParams.set('digest', digest);
    await expectStatus(await fetch(location, { method: 'PUT' }), 201);
    return digest;
  };

  test('streaming: a pull of 1 GB through a region grows its memory by at most 32 MiB', async () => {
    const warmUp = await upload(8);
    const blobUrl = (digest: string) => `${mesh.url(1)}/v2/large/blob/blobs/${digest}`;
    await (await expectStatus(await fetch(blobUrl(warmUp)), 200)).arrayBuffer();
    const digest = await upload(PIECES);
    const before = residentBytes(mesh.mesh.pid(US));
    let peak = before;
    let bytes = 0;
    const hash = createHash('sha256');
    const response = await expectStatus(await fetch(blobUrl(digest)), 200);
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      hash.update(chunk);
      peak = Math.max(peak, residentBytes(mesh.mesh.pid(US)));
    }
    assert.equal(bytes, PIECES * PIECE_BYTES);
    assert.equal(`sha256:${hash.digest('hex')}`, digest);
    const grown = Math.round((peak - before) / 1024 / 1024);
    assert.ok(peak - before <= GROWTH_BYTES_MAX, `memory grew by ${grown} MiB`);
  });

  test('streaming: a client has bytes long before a slow source has sent them all', async () => {
    const digest = await upload(10);
    mesh.mesh.shape(EU, US, { delayMs: 0, bytesPerSecond: 5_000_000 });
    const sent = mesh.mesh.bytes(EU, US);
    const response = await expectStatus(await fetch(`${mesh.url(1)}/v2/large/blob/blobs/${digest}`), 200);
    const reader = response.body?.getReader();
    const first = await reader?.read();
    assert.ok((first?.value?.length ?? 0) > 0);
    assert.ok(mesh.mesh.bytes(EU, US) - sent < 6_000_000, 'the source had not sent it all by then');
    for (let rest = await reader?.read(); rest?.done === false; rest = await reader?.read());
    mesh.mesh.shape(EU, US, { delayMs: 0, bytesPerSecond: 0 });
  });
});

/** The memory that only this process has: pages of files that the kernel caches for it are no growth. */
function residentBytes(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
