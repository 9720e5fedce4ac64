/**
 * A region whose disk is full or read-only: pushes are refused in words, pulls go on, also of what has to come from
 * another region, and all is well again without a restart when the disk is.
 *
 * The full disk is a small file system of its own. The read-only one is strace, which lets the system refuse every
 * write of the running process: a mount cannot be made read-only under a process that has files open on it.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { requires, requiresMount } from '#test/requirements.ts';
import { temporaryFolder } from '#test/storage/temporary.ts';
import { until } from './management.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';
import { makeImage, pullImage, pushBlob, pushImage, putManifest } from './registry-calls.ts';
import { Strace } from './system-calls.ts';

const [HERE] = REGIONS as [(typeof REGIONS)[0]];
const WRITES = 'pwrite64,pwritev,pwritev2,fsync,fdatasync,rename,ftruncate,mkdir';

test(
  'disk: a full one refuses pushes, serves pulls, and is used again when there is room',
  requiresMount(),
  async () => {
    await using folder = await temporaryFolder();
    await using disk = smallDisk(join(folder.path, HERE));
    await using mesh = await startMesh({ data: folder.path, regions: REGIONS.slice(0, 2) });
    await checkRefusal(mesh, /the disk is full.*; free or add space/, {
      refuse: async () => await disk.fill(),
      recover: async () => disk.makeRoom(),
    });
  },
);

test(
  'disk: a read-only one refuses pushes, serves pulls, and is used again when it can be',
  requires('strace'),
  async () => {
    await using folder = await temporaryFolder();
    await using mesh = await startMesh({ data: folder.path, regions: REGIONS.slice(0, 2) });
    const pid = mesh.mesh.pid(HERE) ?? assert.fail('no process');
    await using stack = new AsyncDisposableStack();
    let strace: Strace | undefined;
    await checkRefusal(
      mesh,
      /the file system is read-only.*; mount it writable|the disk reported an input\/output error/,
      {
        async refuse() {
          const args = ['-o', join(folder.path, 'trace'), '-e', `trace=${WRITES}`];
          strace = stack.use(await Strace.attach(pid, [...args, '-e', `inject=${WRITES}:error=EROFS`]));
        },
        recover: async () => await strace?.[Symbol.asyncDispose](),
      },
    );
  },
);

type Fault = { refuse(): Promise<void>; recover(): Promise<void> };

async function checkRefusal(mesh: MeshUnderTest, words: RegExp, fault: Fault): Promise<void> {
  const [here, away] = [mesh.url(0), mesh.url(1)];
  const held = makeImage(20_000, 300_000);
  const elsewhere = makeImage(20_000, 3_000_000);
  const unknown = makeImage(20_000, 3_000_000);
  await pushImage(here, 'disk/app', 'held', held);
  await pushImage(away, 'disk/app', 'elsewhere', elsewhere);
  await until('the tag is known', async () => await isTagged(here, 'elsewhere'));
  await fault.refuse();
  await pushImage(away, 'disk/app', 'unknown', unknown);

  const [config, layer] = makeImage(500_000).blobs;
  assert.ok(config !== undefined && layer !== undefined);
  const refused = await pushBlob(here, 'disk/app', layer);
  assert.equal(refused.status, 503);
  assert.match(await refused.text(), words);
  assert.ok(refused.headers.has('retry-after'));
  const again = await putManifest(here, 'disk/app:again', held.manifest, MEDIA_TYPE.ociManifest);
  assert.equal(again.status, 503);
  assert.match(await again.text(), words);

  assert.equal(await pullImage(here, 'disk/app', 'held'), held.digest);
  for (const [tag, image] of [
    ['elsewhere', elsewhere],
    ['elsewhere', elsewhere],
    ['unknown', unknown],
  ] as const) {
    assert.equal(await pullImage(here, 'disk/app', tag), image.digest);
  }
  for (const { digest } of elsewhere.blobs) {
    const probe = await fetch(`${here}/v2/disk/app/blobs/${digest}`, { method: 'HEAD' });
    assert.equal(probe.status, 404, 'nothing of it is kept');
  }

  await fault.recover();
  await pushImage(here, 'disk/app', 'after', makeImage(500_000));
  await until('content is kept again', async () => {
    await pullImage(here, 'disk/app', 'elsewhere');
    const [, blob] = elsewhere.blobs;
    const probe = await fetch(`${here}/v2/disk/app/blobs/${blob?.digest}`, { method: 'HEAD' });
    return probe.status === 200;
  });
  await until('the tag has arrived', async () => await isTagged(here, 'unknown'));
  assert.deepEqual(mesh.ended, []);
}

async function isTagged(url: string, tag: string): Promise<boolean> {
  const answer = await fetch(`${url}/v2/disk/app/tags/list`);
  return answer.status === 200 && ((await answer.json()) as { tags: string[] }).tags.includes(tag);
}

type SmallDisk = AsyncDisposable & { fill(): Promise<void>; makeRoom(): void };

const DISK_BYTES = 64 * 1024 * 1024;

/** A file system in memory. Disposed of after everything that has files open on it. */
function smallDisk(path: string): SmallDisk {
  mkdirSync(path, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', path]);
  const filler = join(path, 'filler');
  return {
    async fill() {
      await using file = await open(filler, 'w');
      for (let pieceBytes = 1024 * 1024; pieceBytes >= 1; pieceBytes = Math.floor(pieceBytes / 16)) {
        try {
          for (;;) await file.write(new Uint8Array(pieceBytes));
        } catch (thrown) {
          assert.equal((thrown as NodeJS.ErrnoException).code, 'ENOSPC');
        }
      }
    },
    makeRoom: () => rmSync(filler),
    async [Symbol.asyncDispose]() {
      execFileSync('umount', [path]);
    },
  };
}
