#!/usr/bin/env node
/**
 * The `fairway` command. Each subcommand has a file; heavy modules are imported inside their actions. A bare `node`
 * on PATH may be older than the one that the project brings: say so before anything fails in an obscure way.
 */
import { Command, CommanderError } from 'commander';

const NODE_MAJOR = 26;

if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR) {
  process.stderr.write(
    `fairway: needs Node ${NODE_MAJOR}, this is ${process.versions.node}; use npx fairway or npm start in the checkout\n`,
  );
  process.exit(1);
}
process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const program = new Command('fairway')
    .description('A mesh of OCI registries: one logical registry over many regions')
    .exitOverride()
    .showHelpAfterError('(add --help for options and examples)');
  const { registerCommands } = await import('./commands.ts');
  registerCommands(program);
  try {
    await program.parseAsync(args, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    process.stderr.write(`fairway: ${thrown instanceof Error ? thrown.message : thrown}\n`);
    return thrown instanceof Error && thrown.name === 'WrongCallError' ? 2 : 1;
  }
}
