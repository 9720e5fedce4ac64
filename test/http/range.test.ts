/** Ranges and conditions, table by table. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import { allowsRange, isUnchanged } from '#http/conditional.ts';
import { parseContentRange, parseRange } from '#http/range.ts';

for (const [header, sizeBytes] of [
  ['bytes=10-', 10],
  ['bytes=10-20', 10],
  ['bytes=99999999999999999999999-', 10],
  ['bytes=-0', 10],
] as const) {
  test(`range: ${header} of ${sizeBytes} bytes cannot be satisfied`, () => {
    assert.throws(
      () => parseRange(header, sizeBytes),
      (thrown) =>
        thrown instanceof RegistryError &&
        thrown.status === 416 &&
        thrown.headers['Content-Range'] === `bytes */${sizeBytes}`,
    );
  });
}

for (const header of [
  'bytes=5-2',
  'bytes=-',
  'bytes=a-b',
  'bytes=0-1,4-5',
  'items=0-1',
  'bytes 0-1',
  'bytes=1--2',
  '',
]) {
  test(`range: "${header}" is answered whole`, () => {
    assert.equal(parseRange(header, 10), undefined);
  });
}

for (const [header, start, end] of [
  ['bytes=0-0', 0, 0],
  ['bytes=0-9', 0, 9],
  ['bytes=3-', 3, 9],
  ['bytes=3-99999999999999999999999', 3, 9],
  ['bytes=-3', 7, 9],
  ['bytes=-99', 0, 9],
  ['BYTES=4-5', 4, 5],
] as const) {
  test(`range: ${header} of 10 bytes is ${start} to ${end}`, () => {
    assert.deepEqual(parseRange(header, 10), { start, end });
  });
}

test('range: an empty blob is answered whole', () => {
  assert.equal(parseRange('bytes=0-', 0), undefined);
  assert.equal(parseRange('bytes=-1', 0), undefined);
});

for (const header of ['', '5', '5-', '-5', '7-3', 'x-y', '0-1-2', '1e3-2e3', '0-9999999999999999']) {
  test(`content range: "${header}" is malformed`, () => {
    assert.throws(() => parseContentRange(header), { code: 'BLOB_UPLOAD_INVALID', status: 400 });
  });
}

for (const header of ['2-5', 'bytes 2-5', 'bytes=2-5', '2-5/*', '2-5/100']) {
  test(`content range: "${header}" is 2 to 5`, () => {
    assert.deepEqual(parseContentRange(header), { start: 2, end: 5 });
  });
}

const DIGEST = digestOf('content');

for (const [header, expected] of [
  [undefined, false],
  [`"${digestOf('other')}"`, false],
  ['', false],
  [`"${DIGEST}"`, true],
  [`W/"${DIGEST}"`, true],
  [DIGEST, true],
  [`"x", "${DIGEST}"`, true],
  ['*', true],
] as const) {
  test(`if-none-match: ${header?.slice(0, 20)} … is ${expected ? 'unchanged' : 'changed'}`, () => {
    assert.equal(isUnchanged(header, DIGEST), expected);
  });
}

for (const [header, expected] of [
  [undefined, true],
  [`"${DIGEST}"`, true],
  [`W/"${DIGEST}"`, false],
  ['Sat, 21 Nov 2026 08:00:00 GMT', false],
] as const) {
  test(`if-range: ${header?.slice(0, 20)} … ${expected ? 'allows' : 'forbids'} a range`, () => {
    assert.equal(allowsRange(header, DIGEST), expected);
  });
}
