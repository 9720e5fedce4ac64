/**
 * `fairway account`: people and robots, what they may do, and their secrets.
 *
 * A generated secret is printed once, alone on standard output, so that a script can take it from there; what is said
 * about it goes to standard error. A secret of one's own comes by standard input, never as an argument, where every
 * process of the machine could read it.
 */
import { text as readText } from 'node:stream/consumers';
import { type Command, Option } from 'commander';
import type { Right } from '#access/account-document.ts';
import type { AccountEntry, AccountWithSecret } from '#access/account-editor.ts';
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

/** What the commands need of the outside. */
export type AccountCommandDeps = {
  connect(options: ServerOptions): ManagementCalls;
  /** What was asked for. */
  print(text: string): void;
  /** What is said about it. */
  tell(text: string): void;
  readInput(): Promise<string>;
  nowMs(): number;
};

type JsonOption = { readonly json?: boolean };
type RightOptions = {
  readonly pull: readonly string[];
  readonly push: readonly string[];
  readonly delete: readonly string[];
};
type SecretOptions = { readonly passwordStdin?: boolean };
type Answer = Awaited<ReturnType<ManagementCalls['request']>>;

const PROCESS: AccountCommandDeps = {
  connect: (options) => firstThatAnswers(findRegions(options)),
  print: (text) => void process.stdout.write(text),
  tell: (text) => void process.stderr.write(text),
  readInput: () => readText(process.stdin),
  nowMs: () => systemClock.nowMs(),
};

const PATH = '/api/v1/accounts';

export function registerAccountCommands(program: Command, deps: AccountCommandDeps = PROCESS): void {
  const account = program
    .command('account')
    .description('who may pull, push and delete what: people and robots, valid in every region');
  addCreate(account, deps);
  addRotate(account, deps);
  addGrant(account, deps);
  addSwitch(account, deps, 'disable');
  addSwitch(account, deps, 'enable');
  addList(account, deps);
}

function addCreate(account: Command, deps: AccountCommandDeps): void {
  withRights(withServerOptions(account.command('create <name>')))
    .description(
      'make an account and print its secret, once. From the first account on nobody enters without one, except ' +
        'for what the account "anonymous" is granted',
    )
    .option('--robot', 'for a program: told apart from people in lists')
    .option('--expires <duration>', 'refuse it from then on, as 90d or 12h (default: never)')
    .option('--password-stdin', 'take the secret from standard input (12 characters or more)')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples(
        "fairway account create ada --push 'team/**' --pull '**'",
        "fairway account create ci --robot --push 'prod/**' --expires 90d",
        "fairway account create anonymous --pull 'public/**'",
        "pass show ada | fairway account create ada --pull '**' --password-stdin",
      ),
    )
    .action(
      async (
        name: string,
        options: ServerOptions &
          JsonOption &
          RightOptions &
          SecretOptions & { readonly robot?: boolean; readonly expires?: string },
      ) => {
        const body = {
          name,
          kind: options.robot ? 'robot' : 'person',
          rights: rightsOf(options),
          ...(options.expires === undefined
            ? {}
            : { expiresMs: deps.nowMs() + durationMs('--expires', options.expires) }),
          ...(await secretOf(deps, options)),
        };
        const answer = await deps.connect(options).request('POST', PATH, { body });
        show(deps, expectStatus(answer, 201) as AccountWithSecret, options);
      },
    );
}

function addRotate(account: Command, deps: AccountCommandDeps): void {
  withServerOptions(account.command('rotate <name>'))
    .description('give an account another secret and print it, once; what it may do stays')
    .option('--grace <duration>', 'how long the secret before it stays valid', '1h')
    .option('--password-stdin', 'take the secret from standard input (12 characters or more)')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples(
        'fairway account rotate ci --grace 24h',
        'fairway account rotate ada --grace 0s   # it leaked',
      ),
    )
    .action(
      async (
        name: string,
        options: ServerOptions & JsonOption & SecretOptions & { readonly grace: string },
      ) => {
        const body = { graceMs: durationMs('--grace', options.grace), ...(await secretOf(deps, options)) };
        const answer = await deps.connect(options).request('POST', `${pathOf(name)}/rotate`, { body });
        show(deps, expectStatus(answer, 200) as AccountWithSecret, options);
      },
    );
}

function addGrant(account: Command, deps: AccountCommandDeps): void {
  withRights(withServerOptions(account.command('grant <name>')))
    .description('replace what an account may do, or when it expires; its secrets stay')
    .option('--none', 'it may do nothing')
    .option('--expires <duration>', 'refuse it from then on, as 90d or 12h; "never" ends an expiry')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples(
        "fairway account grant ci --push 'prod/**' --pull 'base/**'",
        'fairway account grant ada --expires 30d',
        'fairway account grant anonymous --none',
      ),
    )
    .action(
      async (
        name: string,
        options: ServerOptions &
          JsonOption &
          RightOptions & { readonly none?: boolean; readonly expires?: string },
      ) => {
        const rights = rightsOf(options);
        if (options.none && rights.length > 0)
          throw new WrongCallError('--none and rights exclude each other');
        const body = {
          ...(options.none || rights.length > 0 ? { rights } : {}),
          ...(options.expires === undefined ? {} : { expiresMs: expiryOf(deps, options.expires) }),
        };
        if (Object.keys(body).length === 0) {
          throw new WrongCallError('say what to grant: --pull, --push, --delete, --none or --expires');
        }
        const answer = await deps.connect(options).request('PATCH', pathOf(name), { body });
        show(deps, expectStatus(answer, 200) as AccountWithSecret, options);
      },
    );
}

