/**
 * A real PostgreSQL server of a test's own: a new cluster in a temporary folder, reached by a socket in it. Debian
 * keeps the server's programs beside PATH. The server refuses to run as root, so a root's test runs it as `postgres`.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, chownSync, constants, globSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { scheduler } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { requires } from '#test/requirements.ts';
import { temporaryFolder } from './temporary.ts';

export type PostgresServer = AsyncDisposable & {
  readonly url: string;
  /** The server's first process. */
  readonly pid: number;
  /** Ends it (SIGTERM: smart, SIGINT: fast, SIGQUIT: at once) and starts it again. */
  restart(signal: 'SIGTERM' | 'SIGINT' | 'SIGQUIT'): Promise<void>;
};

const START_TRIES = 200;

/** `{ skip }` for node:test. */
export function requiresPostgres(): { readonly skip: string | false } {
  return programFolder() === undefined ? requires('postgres') : { skip: false };
}

export async function startPostgres(
  settings: Readonly<Record<string, string>> = {},
): Promise<PostgresServer> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const programs = programFolder();
  if (programs === undefined) throw new Error('no PostgreSQL server on this machine');
  const owner = ownerOfServer();
  if (owner.uid !== undefined) chownSync(folder.path, owner.uid, owner.gid ?? owner.uid);
  const data = join(folder.path, 'data');
  await promisify(execFile)(
    join(programs, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync'],
    owner,
  );
  const flags = Object.entries({ ...settings, listen_addresses: '', unix_socket_directories: folder.path });
  const url = `postgres://postgres@/postgres?host=${encodeURIComponent(folder.path)}`;
  const start = async () => {
    const child = spawn(
      join(programs, 'postgres'),
      ['-D', data, ...flags.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      { ...owner, stdio: 'ignore' },
    );
    await answers(url, child);
    return child;
  };
  let child = await start();
  const stop = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  };
  stack.defer(() => stop('SIGQUIT'));
  const owned = stack.move();
  return {
    url,
    get pid() {
      return child.pid ?? 0;
    },
    async restart(signal) {
      await stop(signal);
      child = await start();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function answers(url: string, child: { readonly exitCode: number | null }): Promise<void> {
  for (let tries = 0; tries < START_TRIES && child.exitCode === null; tries += 1) {
    const client = new Client({ connectionString: url });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.end();
      return;
    } catch {
      await scheduler.wait(25);
    }
  }
  throw new Error(`PostgreSQL did not start (exit code ${child.exitCode})`);
}

function programFolder(): string | undefined {
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    ...globSync('/usr/lib/postgresql/*/bin').sort().reverse(),
  ];
  return folders.find((folder) => {
    try {
      accessSync(join(folder, 'initdb'), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function ownerOfServer(): { readonly uid?: number; readonly gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}
