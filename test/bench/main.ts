/**
 * `npm run bench -- [--only NAME[,NAME]] [--rounds N] [--json FILE]`: Fairway beside docker-registry on this machine, in
 * this run. Exit code 1 when a ratio had to be refused or a bar was missed, 2 when called wrongly.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { table } from '#cli/table.ts';
import { REGIONS, startMesh } from '#test/processes/mesh-under-test.ts';
import { isThere, requires } from '#test/requirements.ts';
import { prepareBenches } from './benches.ts';
import { convergenceBenches } from './convergence.ts';
import { DockerRegistry } from './docker-registry.ts';
import {
  type Bench,
  type BenchResult,
  compare,
  format,
  measure,
  type OwnBench,
  type RoundUsage,
} from './measure.ts';
import { prepareMeshBenches } from './mesh-benches.ts';
import { preparePushBenches } from './push-benches.ts';
import { prepareReadBenches } from './read-benches.ts';
import { prepareMillionBenches, prepareTagListBenches } from './scale-benches.ts';
import { seamBenches } from './seam-benches.ts';
import { tagBytes } from './tag-bytes.ts';
import { ZotRegistry } from './zot-registry.ts';

const HELP = `npm run bench -- [--only NAME[,NAME]] [--rounds N] [--json FILE]

Fairway beside docker-registry, bare node:http and zot, in turn, on this machine. A ratio above 1 says that Fairway is
better. Each row has the processor time (of an operation, where they were counted, else of a round) and the memory of
both sides' processes; FILE has all of it.
Names: NAMES

Examples:
  npm run bench
  npm run bench -- --only manifest-get --rounds 9
  npm run bench -- --json bench-results.json
`;

/** What is measured together, on the same processes; a group is started when one of its benches is wanted. */
const GROUPS: readonly {
  readonly names: readonly string[];
  readonly prepare: (stack: AsyncDisposableStack) => Promise<readonly (Bench | OwnBench)[]>;
}[] = [
  {
    names: ['manifest-get', 'blob-download', 'blob-download-nginx', 'idle-connections-p99'],
    prepare: prepareReadBenches,
  },
  { names: ['tag-list-page-growth', 'tag-list-page'], prepare: prepareTagListBenches },
  {
    names: ['blob-push', 'push-here-pull-there', 'tag-known-elsewhere', 'first-byte-delay'],
    prepare: async (stack) => {
      const mesh = stack.use(await startMesh());
      const registry = stack.use(await DockerRegistry.start());
      const second = stack.use(await DockerRegistry.start());
      return [...prepareBenches({ mesh, registry, second }), ...prepareMeshBenches(mesh)];
    },
  },
  {
    names: ['small-images', 'manifest-get-while-pushed'],
    prepare: async (stack) => {
      const alone = stack.use(await startMesh({ regions: REGIONS.slice(0, 1) }));
      const ours = { url: alone.url(0), pid: alone.mesh.pid(alone.region(0).name) ?? 0 };
      return preparePushBenches(ours, stack.use(await DockerRegistry.start()));
    },
  },
  { names: ['tag-bytes-growth'], prepare: async () => [tagBytes] },
  { names: seamBenches.map(({ name }) => name), prepare: async () => seamBenches },
  { names: convergenceBenches.map(({ name }) => name), prepare: async () => convergenceBenches },
  {
    names: ['million-manifests-start', 'million-manifests-resident'],
    prepare: prepareMillionBenches,
  },
];

const WITHOUT_ZOT =
  'zot is not measured: it is not on PATH. Where the Go module proxy has it, this brings it there: ' +
  'go install -tags minimal zotregistry.dev/zot/v2/cmd/zot@latest';

process.exitCode = await main();

async function main(): Promise<number> {
  const { rounds, json, help, ...asked } = options();
  const only = asked.only?.split(',');
  if (help) {
    process.stdout.write(HELP.replace('NAMES', GROUPS.flatMap(({ names }) => names).join(', ')));
    return 0;
  }
  if (!Number.isInteger(rounds) || rounds < 3 || rounds > 99)
    return wrong('--rounds: a whole number from 3 to 99');
  const { skip } = requires('docker-registry', 'skopeo', 'wrk');
  if (skip !== false) return wrong(`the peers are not on this machine: ${skip}`, 1);
  const groups = GROUPS.filter(
    ({ names }) => only === undefined || names.some((name) => only.includes(name)),
  );
  if (groups.length === 0)
    return wrong(`--only ${asked.only}: one of ${GROUPS.flatMap(({ names }) => names).join(', ')}`);
  const results: BenchResult[] = [];
  const progress = (text: string) => process.stderr.write(`${text}\n`);
  if (!ZotRegistry.isInstalled()) progress(WITHOUT_ZOT);
  if (!isThere('nginx')) progress('blob-download-nginx is not measured: nginx is not on PATH');
  for (const group of groups) {
    await using stack = new AsyncDisposableStack();
    for (const bench of await group.prepare(stack)) {
      if (only !== undefined && !only.includes(bench.name)) continue;
      if ('peer' in bench) results.push(...(await compare(bench, rounds, progress)));
      else results.push(await measure(bench, rounds, progress));
    }
  }
  process.stdout.write(`${summary(results)}\n`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(results, undefined, 2)}\n`);
  return results.every((result) => result.refused === null && result.met !== false) ? 0 : 1;
}

function options() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  return { ...values, rounds: Number(values.rounds) };
}

function wrong(text: string, code = 2): number {
  process.stderr.write(`bench: ${text}\n`);
  return code;
}

function summary(results: readonly BenchResult[]): string {
  const rows = results.map((result) => [
    result.name,
    result.ours === null ? '-' : `${format(result.ours)} ${result.unit}`,
    result.theirs === null ? '-' : `${format(result.theirs)} ${result.unit}`,
    result.peer,
    ratioText(result),
    barText(result),
    usageText(result.usage.ours),
    usageText(result.usage.theirs),
  ]);
  return `\n${table(['BENCH', 'FAIRWAY', 'PEER', 'IS', 'RATIO', 'BAR', 'FAIRWAY TOOK', 'PEER TOOK'], rows)}`;
}

function ratioText(result: BenchResult): string {
  if (result.refused !== null) return `refused: ${result.refused}`;
  return result.ratio === null ? '-' : `${result.ratio.toFixed(2)}×`;
}

function barText(result: BenchResult): string {
  if (result.bar === null) return '-';
  const limit = result.better === 'higher' ? 'at least' : 'at most';
  const bar =
    result.peer === 'none' ? `${limit} ${format(result.bar)} ${result.unit}` : `${format(result.bar)}×`;
  return result.met === null ? bar : `${bar}: ${result.met ? 'met' : 'missed'}`;
}

/** Processor time, of one operation where they were counted; and the most memory. */
function usageText(usage: RoundUsage | null): string {
  if (usage === null) return '-';
  const { cpuMicros, cpuSeconds, peakMb } = usage;
  const time =
    cpuMicros === null
      ? `${cpuSeconds.toFixed(2)} s`
      : cpuMicros < 1000
        ? `${format(cpuMicros)} µs each`
        : `${format(cpuMicros / 1000)} ms each`;
  return `${time}, ${Math.round(peakMb)} MB`;
}
