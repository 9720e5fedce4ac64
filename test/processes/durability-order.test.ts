/**
 * What a kill cannot show: that bytes are on the disk, and not only with the kernel, before a push is acknowledged. The
 * running process is watched by strace, and each call must have ended before the next one of the chain began.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { requires } from '#test/requirements.ts';
import { temporaryFolder } from '#test/storage/temporary.ts';
import { REGIONS, startMesh } from './mesh-under-test.ts';
import { expectStatus, makeImage, pushBlob, putManifest } from './registry-calls.ts';
import { readSystemCalls, Strace, type SystemCall } from './system-calls.ts';

const CALLS =
  'write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,rename,renameat,renameat2,sendto,sendmsg';

type Link = { readonly what: string; readonly call: RegExp; readonly text: RegExp };

const LOG_IS_DURABLE: readonly Link[] = [
  { what: 'the log is written', call: /^pwrite/, text: /metadata\.sqlite-wal>/ },
  { what: 'the log is synced', call: /^f(data)?sync$/, text: /metadata\.sqlite-wal>/ },
  { what: '201 is sent', call: /^(write|writev|send)/, text: /HTTP\/1\.1 201/ },
];

test(
  'durability: file, name, folder and log are on the disk before 201 is sent',
  requires('strace'),
  async () => {
    await using folder = await temporaryFolder();
    await using mesh = await startMesh({ regions: REGIONS.slice(0, 1) });
    const pid = mesh.mesh.pid(mesh.region(0).name) ?? assert.fail('no process');
    const trace = async (name: string, push: () => Promise<Response>): Promise<readonly SystemCall[]> => {
      const file = join(folder.path, name);
      {
        await using _strace = await Strace.attach(pid, [
          '-y',
          '-s',
          '64',
          '-e',
          `trace=${CALLS}`,
          '-o',
          file,
        ]);
        await expectStatus(await push(), 201);
      }
      return await readSystemCalls(file);
    };
    // The second layer is long enough to be written past the page cache.
    const image = makeImage(300_000, 7_000_001);
    const [config, ...layers] = image.blobs;
    assert.ok(config !== undefined);
    // The first push makes folders and opens files; the traced one is like every later one.
    await expectStatus(await pushBlob(mesh.url(0), 'traced/app', config), 201);
    for (const layer of layers) {
      const [, hex = ''] = layer.digest.split(':');
      const upload = /\/uploads\/[0-9a-f]+-[0-9a-f]+/;
      const blobCalls = await trace(hex, () => pushBlob(mesh.url(0), 'traced/app', layer));
      assertOrder(blobCalls, [
        { what: 'the upload is written', call: /^pwrite|^write/, text: upload },
        { what: 'the upload is synced', call: /^f(data)?sync$/, text: upload },
        {
          what: 'it gets its name',
          call: /^rename/,
          text: new RegExp(`/blobs/sha256/${hex.slice(0, 2)}/${hex}`),
        },
        {
          what: 'the folder is synced',
          call: /^fsync$/,
          text: new RegExp(`/blobs/sha256/${hex.slice(0, 2)}>`),
        },
        ...LOG_IS_DURABLE,
      ]);
    }
    const manifestCalls = await trace('manifest', () =>
      putManifest(mesh.url(0), 'traced/app:v1', image.manifest, MEDIA_TYPE.ociManifest),
    );
    assertOrder(manifestCalls, LOG_IS_DURABLE);
  },
);

/** Each link begins after the one before it has ended; what is written is written whole before it is synced. */
function assertChain(calls: readonly SystemCall[], links: readonly Link[]): void {
  const answer = calls.find((call) => isOf(call, links.at(-1)));
  assert.ok(answer !== undefined, 'no 201 was sent');
  const before = calls.filter((call) => call.began <= answer.began);
  let endedBefore = -1;
  for (const link of links) {
    const found = before.filter((call) => isOf(call, link) && call.began > endedBefore);
    const [first] = found;
    assert.ok(first !== undefined, `${link.what}: no such call after the one before it`);
    assert.doesNotMatch(first.text, / = -1 /, link.what);
    const isWriting = link.what.endsWith('written');
    endedBefore = isWriting ? Math.max(...found.map(({ ended }) => ended)) : first.ended;
  }
}

/** The chain holds, and would not without any one of its calls. */
function assertOrder(calls: readonly SystemCall[], links: readonly Link[]): void {
  assertChain(calls, links);
  for (const link of links) {
    const without = calls.filter((call) => !isOf(call, link));
    assert.throws(() => assertChain(without, links), assert.AssertionError, `without "${link.what}"`);
  }
}

function isOf(call: SystemCall, link: Link | undefined): boolean {
  return link?.call.test(call.name) === true && link.text.test(call.text);
}
