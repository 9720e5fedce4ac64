/** `traceparent` as W3C Trace Context defines it: what is none begins another trace. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTraceparent, traceparentText } from '#domain/trace.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';

for (const [what, text] of [
  ['nothing', ''],
  ['a trace of zeros', `00-${'0'.repeat(32)}-${SPAN}-01`],
  ['a step of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
  ['upper case', `00-${TRACE.toUpperCase()}-${SPAN}-01`],
  ['a short trace', `00-${TRACE.slice(1)}-${SPAN}-01`],
  ['a long step', `00-${TRACE}-${SPAN}0-01`],
  ['flags that are none', `00-${TRACE}-${SPAN}-0x`],
  ['no flags', `00-${TRACE}-${SPAN}`],
  ['more than version 00 has', `00-${TRACE}-${SPAN}-01-more`],
  ['the version that is forbidden', `ff-${TRACE}-${SPAN}-01`],
  ['a later version that goes on without a dash', `01-${TRACE}-${SPAN}-01more`],
  ['space around it', ` 00-${TRACE}-${SPAN}-01`],
  ['two of them', `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`],
  ['a line break in a later version', `01-${TRACE}-${SPAN}-01-a\nb`],
  ['far too much', `01-${TRACE}-${SPAN}-01-${'a'.repeat(300)}`],
] as const) {
  test(`trace: ${what} is no traceparent`, () => {
    assert.equal(parseTraceparent(text), undefined);
  });
}

test('trace: what is one is read, and written as version 00', () => {
  const read = (text: string) => {
    const trace = parseTraceparent(text);
    return trace === undefined ? undefined : traceparentText(trace);
  };
  assert.equal(read(`00-${TRACE}-${SPAN}-01`), `00-${TRACE}-${SPAN}-01`);
  assert.equal(read(`00-${TRACE}-${SPAN}-00`), `00-${TRACE}-${SPAN}-00`);
  // Flags that are not known yet are not passed on; fields behind those that are known are passed over.
  assert.equal(read(`00-${TRACE}-${SPAN}-fe`), `00-${TRACE}-${SPAN}-00`);
  assert.equal(read(`cc-${TRACE}-${SPAN}-09-what-comes`), `00-${TRACE}-${SPAN}-01`);
});
