/** An nginx in front sends blobs from our files, and changes nothing else for clients: the documentation's own one. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { requires } from '#test/requirements.ts';
import type { MeshUnderTest } from './mesh-under-test.ts';
import { type NginxInFront, startBehindNginx } from './nginx-in-front.ts';
import { makeImage, pullImage, pushImage } from './registry-calls.ts';

const IMAGE = makeImage(300_000);
const LAYER = IMAGE.blobs[1] ?? assert.fail('an image has a layer');
const PATH = `/v2/team/app/blobs/${LAYER.digest}`;

describe('nginx in front', requires('nginx'), () => {
  const stack = new AsyncDisposableStack();
  let mesh: MeshUnderTest;
  let nginx: NginxInFront;

  before(async () => {
    ({ mesh, nginx } = await startBehindNginx(stack));
    await pushImage(nginx.url, 'team/app', 'v1', IMAGE);
  });

  after(async () => {
    await stack.disposeAsync();
  });

  const ask = async (path: string, headers: Record<string, string> = {}, method = 'GET') => {
    const reply = await fetch(`${nginx.url}${path}`, { headers, method });
    return { reply, bytes: Buffer.from(await reply.arrayBuffer()) };
  };

  test('nginx: no client can ask for the files', async () => {
    const hex = LAYER.digest.slice('sha256:'.length);
    for (const path of [`/fairway-blobs/sha256/${hex.slice(0, 2)}/${hex}`, '/fairway-blobs/']) {
      assert.equal((await ask(path)).reply.status, 404);
    }
  });

  test('nginx: what may not be read is not sent', async () => {
    assert.equal((await ask(`/v2/team/other/blobs/${LAYER.digest}`)).reply.status, 404);
  });

  test('nginx: who comes without it gets the bytes from the region', async () => {
    const reply = await fetch(`${mesh.url(0)}${PATH}`);
    assert.equal(reply.headers.get('x-accel-redirect'), null);
    assert.ok(Buffer.from(await reply.arrayBuffer()).equals(LAYER.bytes));
  });

  test('nginx: the region sends no byte of a blob, and the client gets all of them with the same headers', async () => {
    const asked = await fetch(`${mesh.url(0)}${PATH}`, { headers: { 'fairway-accel-redirect': 'on' } });
    assert.equal((await asked.arrayBuffer()).byteLength, 0);
    assert.match(asked.headers.get('x-accel-redirect') ?? '', /^\/fairway-blobs\/sha256\//);
    const direct = await fetch(`${mesh.url(0)}${PATH}`);
    await direct.arrayBuffer();
    const { reply, bytes } = await ask(PATH);
    assert.ok(bytes.equals(LAYER.bytes));
    for (const name of [
      'content-length',
      'content-type',
      'docker-content-digest',
      'etag',
      'accept-ranges',
      'cache-control',
      'fairway-source',
      'docker-distribution-api-version',
    ]) {
      assert.equal(reply.headers.get(name), direct.headers.get(name), name);
    }
    assert.equal(await pullImage(nginx.url, 'team/app', 'v1'), IMAGE.digest);
  });

  test('nginx: ranges are answered, and one beyond the end is refused', async () => {
    const { reply, bytes } = await ask(PATH, { range: 'bytes=100-299' });
    assert.equal(reply.status, 206);
    assert.equal(reply.headers.get('content-range'), 'bytes 100-299/300000');
    assert.ok(bytes.equals(LAYER.bytes.subarray(100, 300)));
    assert.equal((await ask(PATH, { range: 'bytes=300000-' })).reply.status, 416);
    assert.ok((await ask(PATH, { range: 'bytes=0-1,5-6' })).bytes.equals(LAYER.bytes));
  });

  test('nginx: HEAD and conditions are answered as without it', async () => {
    const head = await ask(PATH, {}, 'HEAD');
    assert.deepEqual([head.reply.status, head.reply.headers.get('content-length')], [200, '300000']);
    assert.equal((await ask(PATH, { 'if-none-match': `"${LAYER.digest}"` })).reply.status, 304);
  });

  test('nginx: a blob whose file is gone is not promised', async () => {
    const hex = LAYER.digest.slice('sha256:'.length);
    const file = join(mesh.region(0).folder, 'blobs', 'sha256', hex.slice(0, 2), hex);
    mkdirSync(join(mesh.data, 'aside'));
    renameSync(file, join(mesh.data, 'aside', hex));
    assert.equal((await ask(PATH)).reply.status, 404);
  });
});
