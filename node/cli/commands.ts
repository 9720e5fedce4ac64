/** Every subcommand of `fairway`, in the order of its help. */
import type { Command } from 'commander';
import { registerAccountCommands } from './account.ts';
import { registerConflicts } from './conflicts.ts';
import { registerGc } from './gc.ts';
import { registerLog } from './log.ts';
import { registerNode } from './node.ts';
import { registerPolicyCommands } from './policy.ts';
import { registerStatus } from './status.ts';
import { registerUp } from './up.ts';

export function registerCommands(program: Command): void {
  registerUp(program);
  registerNode(program);
  registerStatus(program);
  registerConflicts(program);
  registerPolicyCommands(program);
  registerAccountCommands(program);
  registerLog(program);
  registerGc(program);
}
