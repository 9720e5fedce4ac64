/**
 * Policy text to policies: everything that is wrong is found in one go, each problem with its line and column.
 *
 * A text is all right or refused as a whole. What can only be judged beside the other policies in force is
 * `policy-set.ts`'s matter.
 */
import { z } from 'zod';
import {
  API_VERSION,
  type DocumentHead,
  POLICY_KINDS,
  type PolicyBody,
  type PolicyDocument,
  type PolicyKind,
  type SecretSource,
} from './model.ts';
import { isKindOfLaterVersion } from './not-supported.ts';
import { comparePlaces, type Place, type PolicyProblem, PolicyProblems } from './problem.ts';
import { POLICY_SCHEMAS } from './schema.ts';
import { schemaProblems } from './schema-problem.ts';
import { compileSelection } from './select.ts';
import { suggest } from './suggest.ts';
import { parseDuration, parseSize } from './units.ts';
import { readYaml, type YamlDocument } from './yaml-text.ts';

/** A policy travels as one claim, whose limit is 64 KiB with everything around it. */
const DOCUMENT_BYTES_MAX = 60 * 1024;
/** All policies of a text are written in one transaction. */
const DOCUMENTS_MAX = 1000;
/** Nobody mends more at a time, and a text made to have many would make a large answer. */
const PROBLEMS_MAX = 100;
const TIME_TO_LIVE_DEFAULT = '10m';

/**
 * @param file stands in the problems; nothing is read from it.
 * @throws PolicyProblems with every problem (the first 100), in the order of the text. A text without any policy is one, too.
 */
export function parsePolicies(text: string, file: string): { readonly policies: readonly PolicyDocument[] } {
  const { documents, problems: syntax } = readYaml(text, file);
  const read = documents.map(readDocument);
  const problems = [
    ...syntax,
    ...read.flatMap((one) => one.problems),
    ...duplicateProblems(read.flatMap((one) => one.head ?? [])),
  ];
  const top: Place = { file, line: 1, column: 1 };
  if (documents.length > DOCUMENTS_MAX) {
    problems.push({ ...top, message: `${documents.length} policies; at most ${DOCUMENTS_MAX} at once` });
  }
  if (documents.length === 0 && problems.length === 0) {
    problems.push({ ...top, message: 'there is no policy in this text' });
  }
  if (problems.length > 0) throw new PolicyProblems(problems.toSorted(comparePlaces).slice(0, PROBLEMS_MAX));
  return { policies: read.flatMap((one) => one.policy ?? []) };
}

/** A kind and name that stands twice, in one text or in several that are meant together. */
export function duplicateProblems(
  heads: readonly (Pick<DocumentHead, 'name' | 'place'> & { readonly kind: string })[],
): readonly PolicyProblem[] {
  const first = new Map<string, Place>();
  return heads.flatMap((head): readonly PolicyProblem[] => {
    const key = `${head.kind}/${head.name}`;
    const place = head.place(['metadata', 'name']);
    const earlier = first.get(key);
    if (earlier === undefined) first.set(key, place);
    if (earlier === undefined) return [];
    const there = `${earlier.file}:${earlier.line}:${earlier.column}`;
    return [{ ...place, message: `${key} stands twice; the other one is at ${there}` }];
  });
}

type ReadDocument = {
  readonly problems: readonly PolicyProblem[];
  readonly head?: { readonly kind: string; readonly name: string; readonly place: DocumentHead['place'] };
  readonly policy?: PolicyDocument;
};

