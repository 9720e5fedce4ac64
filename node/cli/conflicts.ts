/**
 * `fairway conflicts`: tags that two regions moved without seeing each other; both sides of one; and the end of one.
 *
 * The list exits with 1 when there are conflicts, so that a script or a scheduled job notices.
 */
import type { Command } from 'commander';
import type { ResolvedConflict, TagConflict } from '#http/views.ts';
import {
  findRegions,
  firstThatAnswers,
  type ManagementCalls,
  type ServerOptions,
  withServerOptions,
} from './management-calls.ts';
import { table } from './table.ts';

/** What the commands need of the outside. */
export type ConflictCommandDeps = {
  connect(options: ServerOptions): ManagementCalls;
  print(text: string): void;
  /** The exit code is 1. */
  fail(): void;
};

type Options = ServerOptions & { readonly json?: boolean };
type Answer = Awaited<ReturnType<ManagementCalls['request']>>;
type Page = { readonly conflicts: readonly TagConflict[]; readonly next?: string };

const PROCESS: ConflictCommandDeps = {
  connect: (options) => firstThatAnswers(findRegions(options)),
  print: (text) => void process.stdout.write(text),
  fail: () => {
    process.exitCode = 1;
  },
};

const PATH = '/api/v1/conflicts';
/** The most that one answer holds. */
const PAGE_LIMIT = '200';

export function registerConflicts(program: Command, deps: ConflictCommandDeps = PROCESS): void {
  const conflicts = program
    .command('conflicts')
    .description('tags that two regions moved without seeing each other; exit code 1 when there are any')
    .addHelpText(
      'after',
      examples(
        'fairway conflicts',
        'fairway conflicts --json --region eu-west',
        'fairway conflicts show team/app:v1',
        'fairway conflicts resolve team/app:v1 --to us-east',
      ),
    );
  addList(conflicts, deps);
  addShow(conflicts, deps);
  addResolve(conflicts, deps);
}

function addList(conflicts: Command, deps: ConflictCommandDeps): void {
  withServerOptions(conflicts.command('ls', { isDefault: true }))
    .description('all of them, as far as the region that answers knows')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('fairway conflicts', 'fairway conflicts ls --json'))
    .action(async (options: Options) => {
      const found = await listAll(deps.connect(options));
      deps.print(options.json ? jsonText({ conflicts: found }) : listText(found));
      if (found.length > 0) deps.fail();
    });
}

function addShow(conflicts: Command, deps: ConflictCommandDeps): void {
  withServerOptions(conflicts.command('show <name>'))
    .description('every side of the conflict of REPOSITORY:TAG; exit code 1 when it is in none')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('fairway conflicts show team/app:v1'))
    .action(async (name: string, options: Options) => {
      const answer = await deps.connect(options).request('GET', PATH, { query: { name } });
      const [conflict] = (expectDone(answer) as Page).conflicts;
      if (conflict === undefined) throw new Error(`${name} is in no conflict`);
      deps.print(options.json ? jsonText(conflict) : conflictText(conflict));
    });
}

function addResolve(conflicts: Command, deps: ConflictCommandDeps): void {
  withServerOptions(conflicts.command('resolve <name>'))
    .description('end the conflict of REPOSITORY:TAG in every region, to the digest of one of its sides')
    .requiredOption('--to <side>', 'the digest of a side, or the region that pushed it')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples(
        'fairway conflicts resolve team/app:v1 --to us-east',
        'fairway conflicts resolve team/app:v1 --to sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865',
      ),
    )
    .action(async (name: string, options: Options & { readonly to: string }) => {
      const body = { name, to: options.to };
      const answer = await deps.connect(options).request('POST', `${PATH}/resolve`, { body });
      const resolved = expectDone(answer) as ResolvedConflict;
      const text = `${resolved.repository}:${resolved.tag} is ${resolved.digest}\n`;
      deps.print(options.json ? jsonText(resolved) : text);
    });
}

async function listAll(calls: ManagementCalls): Promise<readonly TagConflict[]> {
  const found: TagConflict[] = [];
  let after: string | undefined;
  do {
    const query = { limit: PAGE_LIMIT, ...(after === undefined ? {} : { after }) };
    const page = expectDone(await calls.request('GET', PATH, { query })) as Page;
    found.push(...page.conflicts);
    after = page.next;
  } while (after !== undefined);
  return found;
}

/** @throws Error with what the region said. */
function expectDone(answer: Answer): unknown {
  if (answer.status === 200) return answer.json;
  const failure = answer.json as { readonly error?: { readonly message?: string } } | undefined;
  throw new Error(failure?.error?.message ?? `the management API answered with status ${answer.status}`);
}

function listText(conflicts: readonly TagConflict[]): string {
  if (conflicts.length === 0) return 'No conflicts.\n';
  const rows = conflicts.flatMap((conflict) =>
    conflict.sides.map((side, position) => [
      ...(position === 0 ? [`${conflict.repository}:${conflict.tag}`, timeText(conflict.sinceMs)] : ['', '']),
      ...cellsOf(side),
    ]),
  );
  return `${table(['TAG', 'SINCE', ...SIDE_HEAD], rows)}\n`;
}

function conflictText({ repository, tag, sinceMs, sides }: TagConflict): string {
  const head = `${repository}:${tag} is in conflict since ${timeText(sinceMs)}\n\n`;
  const choices = `\nEnd it: fairway conflicts resolve ${repository}:${tag} --to REGION|DIGEST\n`;
  return `${head}${table(SIDE_HEAD, sides.map(cellsOf))}\n${choices}`;
}

const SIDE_HEAD = ['', 'DIGEST', 'REGION', 'BY', 'AT'];

function cellsOf(side: TagConflict['sides'][number]): readonly string[] {
  return [side.wins ? 'wins' : 'loses', side.digest, side.region, side.principal, timeText(side.changedMs)];
}

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}
