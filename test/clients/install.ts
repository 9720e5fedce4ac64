/**
 * `npm run clients`: installs the clients that Go can install, at the versions of `tested-clients.ts`, into the folder
 * that the tests look into (`FAIRWAY_CLIENTS`, else `~/.cache/fairway-clients`). What is there at its version is kept,
 * so a second run takes no time. Exit code 1 when one could not be installed; the others are installed nevertheless.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { clientsFolder } from '#test/requirements.ts';
import { TESTED_CLIENTS } from './tested-clients.ts';

/** For one client from nothing, downloads included: the largest takes three minutes on two cores. */
const INSTALL_MS = 600_000;

process.exitCode = main();

function main(): number {
  const folder = clientsFolder();
  mkdirSync(folder, { recursive: true });
  let failures = 0;
  for (const { name, version, goPackage } of TESTED_CLIENTS) {
    if (goPackage === undefined || isInstalled(join(folder, name), version)) continue;
    const startedMs = Date.now();
    process.stdout.write(`${name} ${version}: installing into ${folder}\n`);
    const { status, stderr, error } = spawnSync('go', ['install', '-trimpath', `${goPackage}@v${version}`], {
      env: { ...process.env, GOBIN: folder },
      encoding: 'utf8',
      timeout: INSTALL_MS,
    });
    if (status === 0) {
      process.stdout.write(`${name} ${version}: ${Math.round((Date.now() - startedMs) / 1000)} s\n`);
      continue;
    }
    failures += 1;
    const said = error === undefined ? stderr.trimEnd().split('\n').slice(-3).join('\n') : reasonOf(error);
    process.stderr.write(`${name} ${version} could not be installed: ${said}\n`);
  }
  return failures === 0 ? 0 : 1;
}

function reasonOf(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') return 'go is not on this machine (Go 1.26 or newer)';
  if (error.code === 'ETIMEDOUT') return `it took more than ${INSTALL_MS / 1000} s; run it again to go on`;
  return error.message;
}

/** Go writes into a program which module it was built from. */
function isInstalled(path: string, version: string): boolean {
  const { status, stdout } = spawnSync('go', ['version', '-m', path], { encoding: 'utf8' });
  return status === 0 && stdout.includes(`\tv${version}\t`) && /^\tmod\t\S+\tv/m.test(stdout);
}
