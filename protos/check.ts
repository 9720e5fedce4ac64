/** Fails when the generated wire types differ from what the .proto files generate. */
import { spawnSync } from 'node:child_process';

const before = run('git', ['diff', '--exit-code', '--stat', '--', 'protos/gen']);
if (before.status !== 0) stop('protos/gen has uncommitted changes; commit them, then check again');
for (const command of [['lint'], ['format', '--exit-code', '--diff'], ['generate']]) {
  const result = run('buf', command);
  if (result.status !== 0) stop(`buf ${command.join(' ')} failed:\n${result.stdout}${result.stderr}`);
}
if (run('git', ['diff', '--exit-code', '--stat', '--', 'protos/gen']).status !== 0) {
  stop('protos/gen is stale; run: npm run generate');
}

function run(command: string, args: readonly string[]) {
  return spawnSync(command, args, { encoding: 'utf8' });
}

function stop(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}
