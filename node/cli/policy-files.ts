/**
 * Policy files as `fairway policy` takes them: each checked by itself and beside the others, and sent as one text, so
 * that all of them are in force together or none is. What the server finds wrong is mapped back to file and line.
 */
import { readFileSync } from 'node:fs';
import { messageOf } from '#domain/errors.ts';
import type { PolicyDocument } from '#policies/model.ts';
import { duplicateProblems, parsePolicies } from '#policies/parse.ts';
import { resolvePolicies } from '#policies/policy-set.ts';
import { type PolicyProblem, PolicyProblems } from '#policies/problem.ts';
import { WrongCallError } from './exit.ts';

export type PolicyFile = { readonly file: string; readonly text: string };

export type CheckedFiles = {
  readonly policies: readonly (PolicyDocument & { readonly file: string })[];
  /** File after file, in the order of the call. */
  readonly problems: readonly PolicyProblem[];
};

/** Several files in one text; `place` finds the file that a line of it came from. */
export type JoinedFiles = {
  readonly file: string;
  readonly text: string;
  place(problem: PolicyProblem): PolicyProblem;
};

/** @throws WrongCallError when a file cannot be read. */
export function readPolicyFiles(files: readonly string[]): readonly PolicyFile[] {
  return files.map((file) => {
    try {
      return { file, text: readFileSync(file, 'utf8') };
    } catch (thrown) {
      throw new WrongCallError(`cannot read ${file}: ${messageOf(thrown)}`);
    }
  });
}

/** All that can be known without asking the mesh. */
export function checkPolicyFiles(files: readonly PolicyFile[]): CheckedFiles {
  const read = files.map(checkFile);
  const policies = read.flatMap((one) => one.policies);
  return {
    policies,
    problems: [
      ...read.flatMap((one) => one.problems),
      ...duplicateProblems(policies),
      ...resolvePolicies(policies, undefined).problems,
    ],
  };
}

/** The files must be without problems. */
export function joinPolicyFiles(files: readonly PolicyFile[]): JoinedFiles {
  const [only] = files;
  if (files.length === 1 && only !== undefined) return { ...only, place: (problem) => problem };
  const name = 'policies';
  const pieces = files.map(({ text }) => `${text.replace(/^\uFEFF/, '').replace(/\r?\n?$/, '\n')}...\n`);
  const lines = pieces.map((piece) => piece.split('\n').length - 1);
  return {
    file: name,
    text: pieces.join(''),
    place(problem) {
      if (problem.file !== name) return problem;
      let above = 0;
      for (const [position, { file }] of files.entries()) {
        const count = lines[position] ?? 0;
        if (problem.line <= above + count) return { ...problem, file, line: problem.line - above };
        above += count;
      }
      return problem;
    },
  };
}

function checkFile({ file, text }: PolicyFile): CheckedFiles {
  try {
    const { policies } = parsePolicies(text, file);
    return { policies: policies.map((policy) => ({ ...policy, file })), problems: [] };
  } catch (thrown) {
    if (thrown instanceof PolicyProblems) return { policies: [], problems: thrown.problems };
    throw thrown;
  }
}
