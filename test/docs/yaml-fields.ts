/** The fields that a configuration or policy in YAML sets, as the tables of the documentation name them. */
import { parseAllDocuments } from 'yaml';

/** `spec.peers[].name`: below `metadata` and `spec`, in order; a list of texts or numbers is one field. */
export function fieldsOf(yaml: string): readonly string[] {
  const { metadata, spec } = (parseAllDocuments(yaml)[0]?.toJS() ?? {}) as Record<string, unknown>;
  return [...new Set(leaves({ metadata, spec }, ''))].sort();
}

function leaves(value: unknown, path: string): readonly string[] {
  if (Array.isArray(value)) {
    const isListOfMaps = value.every((item) => typeof item === 'object');
    return isListOfMaps ? value.flatMap((item) => leaves(item, `${path}[]`)) : [path];
  }
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, path === '' ? key : `${path}.${key}`));
}
