/** What counts as a pass of the conformance program: the cases that must not be one come first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPass, readReport } from './junit.ts';

const PASSED = '<testcase name="OCI/ping" classname="" time="0.1" status="passed"></testcase>';

function reportOf(attributes: string, ...cases: readonly string[]): string {
  return `<testsuites time="1.0" ${attributes}>\n<testsuite name="OCI">${cases.join('\n')}</testsuite></testsuites>`;
}

test('conformance: what is no report is not read', () => {
  for (const text of ['', 'failed to load config', '<testsuites>', '<testsuites time="0.1"></testsuites>']) {
    assert.equal(readReport(text), undefined, text);
  }
});

for (const [what, attributes, cases, exitCode] of [
  ['nothing ran', 'tests="0"', [], 0],
  ['everything was disabled', 'tests="2" disabled="2"', [], 0],
  ['one failed', 'tests="2" failures="1"', [PASSED], 0],
  ['one erred', 'tests="2" errors="1"', [PASSED], 0],
  ['one was skipped', 'tests="2" skipped="1"', [PASSED], 0],
  [
    'a case is not passed, whatever the counts say',
    'tests="1"',
    ['<testcase status="skipped"></testcase>'],
    0,
  ],
  ['a case without a status', 'tests="1"', ['<testcase name="x"></testcase>'], 0],
  ['the program says that it failed', 'tests="1"', [PASSED], 1],
] as const) {
  test(`conformance: no pass when ${what}`, () => {
    const report = readReport(reportOf(attributes, ...cases));
    assert.ok(report);
    assert.equal(isPass(report, exitCode), false);
  });
}

test('conformance: a pass is tests that ran, and none that did not pass', () => {
  const report = readReport(reportOf('tests="1"', PASSED));
  assert.deepEqual(report, { passed: 1, failed: 0, skipped: 0, notPassed: [] });
  assert.equal(isPass(report, 0), true);
});

test('conformance: what did not pass is named with its message', () => {
  const failure =
    '<testcase name="OCI/a &lt;b&gt;" classname="" status="failure"><system-out>got &#34;404&#34;&#xA;&amp;lt;</system-out></testcase>';
  const skip = '<testcase name="OCI/c" classname="" status="skipped"></testcase>';
  const report = readReport(reportOf('tests="4" failures="1" skipped="1"', PASSED, failure, skip));
  assert.deepEqual(report, {
    passed: 2,
    failed: 1,
    skipped: 1,
    notPassed: [
      { name: 'OCI/a <b>', status: 'failed', message: 'got "404"\n&lt;' },
      { name: 'OCI/c', status: 'skipped', message: '' },
    ],
  });
});
