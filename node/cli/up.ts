/**
 * `fairway up`: a mesh on this machine, one process a region, until Ctrl-C. Prints where everything is and what to
 * type; a region that dies is started again, with a line that says so.
 */
import type { Command } from 'commander';
import { parseRegionName, type RegionName } from '#domain/region.ts';
import { readMeshConfig } from '#node/config.ts';
import { backoffMs } from '#runtime/backoff.ts';
import { systemClock } from '#runtime/clock.ts';
import { systemRandom } from '#runtime/random.ts';
import { WrongCallError } from './exit.ts';
import { LocalMesh, type LocalMeshConfig } from './local-mesh.ts';
import { addressText } from './mesh-folder.ts';
import { endText, type RegionEnd } from './region-process.ts';
import { table } from './table.ts';

/** Names of the regions of `--regions N`, in order; `region-10` and so on follow. */
const REGION_NAMES = [
  'eu-west',
  'us-east',
  'ap-south',
  'us-west',
  'eu-north',
  'sa-east',
  'ap-east',
  'af-south',
  'me-central',
];
/** Ports of the four kinds are a hundred apart. */
const REGIONS_MAX = 50;
const BASE_PORT_MAX = 65_535 - 300 - REGIONS_MAX;
/** A region that dies is back after about a second at first, later after at most 30 s. */
const RESTART = { baseMs: 2000, maxMs: 30_000 };

type Options = {
  readonly regions: string;
  readonly data: string;
  readonly basePort: string;
  readonly json?: boolean;
};

export function registerUp(program: Command): void {
  program
    .command('up [file]')
    .description('run a mesh on this machine: one process and one folder per region, until Ctrl-C')
    .option('--regions <n>', 'number of regions (ignored with a file)', '3')
    .option('--data <folder>', 'data folder; a second run finds everything again', '.fairway')
    .option('--base-port <port>', 'region i has its registry at this port + i', '5000')
    .option('--json', 'print the addresses as JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (file: string | undefined, options: Options) => {
      process.exitCode = await up(file, options);
    });
}

const EXAMPLES = `
FILE is a "kind: MeshConfig" document: regions, what each may originate (role and grant), and links with rttMs and
mbps (a pretended distance).

Examples:
  fairway up                                 three regions: eu-west, us-east, ap-south
  fairway up --regions 5 --base-port 7000    five, with registries at 7001 ... 7005
  fairway up docs/examples/mesh.yaml         with 90 ms between two regions`;

async function up(file: string | undefined, options: Options): Promise<number> {
  const stopped = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopped.abort());
  const { regions, granted, links } = regionsOf(file, options);
  const restarts = new Map<RegionName, number>();
  const restart = async (mesh: LocalMesh, region: RegionName, end: RegionEnd): Promise<void> => {
    const attempt = (restarts.get(region) ?? 0) + 1;
    restarts.set(region, attempt);
    say(`${region} ended (${endText(end)}); starting it again`);
    try {
      await systemClock.sleep(backoffMs(attempt, RESTART, systemRandom), stopped.signal);
      await mesh.startRegion(region);
      say(`${region} serves again`);
    } catch (thrown) {
      if (stopped.signal.aborted) return;
      say(`${thrown instanceof Error ? thrown.message : thrown}`);
      await restart(mesh, region, end);
    }
  };
  const running = Promise.withResolvers<LocalMesh>();
  const mesh = await LocalMesh.start({
    data: options.data,
    regions,
    granted,
    basePort: wholeNumber('--base-port', options.basePort, BASE_PORT_MAX),
    links,
    onUnexpectedEnd: (region, end) => void running.promise.then((started) => restart(started, region, end)),
  });
  running.resolve(mesh);
  try {
    process.stdout.write(options.json ? `${JSON.stringify(describe(mesh))}\n` : welcome(mesh, options.data));
    await untilAborted(stopped.signal);
  } finally {
    say('stopping');
    await mesh[Symbol.asyncDispose]();
  }
  return 0;
}

function regionsOf(
  file: string | undefined,
  options: Options,
): Pick<LocalMeshConfig, 'regions' | 'links'> & Required<Pick<LocalMeshConfig, 'granted'>> {
  if (file !== undefined) {
    const { regions, links } = readMeshConfig(file);
    return { regions: regions.map(({ name }) => name), granted: regions, links };
  }
  const count = wholeNumber('--regions', options.regions, REGIONS_MAX);
  const names = Array.from(
    { length: count },
    (_, position) => REGION_NAMES[position] ?? `region-${position + 1}`,
  );
  return { regions: names.map(parseRegionName), granted: [], links: [] };
}

function wholeNumber(flag: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new WrongCallError(`${flag} ${text}: expected a whole number from 1 to ${max}`);
}

function describe(mesh: LocalMesh) {
  return mesh.regions.map((region) => ({
    region: region.name,
    registry: addressText(region.registry),
    management: `http://${addressText(region.management)}`,
    folder: region.folder,
    pid: mesh.pid(region.name),
  }));
}

function welcome(mesh: LocalMesh, data: string): string {
  const rows = mesh.regions.map((region) => [
    region.name,
    addressText(region.registry),
    `http://${addressText(region.management)}`,
    mesh.regions
      .filter((other) => other !== region)
      .map((other) => other.name)
      .join(', ') || '-',
    String(mesh.pid(region.name) ?? '-'),
  ]);
  const [first, second] = mesh.regions;
  const other = second ?? first;
  const status = data === '.fairway' ? 'npx fairway status' : `npx fairway status --data ${data}`;
  return [
    '',
    table(['REGION', 'REGISTRY', 'MANAGEMENT', 'LINKS TO', 'PID'], rows),
    '',
    'Push in one region, pull in another:',
    `  docker tag alpine ${addressText(first?.registry ?? { host: '', port: 0 })}/demo/alpine:1`,
    `  docker push ${addressText(first?.registry ?? { host: '', port: 0 })}/demo/alpine:1`,
    `  docker pull ${addressText(other?.registry ?? { host: '', port: 0 })}/demo/alpine:1`,
    '',
    'Look at it:',
    `  ${status}`,
    `  ${status.replace('status', 'image demo/alpine:1')}`,
    '',
    'Ctrl-C stops all regions; what was pushed stays in the data folder.',
    '',
  ].join('\n');
}

function say(text: string): void {
  process.stderr.write(`fairway: ${text}\n`);
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => resolve(), { once: true });
  // A pending promise alone does not keep the process alive; the relays and child processes do.
  await promise;
}
