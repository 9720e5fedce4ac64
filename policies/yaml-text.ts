/**
 * YAML text to plain values that know where they stood. YAML 1.2, many documents to a text; duplicate keys are
 * errors. Aliases are refused: nobody needs them in a policy, and a glob like `*-rc` without quotes is one by
 * accident. Tags (`!prod/**` without quotes) are refused for the same reason.
 */
import {
  type Document,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  visit,
  type YAMLError,
} from 'yaml';
import type { DocumentPath } from './model.ts';
import type { Place, PolicyProblem } from './problem.ts';

export type YamlDocument = {
  /** Plain data with string keys. */
  readonly value: unknown;
  /** This document alone, normalised, comments kept. Normalising it again changes nothing. */
  readonly text: string;
  /** Where the value at the path stands (or its key, when it is empty), or the nearest thing above it. */
  place(path: DocumentPath): Place;
  /** Where the last key of the path stands. */
  placeOfKey(path: DocumentPath): Place;
};

/** Some 500 policies, read in half a second at worst, for which nothing else happens in this process. */
const TEXT_LENGTH_MAX = 256 * 1024;

/** Documents with problems are not among the documents; empty ones are neither. */
export function readYaml(
  text: string,
  file: string,
): { readonly documents: readonly YamlDocument[]; readonly problems: readonly PolicyProblem[] } {
  const top: Place = { file, line: 1, column: 1 };
  if (text.length > TEXT_LENGTH_MAX) {
    return { documents: [], problems: [{ ...top, message: 'the text is longer than 256 KiB: split it' }] };
  }
  const counter = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: counter, prettyErrors: false, uniqueKeys: false });
  const placeAt = (offset: number): Place => {
    const { line, col } = counter.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  const problems: PolicyProblem[] = [];
  const documents: YamlDocument[] = [];
  for (const document of parsed) {
    const faults = faultsOf(document).map(({ offset, message }) => ({ ...placeAt(offset), message }));
    problems.push(...faults);
    if (faults.length === 0 && !isEmpty(document)) documents.push(readable(document, placeAt));
  }
  return { documents, problems };
}

/** Faults of a text that is otherwise understood. */
const STANDALONE: ReadonlySet<YAMLError['code']> = new Set(['TAG_RESOLVE_FAILED', 'BAD_ALIAS']);

/** More of one document help nobody. */
const FAULTS_MAX = 100;
/** Policies need eight levels; everything that walks a document recurses with its nesting. */
const NESTING_MAX = 32;
const NESTED_TOO_DEEPLY = `nested too deeply; at most ${NESTING_MAX} levels`;

/** Nothing, or comments, as between two `---`. */
function isEmpty({ contents }: Document.Parsed): boolean {
  return (
    contents === null || (isScalar(contents) && contents.value === null && startOf(contents) === undefined)
  );
}

type Fault = { readonly offset: number; readonly message: string };

function faultsOf(document: Document.Parsed): readonly Fault[] {
  // After text that is not YAML, the parser guesses: what else it finds is mostly a consequence.
  const broken = document.errors.find((error) => !STANDALONE.has(error.code));
  const named = [...document.errors, ...document.warnings].filter((error) => STANDALONE.has(error.code));
  const faults: Fault[] = (broken === undefined ? named : [broken]).map((error) => ({
    offset: error.pos[0],
    message: syntaxMessage(error),
  }));
  if (broken !== undefined) return faults;
  if (isDeeperThan(NESTING_MAX, document.contents)) return [{ offset: 0, message: NESTED_TOO_DEEPLY }];
  if (document.directives.yaml.version !== '1.2') {
    faults.push({ offset: document.range[0], message: 'only YAML 1.2 is understood: remove the %YAML line' });
  }
  visit(document, {
    Alias: (_key, node) => {
      const message = `an alias (*${node.source}) is not supported: write the value out, and quote a glob that begins with "*"`;
      faults.push({ offset: node.range?.[0] ?? 0, message });
    },
    Map: (_key, node) => {
      faults.push(...keyFaults(node.items));
    },
  });
  return faults.slice(0, FAULTS_MAX);
}

/** The parser's own check for duplicates takes time with the square of their number. */
function keyFaults(pairs: readonly { readonly key: unknown }[]): readonly Fault[] {
  const seen = new Set<string>();
  const faults: Fault[] = [];
  for (const { key } of pairs) {
    const text = isScalar(key) && typeof key.value === 'string' ? key.value : undefined;
    if (text === undefined) faults.push({ offset: startOf(key) ?? 0, message: 'a key must be a text' });
    else if (seen.has(text))
      faults.push({ offset: startOf(key) ?? 0, message: `key "${text}" stands here twice` });
    else seen.add(text);
    if (faults.length === FAULTS_MAX) break;
  }
  return faults;
}

function isDeeperThan(levels: number, node: unknown): boolean {
  if (!isMap(node) && !isSeq(node)) return false;
  if (levels === 0) return true;
  const inner: readonly unknown[] = isMap(node)
    ? node.items.flatMap(({ key, value }) => [key, value])
    : node.items;
  return inner.some((child) => isDeeperThan(levels - 1, child));
}

function syntaxMessage(error: YAMLError): string {
  if (error.code === 'TAG_RESOLVE_FAILED') {
    return 'a text that begins with "!" must stand in quotes, or else it is a YAML tag';
  }
  if (error.code === 'BAD_ALIAS') return 'a glob that begins with "*" must stand in quotes';
  if (error.code === 'RESOURCE_EXHAUSTION') return NESTED_TOO_DEEPLY;
  return `not YAML: ${error.message}`;
}

function readable(document: Document.Parsed, placeAt: (offset: number) => Place): YamlDocument {
  return {
    value: document.toJS(),
    text: normalised(document),
    place: (path) => placeAt(offsetOf(document, path).value),
    placeOfKey: (path) => placeAt(offsetOf(document, path).key),
  };
}

function normalised(document: Document.Parsed): string {
  const alone = document.clone();
  alone.directives = undefined;
  return alone.toString({ lineWidth: 0, directives: false, flowCollectionPadding: false });
}

function offsetOf(
  document: Document.Parsed,
  path: DocumentPath,
): { readonly key: number; readonly value: number } {
  let node: unknown = document.contents;
  let key = startOf(node) ?? 0;
  let value = key;
  for (const step of path) {
    const below = child(node, step);
    if (below === undefined) return { key, value };
    node = below.value;
    const start = startOf(node);
    key = startOf(below.key) ?? start ?? value;
    value = start ?? key;
  }
  return { key, value };
}

function child(
  node: unknown,
  step: string | number,
): { readonly key: unknown; readonly value: unknown } | undefined {
  if (isMap(node)) {
    const pair = node.items.find(({ key }) => isScalar(key) && key.value === step);
    return pair === undefined ? undefined : { key: pair.key, value: pair.value };
  }
  if (isSeq(node) && typeof step === 'number' && step < node.items.length) {
    return { key: undefined, value: node.items[step] };
  }
  return undefined;
}

/** An empty value has no place of its own: its range is empty. */
function startOf(node: unknown): number | undefined {
  const range = (node as { range?: readonly [number, number, number] | null } | null | undefined)?.range;
  return range === null || range === undefined || range[0] === range[1] ? undefined : range[0];
}
