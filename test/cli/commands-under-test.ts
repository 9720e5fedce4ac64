/** A command as people and scripts call it, with a management API that answers what the test says. */
import { Command } from 'commander';
import type { CallOptions, ManagementCalls } from '#cli/management-calls.ts';

export type CannedAnswer = { readonly status: number; readonly json: unknown };

export type CommandRun = {
  readonly asked: { readonly method: string; readonly path: string; readonly options: CallOptions }[];
  /** Standard output, and standard error. */
  printed: string;
  told: string;
  fairway(...args: readonly string[]): Promise<void>;
};

type Deps = {
  connect(): ManagementCalls;
  print(text: string): void;
  tell(text: string): void;
  readInput(): Promise<string>;
  nowMs(): number;
};

export const NOW_MS = Date.UTC(2026, 0, 31, 12);

/** The answers are given in order, the last one again and again. */
export function openCommand(
  register: (program: Command, deps: Deps) => void,
  answers: readonly CannedAnswer[],
  input = '',
): CommandRun {
  const run: CommandRun = {
    asked: [],
    printed: '',
    told: '',
    fairway: async (...args) => {
      const program = new Command('fairway').exitOverride();
      program.configureOutput({
        writeOut: (text) => {
          run.printed += text;
        },
        writeErr: () => undefined,
      });
      register(program, deps);
      for (const group of program.commands) quieten(group, program);
      await program.parseAsync(args, { from: 'user' });
    },
  };
  const deps: Deps = {
    connect: () => ({
      request: async (method, path, options = {}) => {
        run.asked.push({ method, path, options });
        const answer = answers[Math.min(run.asked.length, answers.length) - 1];
        if (answer === undefined) throw new Error('the region was asked');
        return answer;
      },
    }),
    print: (text) => {
      run.printed += text;
    },
    tell: (text) => {
      run.told += text;
    },
    readInput: async () => input,
    nowMs: () => NOW_MS,
  };
  return run;
}

/** Subcommands that were made before it do not take the program's settings over. */
function quieten(command: Command, from: Command): void {
  command.copyInheritedSettings(from);
  for (const child of command.commands) quieten(child, from);
}
