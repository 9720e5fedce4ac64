/**
 * Three regions with an account, for clients that sign in: the first account closes the registry, so every request
 * of a client goes through its challenge. Each client gets a home of its own, where it keeps what it signed in with.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { AccountWithSecret } from '#access/account-editor.ts';
import { managementOf, statusOf, until } from '#test/processes/management.ts';
import { type MeshUnderTest, startMesh } from '#test/processes/mesh-under-test.ts';
import { searchPath } from '#test/requirements.ts';

const run = promisify(execFile);
/** No client waits that long for anything here; a test that does has found a hang. */
const COMMAND_MS = 60_000;
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/** May do everything in all repositories. */
export const ACCOUNT = 'ci';

export type AccountMesh = AsyncDisposable & {
  readonly mesh: MeshUnderTest;
  readonly secret: string;
  /** For files of the test; it goes with the mesh. */
  readonly folder: string;
  /** What registries are called: `127.0.0.1:<port>` of the region with this position, from 0. */
  host(position: number): string;
  /** As the account. */
  fetch(position: number, path: string, init?: RequestInit): Promise<Response>;
  /** The digest that a region answers for `repository:tag`; `undefined` for 404. */
  digestAt(position: number, name: string): Promise<string | undefined>;
  /** Waits until every region has what any of them has: lists and moved tags are as old as the index elsewhere. */
  settled(): Promise<void>;
  /** Runs a client in its home. Rejects with all that it said when it fails. */
  run(
    program: string,
    ...args: readonly string[]
  ): Promise<{ readonly stdout: string; readonly stderr: string }>;
  /** What a client finds in its environment. */
  readonly env: NodeJS.ProcessEnv;
};

export async function startAccountMesh(): Promise<AccountMesh> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.adopt(await mkdtemp(join(tmpdir(), 'fairway-clients-')), (path) =>
    rm(path, { recursive: true, force: true, maxRetries: 5 }),
  );
  const mesh = stack.use(await startMesh());
  const secret = await createAccount(mesh);
  const headers = { authorization: `Basic ${Buffer.from(`${ACCOUNT}:${secret}`).toString('base64')}` };
  const ask = (position: number, path: string, init: RequestInit = {}) =>
    fetch(`${mesh.url(position)}${path}`, { ...init, headers: { ...headers, ...init.headers } });
  for (const position of [0, 1, 2]) {
    await until('the account is there', async () => (await ask(position, '/v2/')).status === 200);
  }
  const env = await homeIn(folder);
  const owned = stack.move();
  return {
    ...{ mesh, secret, folder, env },
    host: (position) => `127.0.0.1:${mesh.region(position).registry.port}`,
    fetch: ask,
    digestAt: async (position, name) => {
      const [repository = '', tag = ''] = name.split(':');
      const reply = await ask(position, `/v2/${repository}/manifests/${tag}`);
      await reply.arrayBuffer();
      return reply.status === 404 ? undefined : (reply.headers.get('docker-content-digest') ?? 'none');
    },
    settled: async () => {
      for (const region of mesh.mesh.regions) {
        const isKnown = async () =>
          (await statusOf(region)).peers.every(({ unconfirmedClaims }) => unconfirmedClaims === 0);
        await until('every region has the index of every other one', isKnown);
      }
    },
    run: (program, ...args) =>
      run(program, args, { cwd: folder, env, timeout: COMMAND_MS, maxBuffer: OUTPUT_BYTES_MAX }),
    [Symbol.asyncDispose]: async () => {
      await owned.disposeAsync();
      if (mesh.ended.length > 0) throw new Error(`regions ended by themselves: ${mesh.ended.join(', ')}`);
    },
  };
}

async function createAccount(mesh: MeshUnderTest): Promise<string> {
  const { status, json } = await (await managementOf(mesh.region(0))).request('POST', '/api/v1/accounts', {
    body: { name: ACCOUNT, rights: [{ repositories: ['**'], actions: ['pull', 'push', 'delete'] }] },
  });
  if (status !== 201) throw new Error(`no account was made: ${status} ${JSON.stringify(json)}`);
  return (json as AccountWithSecret).secret ?? '';
}

/** Nothing of the machine's user is read or written. */
async function homeIn(folder: string): Promise<NodeJS.ProcessEnv> {
  const home = join(folder, 'home');
  const runtime = join(folder, 'run');
  await mkdir(home);
  await mkdir(runtime, { mode: 0o700 });
  const credentials = join(home, 'auth.json');
  // buildah refuses to begin when the file that it is told of is not there.
  await writeFile(credentials, '{}');
  return {
    PATH: searchPath(),
    HOME: home,
    XDG_RUNTIME_DIR: runtime,
    DOCKER_CONFIG: join(home, '.docker'),
    REGISTRY_AUTH_FILE: credentials,
    TMPDIR: folder,
  };
}
