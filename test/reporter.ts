/**
 * What `npm test` prints: a line for each test that failed or was skipped, with the reason, one line for each file,
 * and the count. Thousands of passing tests are not worth a line each.
 */
import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';

type Outcome = 'passed' | 'failed' | 'skipped';
type Counts = Record<Outcome, number> & { durationMs: number };
type Result = Extract<TestEvent, { readonly type: 'test:pass' | 'test:fail' }>;

async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const files = new Map<string, Counts>();
  const skipped: string[] = [];
  const total = noCounts();
  for await (const event of source) {
    if (event.type === 'test:stderr' || event.type === 'test:stdout') yield event.data.message;
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    if (event.data.details.type === 'suite' && !saysMore(event)) continue;
    const file = relative(process.cwd(), event.data.file ?? '');
    const outcome = outcomeOf(event);
    const counts = files.get(file) ?? noCounts();
    files.set(file, counts);
    for (const sum of [counts, total]) add(sum, outcome, event);
    if (outcome === 'skipped') skipped.push(`${file}: ${event.data.name}: ${event.data.skip}`);
    if (event.type === 'test:fail')
      yield `not ok  ${file}: ${event.data.name}\n${indented(event.data.details.error)}\n`;
  }
  for (const [file, counts] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) yield fileLine(file, counts);
  if (skipped.length > 0)
    yield `\nNot run on this machine:\n${skipped.map((line) => `  ${line}\n`).join('')}`;
  yield `\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`;
}

/** A suite that was skipped as a whole, or whose hook failed: none of its tests would say so. */
function saysMore(suite: Result): boolean {
  if (suite.data.skip !== undefined) return true;
  if (suite.type !== 'test:fail') return false;
  const { failureType } = suite.data.details.error as { readonly failureType?: string };
  return failureType === 'hookFailed';
}

function noCounts(): Counts {
  return { passed: 0, failed: 0, skipped: 0, durationMs: 0 };
}

function outcomeOf(event: Result): Outcome {
  if (event.type === 'test:fail') return 'failed';
  return event.data.skip === undefined ? 'passed' : 'skipped';
}

function add(counts: Counts, outcome: Outcome, event: Result): void {
  counts[outcome] += 1;
  if (event.data.nesting === 0) counts.durationMs += event.data.details.duration_ms;
}

function fileLine(file: string, counts: Counts): string {
  const outcome = counts.failed > 0 ? `${counts.failed} failed, ` : '';
  const skips = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
  return `${counts.failed > 0 ? 'FAILED' : 'ok    '}  ${file} (${outcome}${counts.passed} passed${skips}, ${Math.round(counts.durationMs)} ms)\n`;
}

function indented(error: Error & { cause?: unknown }): string {
  const cause = error.cause instanceof Error ? error.cause : error;
  return (cause.stack ?? String(cause)).replaceAll(/^/gm, '        ');
}

export { report as default };
