/**
 * `npm run conformance -- [--json] [--program FILE] [--if-available]`: the public conformance program of the OCI distribution spec
 * against one fresh node, with the spec's main branch ("dev") and sparse manifests. Exit code 0 only when tests ran
 * and none failed, was skipped or was disabled; 1 otherwise, also without Go; 2 when called wrongly.
 *
 * The program comes by the Go module proxy at a fixed version, so that a run says something about this project and
 * not about what changed there. Not every proxy hands that module out: with `--if-available` a run that could not get
 * the program says so and ends with 0, and a run that has it is held to the same bar. CI calls it so.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { parseRegionName } from '#domain/region.ts';
import { startMesh } from '#test/processes/mesh-under-test.ts';
import { temporaryFolder } from '#test/storage/temporary.ts';
import { isPass, type Report, readReport } from './junit.ts';

const MODULE = 'github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260716174315-967efdc079b9';
const SPEC = 'dev';
/** Of the program's own summary: everything before it is a line for each of a thousand tests. */
const SUMMARY = /^OCI Conformance Result:/m;

const HELP = `npm run conformance -- [--json] [--program FILE] [--if-available]

Runs the public OCI conformance program (spec: ${SPEC}, sparse manifests on) against one fresh node.
  --json           one JSON document on standard output instead of the summary
  --program FILE   a conformance program that is already on this machine, instead of
                   go install ${MODULE}
  --if-available   where the program cannot be had, say why and exit with 0

Examples:
  npm run conformance
  npm run --silent conformance -- --json
  npm run conformance -- --program ./conformance
`;

const NO_GO = 'go is not on this machine; Go 1.24 or newer runs the program (--program FILE needs none)';

type Run = { readonly exitCode: number; readonly output: string; readonly errors: string };

process.exitCode = await main();

async function main(): Promise<number> {
  const options = parsed();
  if (options === undefined) return 2;
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  await using results = await temporaryFolder();
  const program =
    options.program === undefined ? await installed(results.path) : { path: resolve(options.program) };
  if ('missing' in program) {
    failed(`not run: ${program.missing}`);
    return options['if-available'] ? 0 : 1;
  }
  await using mesh = await startMesh({ regions: [parseRegionName('eu-west')] });
  const registry = new URL(mesh.url(0)).host;
  const run = await runProgram([program.path], environment({ registry, folder: results.path }));
  if (run === undefined) return failed(`${program.path} is not there`);
  const xml = await readFile(join(results.path, 'junit.xml'), 'utf8').catch(() => '');
  const report = readReport(xml);
  if (report === undefined) return failed(`the program did not run: ${lastLine(run.errors)}`);
  const pass = isPass(report, run.exitCode);
  process.stdout.write(options.json ? jsonOf(report, run, pass) : summaryOf(report, run));
  return pass ? 0 : 1;
}

function parsed() {
  try {
    const { values } = parseArgs({
      options: {
        json: { type: 'boolean', default: false },
        program: { type: 'string' },
        'if-available': { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    return values;
  } catch (thrown) {
    failed(`${thrown instanceof Error ? thrown.message : thrown} (--help shows how it is called)`);
    return undefined;
  }
}

/** Builds the program in `folder`; `missing` says in a line why it cannot be had here. */
async function installed(folder: string): Promise<{ readonly path: string } | { readonly missing: string }> {
  const run = await runProgram(['go', 'install', MODULE], {
    cwd: folder,
    env: { ...process.env, GOBIN: folder },
  });
  if (run === undefined) return { missing: NO_GO };
  if (run.exitCode !== 0) return { missing: `go install ${MODULE} failed: ${lastLine(run.errors)}` };
  return { path: join(folder, 'conformance') };
}

/** The program's settings are ours alone, wherever it is run: a configuration file in the working folder would be read. */
function environment({ registry, folder }: { readonly registry: string; readonly folder: string }) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('OCI_'));
  return {
    cwd: folder,
    env: {
      ...Object.fromEntries(inherited),
      OCI_REGISTRY: registry,
      OCI_TLS: 'disabled',
      OCI_VERSION: SPEC,
      OCI_DATA_SPARSE: 'true',
      OCI_RESULTS_DIR: folder,
    },
  };
}

/** `undefined` when there is no such command. */
async function runProgram(
  [command = '', ...args]: readonly string[],
  settings: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<Run | undefined> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...settings });
  const ended = once(child, 'close');
  try {
    const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
    return { exitCode: typeof code === 'number' ? code : 1, output, errors };
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
}

function summaryOf(report: Report, run: Run): string {
  const start = run.output.search(SUMMARY);
  const summary = start === -1 ? '' : run.output.slice(start).trimEnd();
  const lines = report.notPassed.map(({ name, status, message }) => `${status}: ${name}\n  ${message}`);
  return `${[summary, ...lines, countsOf(report, run)].join('\n')}\n`;
}

function countsOf({ passed, failed: failures, skipped }: Report, { exitCode }: Run): string {
  return `conformance (${SPEC}): ${passed} passed, ${failures} failed, ${skipped} skipped, exit code ${exitCode}`;
}

function jsonOf(report: Report, { exitCode }: Run, pass: boolean): string {
  return `${JSON.stringify({ spec: SPEC, module: MODULE, pass, exitCode, ...report }, undefined, 2)}\n`;
}

function lastLine(errors: string): string {
  return errors.trimEnd().split('\n').at(-1)?.trim() || 'it said nothing';
}

function failed(message: string): number {
  process.stderr.write(`conformance: ${message}\n`);
  return 1;
}
