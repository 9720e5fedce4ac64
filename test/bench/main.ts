/**
 * `npm run bench -- [--only NAME] [--rounds N] [--json FILE]`: Fairway beside docker-registry on this machine, in
 * this run. Exit code 1 when a ratio had to be refused or a bar was missed, 2 when called wrongly.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { table } from '#cli/table.ts';
import { REGIONS, startMesh } from '#test/processes/mesh-under-test.ts';
import { requires } from '#test/requirements.ts';
import { prepareBenches } from './benches.ts';
import { DockerRegistry } from './docker-registry.ts';
import { type BenchResult, compare, format, measure } from './measure.ts';
import { prepareMeshBenches } from './mesh-benches.ts';
import { preparePushBenches } from './push-benches.ts';
import { seamBenches } from './seam-benches.ts';
import { tagBytes } from './tag-bytes.ts';

const HELP = `npm run bench -- [--only NAME] [--rounds N] [--json FILE]

Fairway beside docker-registry, in turn, on this machine. A ratio above 1 says that Fairway is better.
Names: manifest-get, blob-download, blob-push, small-images, push-here-pull-there; and, against a limit of
their own: tag-known-elsewhere, first-byte-delay, tag-bytes-growth, manifest-get-while-pushed,
pushes-at-metadata, claims-apply, claims-apply-bootstrap

Examples:
  npm run bench
  npm run bench -- --only manifest-get --rounds 9
  npm run bench -- --json bench-results.json
`;

process.exitCode = await main();

async function main(): Promise<number> {
  const { only, rounds, json, help } = options();
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (!Number.isInteger(rounds) || rounds < 3 || rounds > 99)
    return wrong('--rounds: a whole number from 3 to 99');
  const { skip } = requires('docker-registry', 'skopeo', 'wrk');
  if (skip !== false) return wrong(`the peers are not on this machine: ${skip}`, 1);
  await using mesh = await startMesh();
  await using alone = await startMesh({ regions: REGIONS.slice(0, 1) });
  await using registry = await DockerRegistry.start();
  await using second = await DockerRegistry.start();
  const benches = [
    ...(await prepareBenches({ mesh, registry, second })),
    ...preparePushBenches(alone.url(0), registry),
    ...prepareMeshBenches(mesh),
    tagBytes,
    ...seamBenches,
  ];
  const chosen = benches.filter((bench) => only === undefined || bench.name === only);
  if (chosen.length === 0)
    return wrong(`--only ${only}: one of ${benches.map((bench) => bench.name).join(', ')}`);
  const results: BenchResult[] = [];
  const progress = (text: string) => process.stderr.write(`${text}\n`);
  for (const bench of chosen) {
    results.push(
      'peer' in bench ? await compare(bench, rounds, progress) : await measure(bench, rounds, progress),
    );
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
  ]);
  return `\n${table(['BENCH', 'FAIRWAY', 'PEER', 'IS', 'RATIO', 'BAR'], rows)}`;
}

function ratioText(result: BenchResult): string {
  if (result.refused !== null) return `refused: ${result.refused}`;
  return result.ratio === null ? '-' : `${result.ratio.toFixed(2)}×`;
}

function barText(result: BenchResult): string {
  if (result.bar === null) return '-';
  const limit = result.better === 'higher' ? 'at least' : 'at most';
  const bar = result.peer === 'none' ? `${limit} ${result.bar} ${result.unit}` : `${result.bar}×`;
  return result.met === null ? bar : `${bar}: ${result.met ? 'met' : 'missed'}`;
}
