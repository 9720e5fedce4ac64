/**
 * What the conformance program reports in `junit.xml`, and whether that is a pass. Only what the program itself writes
 * is read: one root with counts, which leaves out those that are zero, and one flat list of test cases.
 *
 * A pass needs tests that ran and nothing that failed, erred, was skipped or disabled. The program calls a run with
 * skips a failure too; the counts are looked at as well, so that neither alone can let a gap through.
 */

export type NotPassed = {
  readonly name: string;
  readonly status: 'failed' | 'skipped';
  readonly message: string;
};

export type Report = {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly notPassed: readonly NotPassed[];
};

const ROOT = /<testsuites\b([^>]*)>/;
const TEST_CASE = /<testcase\b([^>]*)>([\s\S]*?)<\/testcase>/g;
const OUTPUT = /<system-out>([\s\S]*?)<\/system-out>/;

/** `undefined` when the text is no report of the program. Errors count as failed, disabled tests as skipped. */
export function readReport(xml: string): Report | undefined {
  const root = ROOT.exec(xml)?.[1];
  if (root === undefined || !/ tests="\d+"/.test(root)) return undefined;
  const failed = count(root, 'failures') + count(root, 'errors');
  const skipped = count(root, 'skipped') + count(root, 'disabled');
  const cases = [...xml.matchAll(TEST_CASE)].flatMap((match) => notPassed(match[1] ?? '', match[2] ?? ''));
  return { passed: count(root, 'tests') - failed - skipped, failed, skipped, notPassed: cases };
}

export function isPass(report: Report, exitCode: number): boolean {
  const { passed, failed, skipped, notPassed } = report;
  return exitCode === 0 && passed > 0 && failed === 0 && skipped === 0 && notPassed.length === 0;
}

function notPassed(attributes: string, content: string): readonly NotPassed[] {
  const status = attribute(attributes, 'status');
  if (status === 'passed') return [];
  return [
    {
      name: plain(attribute(attributes, 'name') ?? ''),
      status: status === 'skipped' ? 'skipped' : 'failed',
      message: plain(OUTPUT.exec(content)?.[1] ?? '').trim(),
    },
  ];
}

function count(attributes: string, name: string): number {
  return Number(attribute(attributes, name) ?? 0);
}

function attribute(attributes: string, name: string): string | undefined {
  return new RegExp(` ${name}="([^"]*)"`).exec(attributes)?.[1];
}

/** The text that was escaped; the ampersand last, so that nothing is unescaped twice. */
function plain(text: string): string {
  return text
    .replaceAll(/&#x([0-9A-Fa-f]+);/g, (_, hex: string) => String.fromCodePoint(Number.parseInt(hex, 16)))
    .replaceAll(/&#(\d+);/g, (_, decimal: string) => String.fromCodePoint(Number(decimal)))
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&');
}
