/**
 * What `npm test` prints: a line for each test that failed or was skipped, with the reason, one line for each file,
 * and the count. Thousands of passing tests are not worth a line each.
 */
import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';

type Counts = { passed: number; failed: number; skipped: number; durationMs: number };

async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const files = new Map<string, Counts>();
  const skipped: string[] = [];
  const total: Counts = { passed: 0, failed: 0, skipped: 0, durationMs: 0 };
  for await (const event of source) {
    if (event.type === 'test:stderr' || event.type === 'test:stdout') yield event.data.message;
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { data } = event;
    if (data.details.type === 'suite') continue;
    const file = relative(process.cwd(), data.file ?? '');
    const counts = files.get(file) ?? { passed: 0, failed: 0, skipped: 0, durationMs: 0 };
    files.set(file, counts);
    const outcome = event.type === 'test:fail' ? 'failed' : data.skip === undefined ? 'passed' : 'skipped';
    for (const sum of [counts, total]) {
      sum[outcome] += 1;
      sum.durationMs += data.nesting === 0 ? data.details.duration_ms : 0;
    }
    if (outcome === 'skipped')
      skipped.push(`${file}: ${data.name}: ${data.skip === true ? 'no reason given' : data.skip}`);
    if (event.type === 'test:fail')
      yield `not ok  ${file}: ${data.name}\n${indented(event.data.details.error)}\n`;
  }
  for (const [file, counts] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) yield fileLine(file, counts);
  if (skipped.length > 0)
    yield `\nNot run on this machine:\n${skipped.map((line) => `  ${line}\n`).join('')}`;
  yield `\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`;
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