function addSwitch(account: Command, deps: AccountCommandDeps, verb: 'disable' | 'enable'): void {
  const description =
    verb === 'disable'
      ? 'refuse an account in every region, with all tokens that it has, within seconds'
      : 'end a disable; secrets and rights are as they were';
  withServerOptions(account.command(`${verb} <name>`))
    .description(description)
    .option('--json', 'print JSON')
    .addHelpText('after', examples(`fairway account ${verb} ci`))
    .action(async (name: string, options: ServerOptions & JsonOption) => {
      const body = { disabled: verb === 'disable' };
      const answer = await deps.connect(options).request('PATCH', pathOf(name), { body });
      show(deps, expectStatus(answer, 200) as AccountWithSecret, options);
    });
}

function addList(account: Command, deps: AccountCommandDeps): void {
  withServerOptions(account.command('ls'))
    .description('all accounts, what they may do, and whether they are in force')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('fairway account ls', 'fairway account ls --json'))
    .action(async (options: ServerOptions & JsonOption) => {
      const answer = await deps.connect(options).request('GET', PATH);
      const { accounts } = expectStatus(answer, 200) as { readonly accounts: readonly AccountEntry[] };
      deps.print(options.json ? jsonText({ accounts }) : listText(accounts));
    });
}

function withRights(command: Command): Command {
  const collect = (glob: string, before: readonly string[]) => [...before, glob];
  const option = (flags: string, description: string) =>
    new Option(flags, description).argParser(collect).default([], 'none');
  return command
    .addOption(option('--pull <glob>', 'repositories that it may pull from; may be repeated'))
    .addOption(option('--push <glob>', 'that it may push to, and pull from; may be repeated'))
    .addOption(option('--delete <glob>', 'that it may delete in, and pull from; may be repeated'));
}

/** Clients look before they push or delete, so the one is of little use without the other. */
function rightsOf(options: RightOptions): readonly Right[] {
  const right = (globs: readonly string[], ...actions: Right['actions']): readonly Right[] =>
    globs.length === 0 ? [] : [{ repositories: [...globs], actions }];
  return [
    ...right(options.pull, 'pull'),
    ...right(options.push, 'pull', 'push'),
    ...right(options.delete, 'pull', 'delete'),
  ];
}

async function secretOf(
  deps: AccountCommandDeps,
  options: SecretOptions,
): Promise<{ readonly secret?: string }> {
  if (!options.passwordStdin) return {};
  const secret = (await deps.readInput()).replace(/\r?\n$/, '');
  if (secret === '') throw new WrongCallError('--password-stdin: standard input is empty');
  return { secret };
}

function expiryOf(deps: AccountCommandDeps, text: string): number | null {
  return text === 'never' ? null : deps.nowMs() + durationMs('--expires', text);
}

function durationMs(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new WrongCallError(`${flag} ${text}: expected ${DURATION_EXPECTED}`);
  return ms;
}

function pathOf(name: string): string {
  return `${PATH}/${encodeURIComponent(name)}`;
}

function show(deps: AccountCommandDeps, made: AccountWithSecret, options: JsonOption): void {
  if (options.json) {
    deps.print(jsonText(made));
    return;
  }
  const { account, secret } = made;
  deps.tell(`${account.name}: ${stateText(account)}, ${rightsText(account.rights)}\n`);
  if (secret === undefined) return;
  deps.tell('its secret, which is not shown again:\n');
  deps.print(`${secret}\n`);
}

function listText(accounts: readonly AccountEntry[]): string {
  if (accounts.length === 0) return 'No accounts: the registry is open to everybody on this machine.\n';
  const rows = accounts.map((account) => [
    account.name,
    account.kind,
    stateText(account),
    rightsText(account.rights),
    String(account.secrets.length),
    account.changedBy,
    new Date(account.changedMs).toISOString(),
  ]);
  return `${table(['NAME', 'KIND', 'STATE', 'MAY', 'SECRETS', 'CHANGED BY', 'AT'], rows)}\n`;
}

function stateText({ state, expiresMs, conflict }: AccountEntry): string {
  const expiry = state === 'in-force' && expiresMs > 0 ? ` until ${new Date(expiresMs).toISOString()}` : '';
  return `${state.replace('-', ' ')}${expiry}${conflict ? ', IN CONFLICT' : ''}`;
}

function rightsText(rights: readonly Right[]): string {
  if (rights.length === 0) return 'nothing';
  return rights
    .map(({ actions, repositories }) => `${actions.join('+')} ${repositories.join(',')}`)
    .join('; ');
}

/** @throws WrongCallError for what the region calls wrong, Error for what it refuses. */
function expectStatus(answer: Answer, status: number): unknown {
  if (answer.status === status) return answer.json;
  const message = (answer.json as { error?: { message?: string } } | undefined)?.error?.message;
  const text = message ?? `the management API answered with status ${answer.status}`;
  throw answer.status === 400 ? new WrongCallError(text) : new Error(text);
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}
