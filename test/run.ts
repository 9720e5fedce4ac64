/**
 * `npm test`: every test that this machine can run, in groups, and at the end the list of those that it cannot,
 * with the reason. `npm test -- unit` runs one group; `npm test -- unit test/http` those files of it.
 *
 * A test file states what it needs (docker, skopeo, Go …) by `test/requirements.ts`; where CI is set, a missing
 * requirement is a failure instead of a skip.
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';

type Group = {
  readonly name: string;
  readonly what: string;
  readonly files: readonly string[];
  readonly flags: readonly string[];
};

const PROCESSES = ['test/processes/**/*.test.ts', 'test/clients/**/*.test.ts'];
const separate = new Set(PROCESSES.flatMap((pattern) => globSync(pattern)));
const groups: readonly Group[] = [
  {
    name: 'unit',
    what: 'rooms through their public faces, in one process',
    files: globSync('test/**/*.test.ts').filter((path) => !separate.has(path)),
    flags: ['--test-isolation=none'],
  },
  {
    name: 'processes',
    what: 'whole regions as processes, and real clients',
    files: [...separate],
    flags: ['--test-concurrency=1'],
  },
];

const [only, ...filters] = process.argv.slice(2);
const failures: string[] = [];
for (const group of groups.filter((candidate) => only === undefined || candidate.name === only)) {
  const files = group.files
    .filter((path) => filters.length === 0 || filters.some((part) => path.includes(part)))
    .sort();
  if (files.length === 0) continue;
  process.stdout.write(`\n=== ${group.name}: ${group.what} (${files.length} files)\n`);
  const result = spawnSync(
    process.execPath,
    [
      '--test',
      ...group.flags,
      '--test-reporter=./test/reporter.ts',
      '--test-reporter-destination=stdout',
      ...files,
    ],
    { stdio: 'inherit', env: { ...process.env, NODE_NO_WARNINGS: '1' } },
  );
  if (result.status !== 0) failures.push(group.name);
}
process.exit(failures.length === 0 ? 0 : 1);
