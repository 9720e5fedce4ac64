/**
 * Documentation as tests read it: pages, their fenced blocks with the marks above them, tables, headings and links.
 *
 * A mark is an HTML comment right above a fence, which readers of the page do not see:
 *   <!-- test: key value; key -->    how the block is tried; each language has its own keys, see `KEYS`
 *   <!-- not run: reason -->         it is not, and why
 * A `text` block is the output of the `sh` block before it. In it `…` stands for any text, and alone on a line for
 * any number of lines; runs of blanks are equal, because columns are as wide as their contents.
 * Limits: what these pages use of Markdown; fences begin in the first column.
 */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '..', '..');

export type Page = {
  /** Relative to the checkout. */
  readonly path: string;
  readonly text: string;
};

export type Block = {
  readonly page: string;
  /** Of the opening fence, from 1. */
  readonly line: number;
  readonly language: string;
  readonly text: string;
  readonly marks: ReadonlyMap<string, string>;
  readonly notRun?: string;
};

/** One command line, or several, and what they must print. */
export type Script = Block & { readonly output?: Block };

const FENCE = /^```(.*)$/;
const MARK = /^<!-- (test|not run): (.+?) -->$/;
/** What may be said of a block, by its language. */
const KEYS: Readonly<Record<string, readonly string[]>> = {
  /** `exit`: the code that it must end with. `needs`: a program that its words do not show. */
  sh: ['exit', 'needs'],
  /** `file`: later commands find it under this name. `refused`: it is an example of a mistake. */
  yaml: ['file', 'refused'],
  toml: ['file'],
  text: [],
};

/** The pages of `docs/`. */
export function docsPages(): readonly Page[] {
  return readPages('docs/**/*.md');
}

/** All pages that are written by hand. */
export function allPages(): readonly Page[] {
  return readPages('{*.md,docs/**/*.md}');
}

function readPages(pattern: string): readonly Page[] {
  return globSync(pattern, { cwd: ROOT })
    .sort()
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));
}

/** @throws Error with page and line: a fence that is not closed, an unknown language or mark, a `text` without its `sh`. */
export function blocksOf(page: Page): readonly Block[] {
  const lines = page.text.split('\n');
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const language = FENCE.exec(lines[at] ?? '')?.[1];
    if (language === undefined) continue;
    const end = lines.indexOf('```', at + 1);
    if (end === -1) throw faultAt(page, at, 'the fence is not closed');
    const keys = KEYS[language];
    if (keys === undefined)
      throw faultAt(page, at, `"${language}" is none of ${Object.keys(KEYS).join(', ')}`);
    const text = `${lines.slice(at + 1, end).join('\n')}\n`;
    const mark = MARK.exec(lines[at - 1] ?? '');
    const notRun = mark?.[1] === 'not run' ? mark[2] : undefined;
    const marks = marksOf(mark?.[1] === 'test' ? (mark[2] ?? '') : '');
    const unknown = [...marks.keys()].find((key) => !keys.includes(key));
    if (unknown !== undefined) throw faultAt(page, at - 1, `"${unknown}" is no mark of a ${language} block`);
    const block = { page: page.path, line: at + 1, language, text, marks };
    blocks.push(notRun === undefined ? block : { ...block, notRun });
    at = end;
  }
  refuseLooseText(page, blocks);
  return blocks;
}

/** The `sh` blocks that are run, each with the output that follows it. */
export function scriptsOf(blocks: readonly Block[]): readonly Script[] {
  return blocks.flatMap((block, position) => {
    if (block.language !== 'sh' || block.notRun !== undefined) return [];
    const next = blocks[position + 1];
    return next?.language === 'text' ? [{ ...block, output: next }] : [block];
  });
}

function marksOf(text: string): ReadonlyMap<string, string> {
  const parts = text.split(';').map((part) => part.trim());
  return new Map(
    parts
      .filter((part) => part !== '')
      .map((part): [string, string] => {
        const [key = '', ...value] = part.split(' ');
        return [key, value.join(' ')];
      }),
  );
}

function refuseLooseText(page: Page, blocks: readonly Block[]): void {
  for (const [position, block] of blocks.entries()) {
    if (block.language !== 'text' || block.notRun !== undefined) continue;
    if (blocks[position - 1]?.language === 'sh') continue;
    throw faultAt(
      page,
      block.line - 1,
      'a text block follows the commands that print it, or says why it is not run',
    );
  }
}

/** `at` counts from 0. */
function faultAt(page: Page, at: number, fault: string): Error {
  return new Error(`${page.path}:${at + 1}: ${fault}`);
}

/** What a `text` block allows to be printed. */
export function outputPattern(text: string): RegExp {
  const lines = text.trimEnd().split('\n');
  const patterns = lines.map((line) => {
    if (line.trim() === '…') return '(?:.*\\n)*?';
    const pieces = line.trimEnd().split('…');
    return `${pieces.map((piece) => RegExp.escape(piece).replaceAll(/(?:\\x20)+/g, ' +')).join('.*?')}\\n`;
  });
  return new RegExp(`^${patterns.join('')}$`);
}

/** What was printed, as `outputPattern` compares it. */
export function comparable(printed: string): string {
  const lines = printed.trimEnd().split('\n');
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

/** The cells of every table under the heading, without the head. @throws Error when there is none. */
export function tableUnder(page: Page, heading: string): readonly (readonly string[])[] {
  const lines = page.text.split('\n');
  const start = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === heading);
  if (start === -1) throw new Error(`${page.path} has no heading "${heading}"`);
  const length = lines.slice(start + 1).findIndex((line) => /^#+ /.test(line));
  const section = lines.slice(start + 1, length === -1 ? lines.length : start + 1 + length);
  const isHead = (at: number) => /^\|[-| ]+\|$/.test(section[at + 1] ?? '');
  const rows = section.filter(
    (line, at) => line.startsWith('|') && !/^\|[-| ]+\|$/.test(line) && !isHead(at),
  );
  if (rows.length === 0) throw new Error(`${page.path} has no table under "${heading}"`);
  return rows.map((row) =>
    row
      .slice(1, row.lastIndexOf('|'))
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim()),
  );
}

/** The texts in backquotes. */
export function codeIn(cell: string): readonly string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
}

/** Targets of links, without those of other sites; what stands in fences is no link. */
export function linksOf(page: Page): readonly string[] {
  const prose = page.text.replaceAll(/^```[\s\S]*?^```$/gm, '').replaceAll(/`[^`\n]*`/g, '');
  const targets = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? '');
  return targets.filter((target) => !/^[a-z]+:/.test(target));
}

/** The anchors that a page's headings make. */
export function anchorsOf(page: Page): ReadonlySet<string> {
  const headings = page.text.replaceAll(/^```[\s\S]*?^```$/gm, '').matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map((match) =>
      (match[1] ?? '')
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}
