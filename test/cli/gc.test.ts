/** `fairway gc`: exit codes, progress, and what is printed of several regions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { registerGc } from '#cli/gc.ts';
import type { GarbageRun } from '#node/lifecycle/garbage-run.ts';

type Answer = { readonly status: number; readonly json: unknown } | Error;
type Region = { readonly name: string; readonly answers: readonly Answer[] };

const NOTHING = { count: 0, sizeBytes: 0 };
const REPORT = {
  ...{
    manifests: NOTHING,
    blobs: { count: 2, sizeBytes: 2048 },
    evicted: NOTHING,
    uploads: NOTHING,
    orphans: NOTHING,
  },
  ...{ lost: NOTHING, examined: { count: 7, sizeBytes: 4096 }, largest: [] },
};

function runIn(state: GarbageRun['state'], dryRun = false): GarbageRun {
  return { id: 1, dryRun, state, startedMs: 1000, endedMs: 3000, reason: '', report: REPORT };
}

const begun = (run: GarbageRun): Answer => ({ status: 202, json: { run } });
const listed = (...runs: readonly GarbageRun[]): Answer => ({ status: 200, json: { runs } });

/** The last answer of a region is given again and again. */
async function fairway(regions: readonly Region[], ...args: readonly string[]) {
  const outcome = { printed: '', told: '', failed: false, asked: [] as string[] };
  const program = new Command('fairway').exitOverride();
  program.configureOutput({ writeErr: () => undefined });
  registerGc(program, {
    connect: () =>
      regions.map(({ name, answers }) => {
        let count = 0;
        return {
          name,
          request: async (method, path, options) => {
            outcome.asked.push(`${method} ${path} ${options?.query?.['dryRun'] ?? ''}`.trim());
            count += 1;
            const answer = answers[Math.min(count, answers.length) - 1];
            if (answer === undefined || answer instanceof Error) throw answer ?? new Error('it was asked');
            return answer;
          },
        };
      }),
    print: (text) => {
      outcome.printed += text;
    },
    tell: (text) => {
      outcome.told += text;
    },
    sleep: async () => undefined,
    fail: () => {
      outcome.failed = true;
    },
  });
  await program.parseAsync(['gc', ...args], { from: 'user' });
  return outcome;
}

test('gc command: a region that does not answer fails the command, and the others are told of', async () => {
  const { printed, failed } = await fairway([
    { name: 'eu-west', answers: [begun(runIn('done'))] },
    { name: 'us-east', answers: [new Error('us-east does not answer')] },
  ]);
  assert.ok(failed);
  assert.match(printed, /eu-west +done, 2/);
  assert.match(printed, /us-east +did not answer/);
  assert.match(printed, /us-east does not answer/);
});

test('gc command: a run that failed, or was lost by a restart, fails the command', async () => {
  const broken = { ...runIn('failed'), reason: 'the disk is full' };
  const refused = await fairway([{ name: 'eu-west', answers: [begun(broken)] }]);
  assert.ok(refused.failed);
  assert.match(refused.printed, /failed: the disk is full/);
  const lost = await fairway([{ name: 'eu-west', answers: [begun(runIn('running')), listed()] }]);
  assert.ok(lost.failed);
  assert.match(lost.printed, /started anew/);
});

test('gc command: who waits for long is told how far it is, apart from what is printed', async () => {
  const going = listed(runIn('running'));
  const answers = [
    begun(runIn('waiting')),
    ...Array.from({ length: 10 }, () => going),
    listed(runIn('done')),
  ];
  const { printed, told, failed } = await fairway([{ name: 'eu-west', answers }], '--json');
  assert.ok(!failed);
  assert.equal(told, 'eu-west: 7 blobs looked at, 2 and 0 manifests are garbage\n');
  assert.equal((JSON.parse(printed) as readonly { run: GarbageRun }[])[0]?.run.state, 'done');
});

test('gc command: a dry run asks for one, and reads none but that', async () => {
  const { asked, printed } = await fairway(
    [
      {
        name: 'eu-west',
        answers: [begun(runIn('running', true)), listed({ ...runIn('failed'), id: 2 }, runIn('done', true))],
      },
    ],
    '--dry-run',
  );
  assert.deepEqual(asked, ['POST /api/v1/gc true', 'GET /api/v1/gc']);
  assert.match(printed, /dry run/);
});

test('gc command: an option that does not exist is a wrong call', async () => {
  await assert.rejects(fairway([], '--everything'), { code: 'commander.unknownOption' });
});
