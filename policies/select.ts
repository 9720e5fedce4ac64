/**
 * Which images a policy is about: globs of repositories and of tags, each list with `!` exclusions. A name is
 * selected when at least one inclusion matches and no exclusion does; the order in the list means nothing, so that
 * nobody can undo an exclusion by adding a line below it.
 */
import { compileGlob, type GlobOf, globFault } from './glob.ts';

/** Compiled once, when the policy is read. */
export type Selection = {
  repository(name: string): boolean;
  tag(name: string): boolean;
};

/** Lists without faults; absent tags mean all. */
export type SelectionText = {
  readonly repositories: readonly string[];
  readonly tags?: readonly string[] | undefined;
};

export function compileSelection(text: SelectionText): Selection {
  return {
    repository: compilePatterns(text.repositories),
    tag: text.tags === undefined ? () => true : compilePatterns(text.tags),
  };
}

/** Why the pattern is none; `undefined` when it is one. */
export function patternFault(pattern: string, of: GlobOf): string | undefined {
  return globFault(isExclusion(pattern) ? pattern.slice(1) : pattern, of);
}

export function isExclusion(pattern: string): boolean {
  return pattern.startsWith('!');
}

function compilePatterns(patterns: readonly string[]): (name: string) => boolean {
  const included = patterns.filter((pattern) => !isExclusion(pattern)).map(compileGlob);
  const excluded = patterns.filter(isExclusion).map((pattern) => compileGlob(pattern.slice(1)));
  return (name) => included.some((matches) => matches(name)) && !excluded.some((matches) => matches(name));
}
