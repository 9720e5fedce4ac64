/**
 * How policies are written: one strict schema a kind. A key that stands in no schema is an error, so that a
 * misspelt or unsupported key can never be silently without effect.
 *
 * The same schemas make `schema.json` for editors; descriptions here are what an editor shows. What only
 * `parse.ts` can check (globs, names) is said in words there.
 */
import { z } from 'zod';
import { parseRepositoryName } from '#domain/name.ts';
import { parseRegionName, type RegionName } from '#domain/region.ts';
import type { GlobOf } from './glob.ts';
import { API_VERSION, type PolicyKind } from './model.ts';
import { isExclusion, patternFault } from './select.ts';
import {
  DURATION_EXPECTED,
  DURATION_PATTERN,
  parseDuration,
  parseSize,
  SIZE_EXPECTED,
  SIZE_PATTERN,
} from './units.ts';

const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/;
const NAME_EXPECTED = 'a name of up to 63 lower-case letters, digits, "-" and "."';

const name = z.string().regex(NAME, `expected ${NAME_EXPECTED}`);

const select = z
  .strictObject({
    repositories: patterns('repository').describe(
      'Globs of repositories; "!" excludes: ["prod/**", "!prod/secret/**"].',
    ),
    tags: patterns('tag').optional().describe('Globs of tags; "!" excludes. Default: all tags.'),
  })
  .describe('The images that this policy is about.');

const regionName = z.string().transform((text, context): RegionName => {
  try {
    return parseRegionName(text);
  } catch {
    context.issues.push({ code: 'custom', input: text, message: 'expected a region name, such as eu-west' });
    return z.NEVER;
  }
});

const replicationPolicy = document(
  'ReplicationPolicy',
  z.strictObject({
    select,
    to: z
      .strictObject({
        regions: z
          .union([z.literal('all'), z.array(regionName).min(1)])
          .describe('"all", or a list of region names.'),
        except: z.array(regionName).optional().describe('Regions that are left out.'),
      })
      .describe('Where the images must be whole.'),
    suspend: z
      .boolean()
      .optional()
      .describe('True: nothing is copied until this is removed. Default: false.'),
  }),
).describe('Images that are copied to regions and kept whole there.');

const proxyCache = document(
  'ProxyCache',
  z.strictObject({
    serve: z.strictObject({
      prefix: z
        .string()
        .check((context) => {
          if (isRepositoryName(context.value)) return;
          const message = 'expected a repository name without "/" at its ends, such as hub or mirrors/hub';
          context.issues.push({ code: 'custom', input: context.value, message });
        })
        .describe('Repositories below this name are served from the upstreams.'),
    }),
    upstreams: z
      .array(name)
      .min(1)
      .refine((list) => new Set(list).size === list.length, 'a name stands here twice')
      .describe('Names of UpstreamRegistry policies, asked in this order.'),
    freshness: z
      .strictObject({
        timeToLive: duration()
          .optional()
          .describe('How long a cached tag is answered unasked. Default: 10m.'),
        whenDown: z
          .enum(['stale', 'fail'])
          .optional()
          .describe('When no upstream answers: serve what is cached, or fail. Default: stale.'),
      })
      .optional(),
    keep: z
      .strictObject({
        perRegion: size().describe('How much of the cache each region keeps, such as 500GiB or 2TiB.'),
        evict: z
          .enum(['leastRecentlyUsed'])
          .optional()
          .describe('What goes first when there is more. Default: leastRecentlyUsed.'),
      })
      .optional()
      .describe('Default: everything is kept.'),
  }),
).describe('A prefix of repositories that is a cache of other registries.');

const fromEnv = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'expected the name of an environment variable')
  .optional()
  .describe('Name of an environment variable of each node.');
const fromFile = z
  .string()
  .regex(/^\/./, 'expected an absolute path')
  .optional()
  .describe('Absolute path of a file on each node.');

const upstreamRegistry = document(
  'UpstreamRegistry',
  z.strictObject({
    url: z
      .string()
      .check((context) => {
        const message = urlFault(context.value);
        if (message !== undefined) context.issues.push({ code: 'custom', input: context.value, message });
      })
      .describe('https://host[:port], without credentials and path.'),
    credentials: z
      .strictObject({
        username: z
          .strictObject({ value: z.string().min(1).optional(), fromEnv, fromFile })
          .check((context) => exactlyOne(context, 'value, fromEnv and fromFile')),
        password: z
          .strictObject({ fromEnv, fromFile })
          .check((context) => exactlyOne(context, 'fromEnv and fromFile')),
      })
      .optional()
      .describe('Where each region finds its user name and password. Default: anonymous.'),
  }),
).describe('A registry outside of the mesh.');

export const POLICY_SCHEMAS = {
  ReplicationPolicy: replicationPolicy,
  ProxyCache: proxyCache,
  UpstreamRegistry: upstreamRegistry,
} as const satisfies Record<PolicyKind, z.ZodType>;

/** The JSON Schema of one document of any kind, for editors. */
export function jsonSchema(): Readonly<Record<string, unknown>> {
  const schema = z.toJSONSchema(
    z.discriminatedUnion('kind', [replicationPolicy, proxyCache, upstreamRegistry]),
    {
      io: 'input',
    },
  );
  return { ...schema, title: `Fairway policy, ${API_VERSION}` };
}

function document<Kind extends PolicyKind, Spec extends z.ZodType>(kind: Kind, spec: Spec) {
  return z.strictObject({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal(kind),
    metadata: z.strictObject({ name: name.describe('Unique among the policies of its kind.') }),
    spec,
  });
}

function patterns(of: GlobOf) {
  const pattern = z.string().check((context) => {
    const fault = patternFault(context.value, of);
    if (fault === undefined) return;
    const message = `${JSON.stringify(context.value)} is not a glob of a ${of}: ${fault}`;
    context.issues.push({ code: 'custom', input: context.value, message });
  });
  return z
    .array(pattern)
    .min(1)
    .refine((list) => list.length === 0 || list.some((one) => !isExclusion(one)), {
      error: 'only exclusions, so nothing is selected: add "**" to select everything else',
    });
}

function duration() {
  return z
    .string()
    .regex(DURATION_PATTERN, `expected ${DURATION_EXPECTED}`)
    .refine((text) => !DURATION_PATTERN.test(text) || parseDuration(text) !== undefined, {
      error: 'expected at most ten years',
    });
}

function size() {
  return z
    .string()
    .regex(SIZE_PATTERN, `expected ${SIZE_EXPECTED}`)
    .refine((text) => !SIZE_PATTERN.test(text) || parseSize(text) !== undefined, {
      error: 'expected less than 8PiB',
    });
}

function isRepositoryName(text: string): boolean {
  try {
    parseRepositoryName(text);
    return true;
  } catch {
    return false;
  }
}

/** The message never repeats the address, because it may contain a password. */
function urlFault(text: string): string | undefined {
  if (!URL.canParse(text) || !/^https?:\/\//.test(text)) {
    return 'expected an address such as https://registry-1.docker.io';
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    return 'secrets never travel: credentials do not stand in an address, see "spec.credentials"';
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || /[?#]/.test(text)) {
    return 'expected scheme, host and port only, such as https://registry.example:5000';
  }
  return undefined;
}

function exactlyOne(context: z.core.ParsePayload<Readonly<Record<string, unknown>>>, sources: string): void {
  const given = Object.values(context.value).filter((source) => source !== undefined);
  if (given.length === 1 || context.issues.length > 0) return;
  context.issues.push({
    code: 'custom',
    input: context.value,
    message: `expected exactly one of ${sources}`,
  });
}
