/** `fairway log`: who changed what, where and when, in all regions, the newest first. */
import type { Command } from 'commander';
import type { Change, ChangePage } from '#http/views.ts';
import { DURATION_EXPECTED, parseDuration } from '#policies/units.ts';
import { systemClock } from '#runtime/clock.ts';
import { WrongCallError } from './exit.ts';
import {
  findRegions,
  firstThatAnswers,
  type ManagementCalls,
  type ServerOptions,
  withServerOptions,
} from './management-calls.ts';
import { table } from './table.ts';

/** What the command needs of the outside. */
export type LogCommandDeps = {
  connect(options: ServerOptions): ManagementCalls;
  print(text: string): void;
  nowMs(): number;
};

type Options = ServerOptions & {
  readonly repository?: string;
  readonly who?: string;
  readonly since?: string;
  readonly refused?: boolean;
  readonly limit: string;
  readonly json?: boolean;
};

const PROCESS: LogCommandDeps = {
  connect: (options) => firstThatAnswers(findRegions(options)),
  print: (text) => void process.stdout.write(text),
  nowMs: () => systemClock.nowMs(),
};

const LIMIT_MAX = 100_000;
/** What the management API answers at once at most. */
const PAGE_MAX = 1000;

export function registerLog(program: Command, deps: LogCommandDeps = PROCESS): void {
  withServerOptions(program.command('log'))
    .description(
      'who changed what, where and when, in all regions, the newest first; of each name the last change in each region',
    )
    .option('--repository <glob>', 'only in these repositories')
    .option('--who <name>', 'only by this account, or "administrator"')
    .option('--since <when>', 'only from then on: 2h, 7d, or 2026-01-31T12:00:00Z')
    .option('--refused', 'only what a region wrote outside of its grant, which is shown nowhere')
    .option('--limit <n>', 'at most so many', '100')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      "\nExamples:\n  fairway log --since 2h\n  fairway log --repository 'prod/**' --who ci --json",
    )
    .action(async (options: Options) => {
      const changes = await readAll(deps.connect(options), queryOf(options, deps.nowMs()), limitOf(options));
      deps.print(options.json ? `${JSON.stringify({ changes }, undefined, 2)}\n` : logText(changes));
    });
}

async function readAll(
  calls: ManagementCalls,
  filter: Readonly<Record<string, string>>,
  limit: number,
): Promise<readonly Change[]> {
  const changes: Change[] = [];
  for (let cursor: string | undefined = ''; cursor !== undefined && changes.length < limit; ) {
    const query = {
      ...filter,
      limit: String(Math.min(PAGE_MAX, limit - changes.length)),
      ...(cursor === '' ? {} : { cursor }),
    };
    const { status, json } = await calls.request('GET', '/api/v1/log', { query });
    if (status !== 200) throw failureOf(status, json);
    const page = json as ChangePage;
    changes.push(...page.changes);
    cursor = page.next;
  }
  return changes;
}

function queryOf(
  { repository, who, since, refused }: Options,
  nowMs: number,
): Readonly<Record<string, string>> {
  return {
    ...(repository === undefined ? {} : { repository }),
    ...(who === undefined ? {} : { who }),
    ...(refused === true ? { refused: 'true' } : {}),
    ...(since === undefined ? {} : { sinceMs: String(sinceMs(since, nowMs)) }),
  };
}

function sinceMs(text: string, nowMs: number): number {
  const agoMs = parseDuration(text);
  if (agoMs !== undefined) return Math.max(0, Math.floor(nowMs - agoMs));
  const atMs = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(atMs)) return atMs;
  throw new WrongCallError(`--since ${text}: expected ${DURATION_EXPECTED}, or a date`);
}

function limitOf({ limit }: Options): number {
  const value = Number(limit);
  if (Number.isInteger(value) && value >= 1 && value <= LIMIT_MAX) return value;
  throw new WrongCallError(`--limit ${limit}: expected a whole number from 1 to ${LIMIT_MAX}`);
}

function failureOf(status: number, json: unknown): Error {
  const message = (json as { error?: { message?: string } } | undefined)?.error?.message;
  const text = message ?? `the management API answered with status ${status}`;
  return status === 400 ? new WrongCallError(text) : new Error(text);
}

function logText(changes: readonly Change[]): string {
  if (changes.length === 0) return 'No changes.\n';
  const rows = changes.map((change) => [
    new Date(change.atMs).toISOString(),
    change.region,
    change.who,
    `${change.kind} ${change.refused ? 'refused' : change.change}`,
    nameText(change),
    change.digest.slice(0, 19),
  ]);
  return `${table(['AT', 'REGION', 'WHO', 'WHAT', 'NAME', 'DIGEST'], rows)}\n`;
}

function nameText({ kind, repository, name }: Change): string {
  if (repository === '') return name;
  return kind === 'manifest' ? `${repository}@${name.slice(0, 19)}` : `${repository}:${name}`;
}
