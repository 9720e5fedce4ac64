/** `fairway node`: one region's process, described by a NodeConfig file. */
import type { Command } from 'commander';

export function registerNode(program: Command): void {
  program
    .command('node')
    .description('run one region, described by a "kind: NodeConfig" file, until SIGTERM or Ctrl-C')
    .requiredOption('--config <file>', 'the NodeConfig file')
    .option('--new-epoch', 'begin another history: the data was restored from a backup, or copied', false)
    .addHelpText('after', '\nExamples:\n  fairway node --config .fairway/eu-west/node.yaml')
    .action(async (options: { readonly config: string; readonly newEpoch: boolean }) => {
      const { runNode } = await import('#node/main.ts');
      // A dial whose first packet was never answered keeps the process for minutes: everything of ours has ended.
      process.exit(await runNode(options.config, { newEpoch: options.newEpoch }));
    });
}
