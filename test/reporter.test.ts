/** What `npm test` prints: nothing that did not run may go unnamed. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestEvent } from 'node:test/reporters';
import report from './reporter.ts';

async function printed(...events: readonly object[]): Promise<string> {
  const source = (async function* () {
    for (const event of events) yield event as TestEvent;
  })();
  let text = '';
  for await (const part of report(source)) text += part;
  return text;
}

const passed = (name: string, more: object = {}) => ({
  type: 'test:pass',
  data: { name, nesting: 0, file: join(process.cwd(), 'a.test.ts'), details: { duration_ms: 1 }, ...more },
});

test('reporter: a failure is named with its error', async () => {
  const error = new Error('failed', { cause: new Error('the reason') });
  const text = await printed({
    type: 'test:fail',
    data: { ...passed('one').data, details: { duration_ms: 1, error } },
  });
  assert.match(text, /not ok {2}a\.test\.ts: one\n +Error: the reason/);
  assert.match(text, /0 passed, 1 failed, 0 skipped/);
});

test('reporter: a hook that failed is named with its error, and a suite of failed tests adds nothing', async () => {
  const failed = (name: string, failureType: string) => {
    const error = Object.assign(new Error('failed', { cause: new Error('no port is free') }), {
      failureType,
    });
    const details = { duration_ms: 1, type: 'suite', error };
    return { type: 'test:fail', data: { ...passed(name).data, details } };
  };
  const text = await printed(failed('hooked', 'hookFailed'), failed('tested', 'subtestsFailed'));
  assert.match(text, /not ok {2}a\.test\.ts: hooked\n +Error: no port is free/);
  assert.match(text, /0 passed, 1 failed, 0 skipped/);
});

test('reporter: a test and a whole suite that were skipped are named with their reason', async () => {
  const suite = { duration_ms: 1, type: 'suite' };
  const text = await printed(
    passed('one', { skip: 'no tool' }),
    passed('all of them', { skip: 'no engine', details: suite }),
    passed('a suite that ran', { details: suite }),
    passed('two'),
  );
  assert.match(
    text,
    /Not run on this machine:\n {2}a\.test\.ts: one: no tool\n {2}a\.test\.ts: all of them: no engine\n/,
  );
  assert.match(text, /1 passed, 0 failed, 2 skipped/);
});
