/**
 * `npm run mutants`: small faults made by machine in `mesh/claims`, each tried against the unit tests and the
 * simulation. What survives is a line that nothing tests, and is printed with its place. Exits 0 when the share that
 * was caught reaches the bar, 1 when not, 2 when it was called wrongly.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { Prng } from '#chaos/prng.ts';
import { messageOf } from '#domain/errors.ts';
import { type Mutant, mutantsOf } from './mutant.ts';

const CORE = join(import.meta.dirname, '../../mesh/claims');
const SAMPLE_DEFAULT = 200;
/** Of the project's own goal. */
const SHARE_MIN = 0.95;
/** A trial of the healthy core takes about four seconds; a mutant that is still busy after this hangs. */
const TRIAL_MS_MAX = 60_000;
const MEMORY_MB_MAX = 1024;

const HELP = `Breaks mesh/claims in small ways, one at a time, and counts how many are noticed.

usage: npm run mutants -- [options]

  --sample N   so many mutants, drawn from all of them (default ${SAMPLE_DEFAULT}); 0 tries every one
  --seed X     which ones are drawn (default 1)
  --file F     only those of one file, for instance apply.ts
  --list       print the mutants that would be tried, try none
  --json       one JSON object instead of text
  --help       this text

examples:
  npm run mutants
  npm run mutants -- --file apply.ts --sample 0
  npm run mutants -- --sample 20 --seed 7 --json

Exit codes: 0 at least ${SHARE_MIN * 100} % were caught, 1 fewer (or the healthy core was objected to), 2 a wrong call.
`;

type Call = {
  readonly sample: number;
  readonly seed: number;
  readonly file: string | undefined;
  readonly lists: boolean;
  readonly json: boolean;
};
type Tried = { readonly mutant: Mutant; readonly caughtBy: string | undefined };

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const call = readCall(args);
  if (typeof call === 'string') {
    process[call === HELP ? 'stdout' : 'stderr'].write(call);
    return call === HELP ? 0 : 2;
  }
  const mutants = drawn(call);
  if (mutants.length === 0) {
    process.stderr.write(`mutants: mesh/claims has no file ${call.file} with something to break\n`);
    return 2;
  }
  if (call.lists) {
    for (const mutant of mutants) print(lineOf(mutant));
    return 0;
  }
  const objection = await tried('healthy');
  if (objection !== undefined) {
    process.stderr.write(`mutants: the healthy core was objected to by ${objection}; mend that first\n`);
    return 1;
  }
  const results = await tryAll(mutants);
  const caught = results.filter(({ caughtBy }) => caughtBy !== undefined).length;
  const share = caught / results.length;
  if (call.json) print(JSON.stringify({ seed: call.seed, mutants: results.length, caught, share, results }));
  else tell(results, caught);
  return share >= SHARE_MIN ? 0 : 1;
}

function readCall(args: readonly string[]): Call | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        sample: { type: 'string', default: String(SAMPLE_DEFAULT) },
        seed: { type: 'string', default: '1' },
        file: { type: 'string' },
        list: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (values.help) return HELP;
    const { sample, seed } = values;
    for (const [name, value] of Object.entries({ sample, seed })) {
      if (!/^\d{1,9}$/.test(value)) return `mutants: --${name} takes a whole number, not "${value}"\n`;
    }
    return {
      sample: Number(sample),
      seed: Number(seed),
      file: values.file,
      lists: values.list,
      json: values.json,
    };
  } catch (thrown) {
    return `mutants: ${messageOf(thrown)}\nTry: npm run mutants -- --help\n`;
  }
}

function drawn({ sample, seed, file }: Call): readonly Mutant[] {
  const all = globSync('**/*.ts', { cwd: CORE })
    .filter((path) => file === undefined || path === file)
    .sort()
    .flatMap((path) => mutantsOf(path, readFileSync(join(CORE, path), 'utf8')));
  if (sample === 0 || sample >= all.length) return all;
  const prng = new Prng(`mutants/${seed}`);
  return all
    .map((mutant) => ({ mutant, draw: prng.next() }))
    .sort((a, b) => a.draw - b.draw)
    .slice(0, sample)
    .map(({ mutant }) => mutant);
}

async function tryAll(mutants: readonly Mutant[]): Promise<readonly Tried[]> {
  const results: Tried[] = [];
  let next = 0;
  const work = async () => {
    for (let mutant = mutants[next++]; mutant !== undefined; mutant = mutants[next++]) {
      const caughtBy = await tried(JSON.stringify(mutant));
      results.push({ mutant, caughtBy });
      process.stderr.write(
        `${results.length}/${mutants.length} ${lineOf(mutant)}: ${caughtBy ?? 'SURVIVED'}\n`,
      );
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return results;
}

/** Who objected, or `undefined`. */
async function tried(what: string): Promise<string | undefined> {
  const trial = join(import.meta.dirname, 'trial.ts');
  const child = spawn(process.execPath, [`--max-old-space-size=${MEMORY_MB_MAX}`, trial, what], {
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: TRIAL_MS_MAX,
    killSignal: 'SIGKILL',
  });
  const ended = once(child, 'close') as Promise<[code: number | null, signal: string | null]>;
  const [output, [code, signal]] = await Promise.all([text(child.stdout), ended]);
  const verdict = output.trimEnd().split('\n').at(-1) ?? '';
  if (code === 0 && verdict.startsWith('{')) return (JSON.parse(verdict) as { caughtBy?: string }).caughtBy;
  return signal === null ? 'a crash' : `its time limit of ${TRIAL_MS_MAX / 1000} s`;
}

function tell(results: readonly Tried[], caught: number): void {
  const survivors = results.filter(({ caughtBy }) => caughtBy === undefined).map(({ mutant }) => mutant);
  for (const survivor of survivors.toSorted((a, b) => a.file.localeCompare(b.file) || a.line - b.line)) {
    print(`survived: ${lineOf(survivor)}`);
  }
  const share = ((100 * caught) / results.length).toFixed(1);
  print(`mutants=${results.length} caught=${caught} share=${share}% bar=${SHARE_MIN * 100}%`);
}

function lineOf({ file, line, kind, was, put }: Mutant): string {
  const short = (source: string) => {
    const line = source.replaceAll(/\s+/g, ' ').trim();
    return line.length > 60 ? `${line.slice(0, 57)}...` : line || '(nothing)';
  };
  return `mesh/claims/${file}:${line} ${kind}: ${short(was)} → ${short(put)}`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
