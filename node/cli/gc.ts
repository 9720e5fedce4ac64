/**
 * `fairway gc`: removes what nothing needs any longer, now instead of within the hour, or tells what that would be.
 * A region works on it while this command asks how far it is; interrupting the command does not stop the region.
 */
import type { Command } from 'commander';
import { messageOf } from '#domain/errors.ts';
import type { Amount, GarbageRun } from '#node/lifecycle/garbage-run.ts';
import { systemClock } from '#runtime/clock.ts';
import {
  findRegions,
  type ManagementCalls,
  type ServerOptions,
  withServerOptions,
} from './management-calls.ts';
import { durationText, sizeText, table } from './table.ts';

type RegionCalls = ManagementCalls & { readonly name: string };

/** What the command needs of the outside. */
export type GcCommandDeps = {
  connect(options: ServerOptions): readonly RegionCalls[];
  print(text: string): void;
  /** Progress, beside what is printed. */
  tell(text: string): void;
  sleep(ms: number): Promise<void>;
  /** The exit code is 1. */
  fail(): void;
};

type Options = ServerOptions & { readonly dryRun?: boolean; readonly json?: boolean };
type RegionRun = { readonly region: string; readonly run?: GarbageRun; readonly problem?: string };

const PROCESS: GcCommandDeps = {
  connect: findRegions,
  print: (text) => void process.stdout.write(text),
  tell: (text) => void process.stderr.write(text),
  sleep: (ms) => systemClock.sleep(ms, new AbortController().signal),
  fail: () => {
    process.exitCode = 1;
  },
};

const POLL_MS = 200;
/** Who waits for longer is told every so often how far it is. */
const TELL_EVERY_POLLS = 10;

export function registerGc(program: Command, deps: GcCommandDeps = PROCESS): void {
  withServerOptions(program.command('gc'))
    .description('remove what no tag, manifest or push needs any longer; regions also do it by themselves')
    .option('--dry-run', 'only tell what would be removed, and why the largest blobs are kept or not')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  fairway gc --dry-run\n  fairway gc --region us-east --json')
    .action(async (options: Options) => {
      const runs = await Promise.all(deps.connect(options).map((region) => collect(region, options, deps)));
      deps.print(options.json ? `${JSON.stringify(runs, undefined, 2)}\n` : runsText(runs));
      if (!runs.every(({ run }) => run?.state === 'done')) deps.fail();
    });
}

async function collect(
  region: RegionCalls,
  { dryRun = false }: Options,
  deps: Pick<GcCommandDeps, 'sleep' | 'tell'>,
): Promise<RegionRun> {
  try {
    const query = { dryRun: String(dryRun) };
    const begun = expectJson<{ readonly run: GarbageRun }>(
      await region.request('POST', '/api/v1/gc', { query }),
      202,
    );
    let run: GarbageRun | undefined = begun.run;
    for (let polls = 1; ; polls += 1) {
      if (run === undefined) throw new Error('the region was started anew before its run had ended');
      if (run.state === 'done' || run.state === 'failed') return { region: region.name, run };
      if (polls % TELL_EVERY_POLLS === 0) deps.tell(progressText(region.name, run));
      await deps.sleep(POLL_MS);
      const { runs } = expectJson<{ readonly runs: readonly GarbageRun[] }>(
        await region.request('GET', '/api/v1/gc'),
        200,
      );
      // A later run of the same kind has looked at everything that this one would have.
      run = runs.find((candidate) => candidate.dryRun === dryRun && candidate.id >= begun.run.id);
    }
  } catch (thrown) {
    return { region: region.name, problem: messageOf(thrown) };
  }
}

function progressText(region: string, { state, report }: GarbageRun): string {
  if (state === 'waiting') return `${region}: waits for the run before it\n`;
  const { manifests, blobs, examined } = report;
  return `${region}: ${examined.count} blobs looked at, ${blobs.count} and ${manifests.count} manifests are garbage\n`;
}

function expectJson<Answer>(
  answer: { readonly status: number; readonly json: unknown },
  status: number,
): Answer {
  if (answer.status === status) return answer.json as Answer;
  const message = (answer.json as { error?: { message?: string } } | undefined)?.error?.message;
  throw new Error(message ?? `the management API answered with status ${answer.status}`);
}

function runsText(runs: readonly RegionRun[]): string {
  const rows = runs.map(({ region, run }) => {
    if (run === undefined) return [region, 'did not answer'];
    const { manifests, blobs, evicted, uploads, orphans } = run.report;
    const took = durationText(run.endedMs - run.startedMs);
    const state =
      run.state === 'failed' ? `failed: ${run.reason}` : `${run.dryRun ? 'dry run' : 'done'}, ${took}`;
    return [region, state, ...[manifests, blobs, evicted, uploads, orphans].map(amountText)];
  });
  const head = ['REGION', 'STATE', 'MANIFESTS', 'BLOBS', 'EVICTED', 'UPLOADS', 'FILES OF NOBODY'];
  return [
    table(head, rows),
    '',
    ...runs.flatMap(lostText),
    ...runs.flatMap(largestText),
    ...runs.flatMap(({ problem }) => (problem === undefined ? [] : [problem])),
    '',
  ].join('\n');
}

function amountText({ count, sizeBytes }: Amount): string {
  return `${count} (${sizeText(sizeBytes)})`;
}

function lostText({ region, run }: RegionRun): readonly string[] {
  const lost = run?.report.lost;
  if (lost === undefined || lost.count === 0) return [];
  return [
    `${region}: ${lost.count} blobs (${sizeText(lost.sizeBytes)}) had no file; they are fetched again when wanted`,
  ];
}

function largestText({ region, run }: RegionRun): readonly string[] {
  if (run?.dryRun !== true || run.report.largest.length === 0) return [];
  const { count, sizeBytes } = run.report.examined;
  const rows = run.report.largest.map((blob) => [
    blob.digest.slice(0, 19),
    sizeText(blob.sizeBytes),
    blob.fate,
    blob.reason,
  ]);
  return [
    `${region}: the largest of ${count} blobs (${sizeText(sizeBytes)})`,
    table(['DIGEST', 'SIZE', 'WOULD BE', 'BECAUSE'], rows),
    '',
  ];
}
