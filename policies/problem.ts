/**
 * What is wrong with a policy, and where: every problem has a file, a line and a column (both from 1), so that an
 * editor can jump to it and a person can mend all of them in one go.
 */
export type Place = { readonly file: string; readonly line: number; readonly column: number };

export type PolicyProblem = Place & {
  /** Complete by itself; never contains a value that may be a secret. */
  readonly message: string;
  /** What could have stood there, for tools; the message says it too. */
  readonly expected?: string;
};

/** The document is wrong; holds every problem that was found, in the order of the text. */
export class PolicyProblems extends Error {
  readonly problems: readonly PolicyProblem[];

  constructor(problems: readonly PolicyProblem[]) {
    super(problems.map(problemText).join('\n'));
    this.name = 'PolicyProblems';
    this.problems = problems;
  }
}

/** `file:line:column: message`, the form that editors and compilers agree on. */
export function problemText(problem: PolicyProblem): string {
  return `${problem.file}:${problem.line}:${problem.column}: ${problem.message}`;
}

export function comparePlaces(a: Place, b: Place): number {
  return a.line - b.line || a.column - b.column;
}
