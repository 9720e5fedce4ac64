/**
 * `npm run simulate`: the mesh on virtual time. Exits 0 when every invariant held in every seed (with `--mutation`:
 * when a violation was found), 1 when not, 2 when it was called wrongly.
 *
 * A mutation replaces a statement of the core while it is loaded, so nothing here may import the core before the
 * mutation is in place: the simulation is imported late.
 */
import { parseArgs } from 'node:util';
import { messageOf } from '#domain/errors.ts';
import { type BatchResult, runBatch } from './batch.ts';
import { isMutationName, MUTATIONS, type MutationName, mutateOnLoad } from './mutation.ts';
import { isScenarioName, SCENARIOS, type ScenarioName } from './scenario.ts';
import type { SeedResult } from './simulation.ts';

const SEEDS_DEFAULT = 1000;
const PROGRESS_MS = 2000;

const HELP = `Runs the production core of the mesh on virtual time, with faults, and checks its invariants.

usage: npm run simulate -- [options]

  --seeds N       seeds 1 to N (default ${SEEDS_DEFAULT})
  --seed X        only seed X, and tell its story
  --scenario S    ${named(SCENARIOS)}
  --mutation M    break the core on purpose; exits 0 if and only if a violation is found
                  ${named(MUTATIONS)}
  --verbose       what the batch saw: acknowledged writes, conflicts, crashes and so on
  --json          one JSON object instead of text
  --help          this text

examples:
  npm run simulate
  npm run simulate -- --seeds 200 --scenario partition --verbose
  npm run simulate -- --seed 17 --scenario crash-heavy
  npm run simulate -- --mutation lww-deletes --seeds 300

Exit codes: 0 all held, 1 a violation (or a rare path that no seed walked), 2 a wrong call.
`;

type Call = {
  readonly seeds: number;
  readonly seed: number | undefined;
  readonly scenario: ScenarioName;
  readonly mutation: MutationName | undefined;
  readonly verbose: boolean;
  readonly json: boolean;
};

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const call = readCall(args);
  if (typeof call === 'string') {
    if (call === '') {
      process.stdout.write(HELP);
      return 0;
    }
    process.stderr.write(`simulate: ${call}\nTry: npm run simulate -- --help\n`);
    return 2;
  }
  const found = call.seed === undefined ? await runMany(call) : await runOne(call, call.seed);
  return found === (call.mutation !== undefined) ? 0 : 1;
}

/** A text says what is wrong with the call; the empty text asks for help. */
function readCall(args: readonly string[]): Call | string {
  const values = readOptions(args);
  if (typeof values === 'string') return values;
  if (values.help) return '';
  const [seeds, seed] = [values.seeds ?? String(SEEDS_DEFAULT), values.seed];
  for (const [name, text] of Object.entries({ seeds, seed })) {
    if (text !== undefined && !/^[1-9]\d{0,8}$/.test(text))
      return `--${name} takes a whole number from 1, not "${text}"`;
  }
  const scenario = values.scenario ?? 'default';
  if (!isScenarioName(scenario))
    return `"${scenario}" is no scenario; there are ${Object.keys(SCENARIOS).join(', ')}`;
  const { mutation, verbose, json } = values;
  if (mutation !== undefined && !isMutationName(mutation)) {
    return `"${mutation}" is no mutation; there are ${Object.keys(MUTATIONS).join(', ')}`;
  }
  return {
    seeds: Number(seeds),
    seed: seed === undefined ? undefined : Number(seed),
    scenario,
    mutation,
    verbose: verbose ?? false,
    json: json ?? false,
  };
}

function readOptions(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        seeds: { type: 'string' },
        seed: { type: 'string' },
        scenario: { type: 'string' },
        mutation: { type: 'string' },
        verbose: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (thrown) {
    return messageOf(thrown);
  }
}

/** True when something was violated. */
async function runMany(call: Call): Promise<boolean> {
  const { scenario, mutation, seeds } = call;
  const result = await runBatch({ scenario, mutation, count: seeds, onProgress: progress(seeds) });
  const { failure, unmarked } = result;
  if (call.json) {
    print(
      JSON.stringify({
        ...result,
        scenario: call.scenario,
        mutation: call.mutation,
        replay: replay(call, failure?.seed),
      }),
    );
  } else {
    tellBatch(call, result);
  }
  return failure !== undefined || (unmarked.length > 0 && call.mutation === undefined);
}

function tellBatch(call: Call, result: BatchResult): void {
  const { failure, unmarked, marks, seeds, events, seconds, hash } = result;
  if (call.verbose) {
    for (const [mark, count] of Object.entries(marks)) print(`${mark.padEnd(30)} ${count}`);
    print(`${'slowest way to equality'.padEnd(30)} ${result.settledMsMax} ms of virtual time`);
  }
  if (failure !== undefined) {
    print(`violated: ${failure.invariant} in seed ${failure.seed}: ${failure.what}`);
    print(`replay: ${replay(call, failure.seed)}`);
  } else if (unmarked.length > 0 && call.mutation === undefined) {
    print(`never seen in ${seeds} seeds, so not tested: ${unmarked.join(', ')}`);
  }
  print(`seeds=${seeds} events/s=${Math.round(events / seconds)} hash=${hash}`);
}

async function runOne(call: Call, seed: number): Promise<boolean> {
  if (call.mutation !== undefined) mutateOnLoad(call.mutation);
  const { runSeed } = await import('./simulation.ts');
  const startedMs = performance.now();
  const result = runSeed({ seed, scenario: call.scenario, tells: true });
  if (call.json)
    print(
      JSON.stringify({
        ...result,
        scenario: call.scenario,
        mutation: call.mutation,
        replay: replay(call, seed),
      }),
    );
  else tellSeed(call, result, (performance.now() - startedMs) / 1000);
  return result.violation !== undefined;
}

function tellSeed(call: Call, result: SeedResult, seconds: number): void {
  const { plan, story, marks, violation, events, hash } = result;
  for (const line of story) print(line);
  print(`plan: ${JSON.stringify(plan)}`);
  for (const [mark, count] of Object.entries(marks)) print(`${mark.padEnd(30)} ${count}`);
  if (violation === undefined) {
    print(`all invariants held; equal ${result.settledMs} ms of virtual time after healing`);
  } else {
    print(`violated: ${violation.invariant} in seed ${result.seed}: ${violation.what}`);
    print(`replay: ${replay(call, result.seed)}`);
  }
  print(`seeds=1 events/s=${Math.round(events / seconds)} hash=${hash}`);
}

function replay(call: Call, seed: number | undefined): string | undefined {
  if (seed === undefined) return undefined;
  const mutation = call.mutation === undefined ? '' : ` --mutation ${call.mutation}`;
  return `npm run simulate -- --seed ${seed} --scenario ${call.scenario}${mutation}`;
}

/** Says every two seconds, on standard error, how far it is. */
function progress(count: number): (done: number) => void {
  const startedMs = performance.now();
  let toldMs = startedMs;
  return (done) => {
    const nowMs = performance.now();
    if (nowMs - toldMs < PROGRESS_MS) return;
    toldMs = nowMs;
    process.stderr.write(
      `${done}/${count} seeds, ${Math.round((done / (nowMs - startedMs)) * 1000)} a second\n`,
    );
  };
}

function named(things: Readonly<Record<string, { readonly about: string }>>): string {
  const width = Math.max(...Object.keys(things).map((name) => name.length));
  return Object.entries(things)
    .map(([name, { about }]) => `${name.padEnd(width)}  ${about}`)
    .join('\n                  ');
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
