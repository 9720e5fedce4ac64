/**
 * What a test needs beyond Node: programs on the search path, root. Where CI is set a missing one is a failure;
 * elsewhere the test is skipped, and the run names it with its reason at the end.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/**
 * `{ skip }` for node:test: false when everything is there, the reason when something is missing.
 * @throws Error in CI when something is missing.
 */
export function requires(...programs: readonly string[]): { readonly skip: string | false } {
  const absent = programs.filter((program) => !isThere(program));
  if (absent.length === 0) return { skip: false };
  return missing(`${absent.join(', ')} (see .ci/run for the packages)`);
}

/**
 * `{ skip }` of a test that mounts a file system of its own: whoever is not root must not, in CI either; of root it is
 * expected, although a container may forbid it.
 * @throws Error in CI when root must not mount.
 */
export function requiresMount(): { readonly skip: string | false } {
  if (!isThere('root')) return { skip: 'needs root, to mount a file system' };
  try {
    execFileSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' });
    return { skip: false };
  } catch {
    return missing('the right to mount a file system (docker run --cap-add SYS_ADMIN)');
  }
}

function missing(what: string): { readonly skip: string } {
  const reason = `needs ${what}`;
  if (process.env['CI'] !== undefined) throw new Error(`in CI this is a failure: ${reason}`);
  return { skip: reason };
}

/** Where the clients are that Go installs (`npm run clients`); `FAIRWAY_CLIENTS` names another folder. */
export function clientsFolder(): string {
  return process.env['FAIRWAY_CLIENTS'] ?? join(homedir(), '.cache', 'fairway-clients');
}

/** `PATH` of a client under test: those that Go installed are found first. */
export function searchPath(): string {
  return [clientsFolder(), process.env['PATH'] ?? ''].join(delimiter);
}

/** Whether the program can be run; for what may be missing without a word. */
export function isThere(program: string): boolean {
  if (program === 'root') return process.getuid?.() === 0;
  return searchPath()
    .split(delimiter)
    .some((folder) => {
      try {
        accessSync(join(folder, program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
