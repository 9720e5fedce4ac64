/** Garbage collection of the only region of a mesh, by the command, with settings of the test. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseDocument } from 'yaml';
import type { GarbageRun } from '#node/lifecycle/garbage-run.ts';
import type { MeshUnderTest } from './mesh-under-test.ts';

const COMMAND = join(import.meta.dirname, '../../node/cli/fairway.ts');

/** Starts the only region anew with these settings. */
export async function configureGarbage(
  mesh: MeshUnderTest,
  gc: { readonly intervalMs: number; readonly graceMs: number },
): Promise<void> {
  const { name, folder } = mesh.region(0);
  await mesh.mesh.kill(name, 'SIGTERM');
  const file = join(folder, 'node.yaml');
  const document = parseDocument(readFileSync(file, 'utf8'));
  document.setIn(['spec', 'gc'], gc);
  writeFileSync(file, String(document));
  await mesh.mesh.startRegion(name);
}

export async function collectGarbage(
  mesh: MeshUnderTest,
  ...flags: readonly string[]
): Promise<{ readonly run: GarbageRun }> {
  const [region] = JSON.parse(await fairwayGc(mesh, '--json', ...flags)) as readonly {
    readonly run: GarbageRun;
  }[];
  assert.equal(region?.run.state, 'done', region?.run.reason ?? '');
  return region;
}

export async function fairwayGc(mesh: MeshUnderTest, ...flags: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    COMMAND,
    'gc',
    '--data',
    mesh.data,
    ...flags,
  ]);
  return stdout;
}
