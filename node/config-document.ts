/**
 * One configuration document: YAML text and a schema to a checked value, with file, line and column in every error,
 * in the same words as the policies'.
 */
import type { z } from 'zod';
import type { DocumentPath } from '#policies/model.ts';
import { type PolicyProblem, PolicyProblems } from '#policies/problem.ts';
import { readYaml, type YamlDocument } from '#policies/yaml-text.ts';

/** @throws PolicyProblems with every problem of the text. */
export function parseConfigDocument<Schema extends z.ZodType>(
  text: string,
  file: string,
  schema: Schema,
): z.output<Schema> {
  const { documents, problems } = readYaml(text, file);
  const [document, second] = documents;
  const top = { file, line: 1, column: 1 };
  if (problems.length > 0) throw new PolicyProblems(problems);
  if (document === undefined) throw new PolicyProblems([{ ...top, message: 'the file is empty' }]);
  if (second !== undefined) {
    throw new PolicyProblems([{ ...second.place([]), message: 'a configuration file holds one document' }]);
  }
  const result = schema.safeParse(document.value);
  if (result.success) return result.data;
  throw new PolicyProblems(result.error.issues.flatMap((issue) => problemsOf(issue, document)));
}

function problemsOf(issue: z.core.$ZodIssue, document: YamlDocument): readonly PolicyProblem[] {
  const path = issue.path as DocumentPath;
  if (issue.code !== 'unrecognized_keys') {
    return [{ ...document.place(path), message: `"${path.join('.')}": ${issue.message}` }];
  }
  return issue.keys.map((key) => ({
    ...document.placeOfKey([...path, key]),
    message: `unknown key "${[...path, key].join('.')}"`,
  }));
}
