/**
 * What a schema found wrong, said for people: the key, what was expected, what was meant. Values are repeated only
 * where the schema lists all possible ones: elsewhere they might be a secret in the wrong place.
 */
import type { z } from 'zod';
import type { DocumentPath, PolicyKind } from './model.ts';
import { isKeyOfLaterVersion } from './not-supported.ts';
import type { PolicyProblem } from './problem.ts';
import { suggest } from './suggest.ts';
import { DURATION_EXPECTED } from './units.ts';
import type { YamlDocument } from './yaml-text.ts';

type Issue = z.core.$ZodIssue;
type Subject = {
  readonly kind: PolicyKind;
  readonly document: YamlDocument;
  /** The JSON Schema of the kind: which keys there are, and where. */
  readonly schema: () => unknown;
};

/** Of one map; more help nobody, and each is looked up and compared with all that are known. */
const UNKNOWN_KEYS_MAX = 20;

export function schemaProblems(issues: readonly Issue[], subject: Subject): readonly PolicyProblem[] {
  return issues.flatMap((issue) => problemsOf(issue, subject));
}

function problemsOf(issue: Issue, subject: Subject): readonly PolicyProblem[] {
  const path = issue.path as DocumentPath;
  if (issue.code === 'unrecognized_keys')
    return issue.keys.slice(0, UNKNOWN_KEYS_MAX).map((key) => unknownKey([...path, key], subject));
  if (issue.code === 'invalid_union') return unionProblems(issue, subject);
  const value = valueAt(subject.document.value, path);
  if (value === undefined && path.length > 0) return [missingKey(path, subject)];
  const place = subject.document.place(path);
  const { message, expected } = faultOf(issue, { path, value, kind: subject.kind });
  const text = path.length === 0 ? message : `"${pathText(path)}": ${message}`;
  return [{ ...place, message: text, ...(expected === undefined ? {} : { expected }) }];
}

function unknownKey(path: DocumentPath, subject: Subject): PolicyProblem {
  const place = subject.document.placeOfKey(path);
  const text = pathText(path);
  if (isKeyOfLaterVersion(subject.kind, text)) {
    return { ...place, message: `key "${text}" is not supported by this version` };
  }
  if (text === 'spec.credentials.password.value') {
    return { ...place, message: `"${text}": secrets never travel: use fromEnv or fromFile` };
  }
  const known = knownKeys(subject.schema(), path.slice(0, -1));
  const meant = suggest(String(path.at(-1)), known);
  const expected = `one of ${known.join(', ')}`;
  const hint = meant === undefined ? `expected ${expected}` : `did you mean "${meant}"?`;
  return { ...place, message: `unknown key "${text}"; ${hint}`, expected };
}

/** Of a union, the branch that took the value for one of its own says what is wrong inside of it. */
function unionProblems(issue: Issue & { code: 'invalid_union' }, subject: Subject): readonly PolicyProblem[] {
  const path = issue.path as DocumentPath;
  const inner = issue.errors.find((errors) => !errors.some(isOfAnotherShape));
  if (inner !== undefined) {
    const placed = inner.map((error) => ({ ...error, path: [...issue.path, ...error.path] }));
    return schemaProblems(placed, subject);
  }
  const value = valueAt(subject.document.value, path);
  if (value === undefined) return [missingKey(path, subject)];
  const expected = issue.errors.flat().map(expectedOf).join(' or ');
  const message = `"${pathText(path)}": expected ${expected}, got ${kindOfValue(value)}`;
  return [{ ...subject.document.place(path), message, expected }];
}

function isOfAnotherShape(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === 'invalid_value' || issue.code === 'invalid_type');
}

function missingKey(path: DocumentPath, subject: Subject): PolicyProblem {
  const place = subject.document.placeOfKey(path.slice(0, -1));
  return { ...place, message: `missing key "${pathText(path)}"` };
}

type Met = { readonly path: DocumentPath; readonly value: unknown; readonly kind: PolicyKind };

function faultOf(issue: Issue, met: Met): { readonly message: string; readonly expected?: string } {
  const expected = expectedOf(issue);
  if (issue.code === 'invalid_value') {
    const values = issue.values.map(String);
    const meant = typeof met.value === 'string' ? suggest(met.value, values) : undefined;
    const hint = meant === undefined ? '' : `; did you mean "${meant}"?`;
    return { message: `expected ${expected}, got ${quoted(met.value)}${hint}`, expected };
  }
  if (issue.code === 'too_small') return { message: `expected ${expected}`, expected };
  if (issue.code !== 'invalid_type') return { message: issue.message };
  const hint = TYPE_HINTS[pathText(met.path)];
  if (hint !== undefined) return { message: hint, expected };
  if (pathText(met.path) === 'spec.select.tags' && kindOfValue(met.value) === 'a map') {
    return {
      message: 'tags by semver, newest or platform are not supported by this version: use globs',
      expected,
    };
  }
  return { message: `expected ${expected}, got ${kindOfValue(met.value)}`, expected };
}

/** What to say of a value of the wrong type where its type alone would not help. */
const TYPE_HINTS: Readonly<Record<string, string>> = {
  'spec.freshness.timeToLive': `expected ${DURATION_EXPECTED}`,
  'spec.credentials.username': 'say {value: NAME}, {fromEnv: VARIABLE} or {fromFile: PATH}',
  'spec.credentials.password': 'secrets never travel: say {fromEnv: VARIABLE} or {fromFile: PATH}',
};

const TYPE_WORDS: Readonly<Record<string, string>> = {
  object: 'a map',
  array: 'a list',
  string: 'a text',
  boolean: 'true or false',
  number: 'a number',
};

function expectedOf(issue: Issue): string {
  if (issue.code === 'invalid_value') return issue.values.map((value) => quoted(value)).join(' or ');
  if (issue.code === 'too_small')
    return issue.origin === 'array' ? 'at least one' : 'a text that is not empty';
  if (issue.code === 'invalid_type') return TYPE_WORDS[issue.expected] ?? issue.expected;
  return issue.message;
}

function kindOfValue(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  return typeof value === 'string' ? 'a text' : String(value);
}

function quoted(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : kindOfValue(value);
}

/** `spec.select.repositories[0]`. */
function pathText(path: DocumentPath): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}

function valueAt(value: unknown, path: DocumentPath): unknown {
  return path.reduce<unknown>(
    (node, step) =>
      node === null || typeof node !== 'object' ? undefined : (node as Record<string, unknown>)[step],
    value,
  );
}

type JsonSchema = {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
};

function knownKeys(root: unknown, path: DocumentPath): readonly string[] {
  let nodes = [root as JsonSchema];
  for (const step of path) {
    nodes = nodes
      .flatMap((node) => [node, ...(node.anyOf ?? [])])
      .flatMap((node) => (typeof step === 'number' ? node.items : node.properties?.[step]) ?? []);
  }
  return nodes.flatMap((node) => Object.keys(node.properties ?? {}));
}
