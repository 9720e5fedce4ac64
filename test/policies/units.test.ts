/** Durations and sizes as people write them, and the nearest known word to a misspelt one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { suggest } from '#policies/suggest.ts';
import { parseDuration, parseSize } from '#policies/units.ts';

for (const text of ['', '10', 'm', '1.5h', '-1s', '10 m', '30m1h', '1m1m', '1w', '10M', '1h 30m', '3651d']) {
  test(`units: ${JSON.stringify(text)} is no duration`, () => {
    assert.equal(parseDuration(text), undefined);
  });
}

for (const [text, ms] of [
  ['0s', 0],
  ['500ms', 500],
  ['90s', 90_000],
  ['10m', 600_000],
  ['1h30m', 5_400_000],
  ['7d', 604_800_000],
  ['1d2h3m4s5ms', 93_784_005],
] as const) {
  test(`units: ${text} is ${ms} ms`, () => {
    assert.equal(parseDuration(text), ms);
  });
}

for (const text of [
  '',
  '10',
  'GiB',
  '1.5TiB',
  '-1GB',
  '10 GiB',
  '2tib',
  '1KB',
  '2T',
  '9PiB',
  '99999999999999PB',
]) {
  test(`units: ${JSON.stringify(text)} is no size`, () => {
    assert.equal(parseSize(text), undefined);
  });
}

for (const [text, bytes] of [
  ['0B', 0],
  ['1KiB', 1024],
  ['500GiB', 500 * 2 ** 30],
  ['2TiB', 2 ** 41],
  ['1kB', 1000],
  ['20MB', 20_000_000],
  ['7PiB', 7 * 2 ** 50],
] as const) {
  test(`units: ${text} is ${bytes} bytes`, () => {
    assert.equal(parseSize(text), bytes);
  });
}

test('suggest: nothing is near to a word that differs too much', () => {
  assert.equal(suggest('zzz', ['select', 'to']), undefined);
  assert.equal(suggest('x'.repeat(1000), ['x'.repeat(999)]), undefined);
  assert.equal(suggest('to', []), undefined);
});

test('suggest: the nearest word, whatever its case, also with letters swapped', () => {
  assert.equal(suggest('repositores', ['repositories', 'select']), 'repositories');
  assert.equal(suggest('SELECT', ['select']), 'select');
  assert.equal(suggest('sepc', ['spec']), 'spec');
  assert.equal(suggest('tags', ['tag', 'taps']), 'tag');
});