function readDocument(document: YamlDocument): ReadDocument {
  const root = isMap(document.value) ? document.value : undefined;
  if (root === undefined) {
    return {
      problems: [
        {
          ...document.place([]),
          message: 'expected a policy: a map with apiVersion, kind, metadata and spec',
        },
      ],
    };
  }
  const kind = root['kind'];
  if (!isPolicyKind(kind)) return { problems: [kindProblem(root, document)] };
  const result = POLICY_SCHEMAS[kind].safeParse(root);
  const name = isMap(root['metadata']) ? root['metadata']['name'] : undefined;
  const head = typeof name === 'string' ? { kind, name, place: document.place } : undefined;
  if (!result.success) {
    const schema = () => z.toJSONSchema(POLICY_SCHEMAS[kind], { io: 'input' });
    const problems = schemaProblems(result.error.issues, { kind, document, schema });
    return { problems, ...(head === undefined ? {} : { head }) };
  }
  const policy = policyOf(result.data, document);
  const sizeBytes = Buffer.byteLength(policy.text);
  const problems: readonly PolicyProblem[] =
    sizeBytes > DOCUMENT_BYTES_MAX
      ? [
          {
            ...document.place([]),
            message: `this policy has ${sizeBytes} bytes; at most ${DOCUMENT_BYTES_MAX}`,
          },
        ]
      : [];
  return { problems, policy, ...(head === undefined ? {} : { head }) };
}

function kindProblem(root: Readonly<Record<string, unknown>>, document: YamlDocument): PolicyProblem {
  const kind = root['kind'];
  const expected = `one of ${POLICY_KINDS.join(', ')}`;
  if (kind === undefined)
    return { ...document.place([]), message: `missing key "kind"; expected ${expected}`, expected };
  const place = document.place(['kind']);
  if (typeof kind !== 'string') return { ...place, message: `"kind": expected ${expected}`, expected };
  if (isKindOfLaterVersion(kind)) {
    return {
      ...place,
      message: `kind ${kind} is not supported by this version; expected ${expected}`,
      expected,
    };
  }
  const meant = suggest(kind, POLICY_KINDS);
  const hint = meant === undefined ? `expected ${expected} (${API_VERSION})` : `did you mean ${meant}?`;
  return { ...place, message: `unknown kind ${JSON.stringify(kind.slice(0, 80))}; ${hint}`, expected };
}

type Parsed = { [Kind in PolicyKind]: z.output<(typeof POLICY_SCHEMAS)[Kind]> }[PolicyKind];

function policyOf(parsed: Parsed, document: YamlDocument): PolicyDocument {
  return { name: parsed.metadata.name, text: document.text, place: document.place, ...bodyOf(parsed) };
}

function bodyOf(parsed: Parsed): PolicyBody {
  const { name } = parsed.metadata;
  switch (parsed.kind) {
    case 'ReplicationPolicy': {
      const { select, to, suspend } = parsed.spec;
      return {
        kind: parsed.kind,
        settings: {
          name,
          selection: compileSelection(select),
          to: { regions: to.regions, except: to.except ?? [] },
          suspend: suspend ?? false,
        },
      };
    }
    case 'ProxyCache': {
      const { serve, upstreams, freshness, keep } = parsed.spec;
      const timeToLiveMs = parseDuration(freshness?.timeToLive ?? TIME_TO_LIVE_DEFAULT) ?? 0;
      return {
        kind: parsed.kind,
        settings: {
          name,
          prefix: serve.prefix,
          upstreams,
          freshness: { timeToLiveMs, whenDown: freshness?.whenDown ?? 'stale' },
          ...(keep === undefined ? {} : { keep: { perRegionBytes: parseSize(keep.perRegion) ?? 0 } }),
        },
      };
    }
    case 'UpstreamRegistry': {
      const { url, credentials } = parsed.spec;
      const settings = { name, url: url.replace(/\/$/, '') };
      if (credentials === undefined) return { kind: parsed.kind, settings };
      const { username, password } = credentials;
      return {
        kind: parsed.kind,
        settings: { ...settings, credentials: { username: secret(username), password: secret(password) } },
      };
    }
  }
}

type SecretText = {
  readonly value?: string | undefined;
  readonly fromEnv?: string | undefined;
  readonly fromFile?: string | undefined;
};

/** The schema saw to it that exactly one is given. */
function secret({ value, fromEnv, fromFile }: SecretText): SecretSource {
  if (value !== undefined) return { value };
  return fromEnv === undefined ? { file: fromFile ?? '' } : { env: fromEnv };
}

function isPolicyKind(kind: unknown): kind is PolicyKind {
  return POLICY_KINDS.some((known) => known === kind);
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
