/** The reader of pages: what it refuses, and what an output may look like. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  anchorsOf,
  blocksOf,
  codeIn,
  comparable,
  linksOf,
  outputPattern,
  scriptsOf,
  tableUnder,
} from './pages.ts';

const page = (...lines: readonly string[]) => ({ path: 'page.md', text: `${lines.join('\n')}\n` });

test('pages: a fence that is not closed, of an unknown language or with an unknown mark is refused with its place', () => {
  assert.throws(() => blocksOf(page('', '```sh', 'true')), /page\.md:2: the fence is not closed/);
  assert.throws(() => blocksOf(page('```ruby', '```')), /page\.md:1: "ruby" is none of sh, yaml, toml, text/);
  const marked = page('<!-- test: exit 1; sudo -->', '```sh', 'false', '```');
  assert.throws(() => blocksOf(marked), /page\.md:1: "sudo" is no mark of a sh block/);
});

test('pages: an output without the commands that print it is refused, unless it says why it is not run', () => {
  const loose = ['```text', 'hello', '```'];
  assert.throws(() => blocksOf(page(...loose)), /page\.md:1: a text block follows/);
  assert.equal(blocksOf(page('<!-- not run: an example -->', ...loose))[0]?.notRun, 'an example');
});

test('pages: blocks have their place, their marks and their output', () => {
  const blocks = blocksOf(
    page('# Head', '<!-- test: exit 1; needs jq -->', '```sh', 'false', '```', '```text', '…', '```'),
  );
  const [script] = scriptsOf(blocks);
  assert.equal(script?.line, 3);
  assert.equal(script.text, 'false\n');
  assert.deepEqual(
    [...script.marks],
    [
      ['exit', '1'],
      ['needs', 'jq'],
    ],
  );
  assert.equal(script.output?.text, '…\n');
});

test('pages: an output differs by a line, by a word, and not by the width of its columns', () => {
  const pattern = outputPattern('A    B\none  … ms\n');
  assert.match(comparable('A B  \r\none 3.5 ms\n\n'), pattern);
  assert.doesNotMatch(comparable('A B\none 3.5 s\n'), pattern);
  assert.doesNotMatch(comparable('A B\none 3.5 ms\nmore\n'), pattern);
  assert.doesNotMatch(comparable('one 3.5 ms\n'), pattern);
});

test('pages: an ellipsis on a line of its own stands for any lines, also for none', () => {
  const pattern = outputPattern('…\n(last)\n');
  assert.match(comparable('one\ntwo\n(last)\n'), pattern);
  assert.match(comparable('(last)\n'), pattern);
  assert.doesNotMatch(comparable('(last)\nmore\n'), pattern);
});

test('pages: a table is that of its heading, without its head', () => {
  const tables = page(
    '## One',
    '| a |',
    '|---|',
    '| `x`, `y` |',
    '## Two',
    '| b | c |',
    '|---|---|',
    '| 1 | |',
  );
  assert.deepEqual(tableUnder(tables, 'One'), [['`x`, `y`']]);
  assert.deepEqual(tableUnder(tables, 'Two'), [['1', '']]);
  assert.deepEqual(codeIn('`x`, `y`'), ['x', 'y']);
  assert.throws(() => tableUnder(tables, 'Three'), /no heading "Three"/);
  assert.throws(() => tableUnder(page('## Two', 'words'), 'Two'), /no table under "Two"/);
});

test('pages: links are those of the prose to this checkout', () => {
  const links = page(
    '# A *word* of `code`',
    '[a](b.md#c) [w](https://example.org/)',
    '```sh',
    '[x](y)',
    '```',
  );
  assert.deepEqual(linksOf(links), ['b.md#c']);
  assert.deepEqual([...anchorsOf(links)], ['a-word-of-code']);
});
