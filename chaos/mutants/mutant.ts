/**
 * Small faults made by machine in a source file: one changed comparison, one dropped statement, two swapped operands.
 * `chaos/mutation.ts` has the faults that we thought of; these are the ones that nobody thought of.
 *
 * The source is parsed after its types were blanked out, which leaves every position where it was, so that a mutant is
 * a cut of the real text. Assertions are left alone: in a healthy core they never speak, and a mutant without one
 * could not be told from it.
 */
import assert from 'node:assert/strict';
import { stripTypeScriptTypes } from 'node:module';
import { type Node, parse } from 'acorn';

export type Mutant = {
  /** Below `mesh/claims/`. */
  readonly file: string;
  readonly line: number;
  readonly kind: MutantKind;
  /** Where the text is cut, in UTF-16 units; `end` is not included. */
  readonly start: number;
  readonly end: number;
  readonly was: string;
  readonly put: string;
};
export type MutantKind =
  | 'comparison'
  | 'logic'
  | 'arithmetic'
  | 'operands'
  | 'branches'
  | 'statement'
  | 'guard';

/** A node as the walk reads it: fields by name, whatever its type. */
type Tree = Node & Readonly<Record<string, unknown>>;
type Cut = Pick<Mutant, 'kind' | 'start' | 'end' | 'put'>;

const COMPARISONS: Readonly<Record<string, string>> = {
  '<': '<=',
  '<=': '<',
  '>': '>=',
  '>=': '>',
  '===': '!==',
  '!==': '===',
};
const ARITHMETIC: Readonly<Record<string, string>> = { '+': '-', '-': '+', '*': '+', '%': '*' };

/** Every mutant of a file, in the order of the text. */
export function mutantsOf(file: string, source: string): readonly Mutant[] {
  const text = stripTypeScriptTypes(source, { mode: 'strip' });
  assert.equal(text.length, source.length, `${file}: positions moved while types were blanked out`);
  const tree = parse(text, { ecmaVersion: 'latest', sourceType: 'module' }) as unknown as Tree;
  const cuts: Cut[] = [];
  walk(tree, (node) => cuts.push(...cutsOf(node, source)));
  return cuts
    .toSorted((a, b) => a.start - b.start || a.end - b.end)
    .map((cut) => ({
      file,
      line: source.slice(0, cut.start).split('\n').length,
      was: source.slice(cut.start, cut.end),
      ...cut,
    }));
}

/** @throws when the text is not the one that the mutant was made from. */
export function applied(source: string, { file, line, start, end, was, put }: Mutant): string {
  assert.equal(source.slice(start, end), was, `mesh/claims/${file}:${line} is not what it was`);
  return source.slice(0, start) + put + source.slice(end);
}

function walk(node: Tree, visit: (node: Tree) => void): void {
  if (isAssertion(node) || node.type === 'ImportDeclaration' || node.type === 'TemplateLiteral') return;
  visit(node);
  // What an error says is for people; whether it is thrown is for the tests.
  if (node.type === 'ThrowStatement') return;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isTree(child)) walk(child, visit);
  }
}

function cutsOf(node: Tree, source: string): readonly Cut[] {
  switch (node.type) {
    case 'BinaryExpression':
      return binaryCuts(node, source);
    case 'LogicalExpression':
      return node['operator'] === '??'
        ? []
        : [operatorCut(node, source, node['operator'] === '&&' ? '||' : '&&', 'logic')];
    case 'UnaryExpression':
      return node['operator'] === '!'
        ? [{ kind: 'logic', start: node.start, end: node.start + 1, put: '' }]
        : [];
    case 'ConditionalExpression':
      return [swapped(field(node, 'consequent'), field(node, 'alternate'), source, 'branches')];
    case 'CallExpression':
      return argumentCuts(node, source);
    case 'ExpressionStatement':
    case 'ContinueStatement':
      return [{ kind: 'statement', start: node.start, end: node.end, put: ';' }];
    case 'IfStatement':
      return node['alternate'] === null
        ? [{ kind: 'guard', start: node.start, end: node.end, put: ';' }]
        : [];
    default:
      return [];
  }
}

function binaryCuts(node: Tree, source: string): readonly Cut[] {
  const operator = String(node['operator']);
  const [left, right] = [field(node, 'left'), field(node, 'right')];
  const comparison = COMPARISONS[operator];
  if (comparison !== undefined) return [operatorCut(node, source, comparison, 'comparison')];
  const arithmetic = ARITHMETIC[operator];
  if (arithmetic === undefined || isText(left) || isText(right)) return [];
  const changed = operatorCut(node, source, arithmetic, 'arithmetic');
  return operator === '-' || operator === '%'
    ? [changed, swapped(left, right, source, 'operands')]
    : [changed];
}

/** A call with exactly two plain operands; with more, the types of neighbours differ too often to say something. */
function argumentCuts(node: Tree, source: string): readonly Cut[] {
  const [first, second, third] = node['arguments'] as readonly Tree[];
  if (first === undefined || second === undefined || third !== undefined) return [];
  const isPlain = ({ type }: Tree) => type === 'Identifier' || type === 'MemberExpression';
  return isPlain(first) && isPlain(second) ? [swapped(first, second, source, 'operands')] : [];
}

function operatorCut(node: Tree, source: string, put: string, kind: MutantKind): Cut {
  const operator = String(node['operator']);
  const start = source.indexOf(operator, field(node, 'left').end);
  return { kind, start, end: start + operator.length, put };
}

function swapped(left: Tree, right: Tree, source: string, kind: MutantKind): Cut {
  const between = source.slice(left.end, right.start);
  const put = source.slice(right.start, right.end) + between + source.slice(left.start, left.end);
  return { kind, start: left.start, end: right.end, put };
}

function isAssertion(node: Tree): boolean {
  if (node.type !== 'ExpressionStatement') return false;
  const expression = field(node, 'expression');
  if (expression.type !== 'CallExpression') return false;
  const callee = field(expression, 'callee');
  const named = callee.type === 'MemberExpression' ? field(callee, 'object') : callee;
  return named['name'] === 'assert';
}

function isText({ type, ...node }: Tree): boolean {
  return type === 'TemplateLiteral' || (type === 'Literal' && typeof node['value'] === 'string');
}

function field(node: Tree, name: string): Tree {
  const found = node[name];
  assert.ok(isTree(found), `${node.type} has no ${name}`);
  return found;
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && 'type' in value && 'start' in value;
}
