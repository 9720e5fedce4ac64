/**
 * `fairway policy`: check policies, bring them into force, look at them, and end them.
 *
 * Problems are printed one a line as `file:line:column: message`, which editors and CI systems turn into marks.
 */
import type { Command } from 'commander';
import type { AppliedPolicy, PolicyEntry } from '#http/views.ts';
import { type PolicyProblem, problemText } from '#policies/problem.ts';
import {
  findRegions,
  firstThatAnswers,
  type ManagementCalls,
  type ServerOptions,
  withServerOptions,
} from './management-calls.ts';
import { table } from './table.ts';

/** What the commands need of the outside. */
export type PolicyCommandDeps = {
  connect(options: ServerOptions): ManagementCalls;
  /** What was asked for. */
  print(text: string): void;
  /** What is wrong. */
  complain(text: string): void;
  /** The exit code is 1. */
  fail(): void;
};

type JsonOption = { readonly json?: boolean };
type Answer = Awaited<ReturnType<ManagementCalls['request']>>;

const PROCESS: PolicyCommandDeps = {
  connect: (options) => firstThatAnswers(findRegions(options)),
  print: (text) => void process.stdout.write(text),
  complain: (text) => void process.stderr.write(text),
  fail: () => {
    process.exitCode = 1;
  },
};

export function registerPolicyCommands(program: Command, deps: PolicyCommandDeps = PROCESS): void {
  const policy = program
    .command('policy')
    .description('what is copied, cached and kept where, as YAML documents');
  addValidate(policy, deps);
  addApply(policy, deps);
  addList(policy, deps);
  addRemove(policy, deps);
}

function addValidate(policy: Command, deps: PolicyCommandDeps): void {
  policy
    .command('validate <file...>')
    .description('check files without asking the mesh; exit code 1 when something is wrong')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples('fairway policy validate prod.yaml', 'fairway policy validate policies/*.yaml --json'),
    )
    .action(async (names: readonly string[], options: JsonOption) => {
      const { checkPolicyFiles, readPolicyFiles } = await import('./policy-files.ts');
      const { policies, problems } = checkPolicyFiles(readPolicyFiles(names));
      if (problems.length > 0) return refuse(deps, problems, options);
      const found = policies.map(({ file, kind, name }) => ({ file, kind, name }));
      const text = found.map(({ file, kind, name }) => `${file}: ${kind}/${name} is valid\n`).join('');
      deps.print(options.json ? jsonText({ policies: found, problems }) : text);
    });
}

function addApply(policy: Command, deps: PolicyCommandDeps): void {
  withServerOptions(policy.command('apply <file...>'))
    .description('bring all policies of the files into force in every region, or none of them')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples('fairway policy apply prod.yaml', 'fairway policy apply policies/*.yaml --region eu-west'),
    )
    .action(async (names: readonly string[], options: ServerOptions & JsonOption) => {
      const { checkPolicyFiles, joinPolicyFiles, readPolicyFiles } = await import('./policy-files.ts');
      const files = readPolicyFiles(names);
      const { problems } = checkPolicyFiles(files);
      if (problems.length > 0) return refuse(deps, problems, options);
      const joined = joinPolicyFiles(files);
      const answer = await deps
        .connect(options)
        .request('POST', '/api/v1/policies', { query: { file: joined.file }, body: joined.text });
      const refused = problemsOf(answer);
      if (refused.length > 0) return refuse(deps, refused.map(joined.place), options);
      const { applied } = expectStatus(answer, 200) as { readonly applied: readonly AppliedPolicy[] };
      const text = applied.map(({ kind, name, change }) => `${kind}/${name} ${change}\n`).join('');
      deps.print(options.json ? jsonText({ applied }) : text);
    });
}

function addList(policy: Command, deps: PolicyCommandDeps): void {
  withServerOptions(policy.command('ls'))
    .description('the policies in force; --json has their documents, too')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('fairway policy ls', 'fairway policy ls --json'))
    .action(async (options: ServerOptions & JsonOption) => {
      const answer = await deps.connect(options).request('GET', '/api/v1/policies');
      const { policies } = expectStatus(answer, 200) as { readonly policies: readonly PolicyEntry[] };
      deps.print(options.json ? jsonText({ policies }) : listText(policies));
    });
}

function addRemove(policy: Command, deps: PolicyCommandDeps): void {
  withServerOptions(policy.command('rm <name>'))
    .description('end a policy in every region: by its name, or by kind/name where several kinds have it')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples('fairway policy rm prod-everywhere', 'fairway policy rm ProxyCache/docker-hub'),
    )
    .action(async (name: string, options: ServerOptions & JsonOption) => {
      const answer = await deps
        .connect(options)
        .request('DELETE', `/api/v1/policies/${encodeURIComponent(name)}`);
      const refused = problemsOf(answer);
      if (refused.length > 0) return refuse(deps, refused, options);
      expectStatus(answer, 204);
      deps.print(options.json ? jsonText({ removed: name }) : `${name} removed\n`);
    });
}

function refuse(deps: PolicyCommandDeps, problems: readonly PolicyProblem[], options: JsonOption): void {
  if (options.json) deps.print(jsonText({ problems }));
  else deps.complain(problems.map((problem) => `${problemText(problem)}\n`).join(''));
  deps.fail();
}

type Failure = {
  readonly error?: { readonly message?: string; readonly problems?: readonly PolicyProblem[] };
};

function problemsOf(answer: Answer): readonly PolicyProblem[] {
  return answer.status === 422 ? ((answer.json as Failure | undefined)?.error?.problems ?? []) : [];
}

/** @throws Error with what the region said. */
function expectStatus(answer: Answer, status: number): unknown {
  if (answer.status === status) return answer.json;
  const message = (answer.json as Failure | undefined)?.error?.message;
  throw new Error(message ?? `the management API answered with status ${answer.status}`);
}

function listText(policies: readonly PolicyEntry[]): string {
  if (policies.length === 0)
    return 'No policies: images stay where they were pushed, and are fetched on demand.\n';
  const rows = policies.map((policy) => [
    policy.kind,
    policy.name,
    policy.appliedIn,
    policy.appliedBy,
    new Date(policy.appliedMs).toISOString(),
  ]);
  return `${table(['KIND', 'NAME', 'APPLIED IN', 'BY', 'AT'], rows)}\n`;
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}
