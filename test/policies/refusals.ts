/**
 * Texts that the policy language refuses, each with exactly the problems that are told, at their lines and columns.
 */

export type Refusal = { readonly what: string; readonly text: string; readonly problems: readonly string[] };

export const REPLICATION = `apiVersion: fairway/v1
kind: ReplicationPolicy
metadata: {name: prod}
spec:
`;
export const PROXY = `apiVersion: fairway/v1
kind: ProxyCache
metadata: {name: hub}
spec:
`;
export const UPSTREAM = `apiVersion: fairway/v1
kind: UpstreamRegistry
metadata: {name: hub}
spec:
`;

export const SYNTAX_REFUSALS: readonly Refusal[] = [
  { what: 'an empty text', text: '', problems: ['f.yaml:1:1: there is no policy in this text'] },
  {
    what: 'comments only',
    text: '# a\n---\n# b\n',
    problems: ['f.yaml:1:1: there is no policy in this text'],
  },
  {
    what: 'a list',
    text: '\n- 1\n',
    problems: ['f.yaml:2:1: expected a policy: a map with apiVersion, kind, metadata and spec'],
  },
  {
    what: 'a tab',
    text: 'a:\n\tb: 1\n',
    problems: ['f.yaml:2:1: not YAML: Tabs are not allowed as indentation'],
  },
  {
    what: 'a duplicate key',
    text: `${UPSTREAM}  url: https://a\n  url: https://b\n`,
    problems: ['f.yaml:6:3: key "url" stands here twice'],
  },
  {
    what: 'a key that is no text',
    text: `${UPSTREAM}  url: https://a\n  5: x\n`,
    problems: ['f.yaml:6:3: a key must be a text'],
  },
  {
    what: 'an exclusion without quotes',
    text: `${REPLICATION}  select: {repositories: [a/**, !a/b]}\n  to: {regions: all}\n`,
    problems: ['f.yaml:5:33: a text that begins with "!" must stand in quotes, or else it is a YAML tag'],
  },
  {
    what: 'a wildcard without quotes',
    text: `${REPLICATION}  select:\n    repositories:\n      - **\n  to: {regions: all}\n`,
    problems: [
      'f.yaml:7:9: an alias (**) is not supported: write the value out, and quote a glob that begins with "*"',
    ],
  },
  {
    what: 'YAML 1.1',
    text: `%YAML 1.1\n---\n${UPSTREAM}  url: https://a\n`,
    problems: ['f.yaml:2:1: only YAML 1.2 is understood: remove the %YAML line'],
  },
  {
    what: 'a bomb of closed brackets',
    text: `${'{a: '.repeat(500)}1${'}'.repeat(500)}`,
    problems: ['f.yaml:1:1: nested too deeply; at most 32 levels'],
  },
  {
    what: 'a text that is too long',
    text: `# ${'x'.repeat(256 * 1024)}`,
    problems: ['f.yaml:1:1: the text is longer than 256 KiB: split it'],
  },
];

export const KIND_REFUSALS: readonly Refusal[] = [
  {
    what: 'a document without a kind',
    text: 'a: 1\n',
    problems: [
      'f.yaml:1:1: missing key "kind"; expected one of ReplicationPolicy, ProxyCache, UpstreamRegistry',
    ],
  },
  {
    what: 'a misspelt kind',
    text: 'kind: ReplicatonPolicy\n',
    problems: ['f.yaml:1:7: unknown kind "ReplicatonPolicy"; did you mean ReplicationPolicy?'],
  },
  {
    what: 'a kind of somebody else',
    text: 'apiVersion: v1\nkind: Deployment\n',
    problems: [
      'f.yaml:2:7: unknown kind "Deployment"; expected one of ReplicationPolicy, ProxyCache, UpstreamRegistry (fairway/v1)',
    ],
  },
  {
    what: 'a kind of a later version',
    text: 'apiVersion: fairway/v1\nkind: SyncPolicy\n',
    problems: [
      'f.yaml:2:7: kind SyncPolicy is not supported by this version; expected one of ReplicationPolicy, ProxyCache, UpstreamRegistry',
    ],
  },
  {
    what: 'another version, no metadata, an empty spec',
    text: 'apiVersion: fairway/v2\nkind: ReplicationPolicy\nspec:\n',
    problems: [
      'f.yaml:1:1: missing key "metadata"',
      'f.yaml:1:13: "apiVersion": expected "fairway/v1", got "fairway/v2"; did you mean "fairway/v1"?',
      'f.yaml:3:1: "spec": expected a map, got nothing',
    ],
  },
  {
    what: 'a bad name',
    text: `${UPSTREAM.replace('hub', 'Hub_1')}  url: https://a\n`,
    problems: [
      'f.yaml:3:18: "metadata.name": expected a name of up to 63 lower-case letters, digits, "-" and "."',
    ],
  },
  {
    what: 'a name that stands twice',
    text: `${UPSTREAM}  url: https://a\n---\n${UPSTREAM}  url: https://b\n`,
    problems: ['f.yaml:9:18: UpstreamRegistry/hub stands twice; the other one is at f.yaml:3:18'],
  },
  {
    what: 'keys that every object has',
    text: `${UPSTREAM}  url: https://a\ntoString: 1\n__proto__: {a: 1}\n`,
    problems: [
      'f.yaml:6:1: unknown key "toString"; expected one of apiVersion, kind, metadata, spec',
      'f.yaml:7:1: unknown key "__proto__"; expected one of apiVersion, kind, metadata, spec',
    ],
  },
];

export const REPLICATION_REFUSALS: readonly Refusal[] = [
  {
    what: 'a misspelt key, and the one that is missing for it',
    text: `${REPLICATION}  select:\n    repositores: ["a"]\n  to: {regions: all}\n`,
    problems: [
      'f.yaml:5:3: missing key "spec.select.repositories"',
      'f.yaml:6:5: unknown key "spec.select.repositores"; did you mean "repositories"?',
    ],
  },
  {
    what: 'keys of a later version',
    text: `${REPLICATION}  select: {repositories: ["a"], platforms: [linux/amd64], tags: {semver: ">1"}}
  to: {regions: all}
  copies: {min: 2}
  limits: {perLink: 200Mbit}
  rollout: {canary: eu-west}
`,
    problems: [
      'f.yaml:5:33: key "spec.select.platforms" is not supported by this version',
      'f.yaml:5:65: "spec.select.tags": tags by semver, newest or platform are not supported by this version: use globs',
      'f.yaml:7:3: key "spec.copies" is not supported by this version',
      'f.yaml:8:3: key "spec.limits" is not supported by this version',
      'f.yaml:9:3: key "spec.rollout" is not supported by this version',
    ],
  },
  {
    what: 'one region without a list',
    text: `${REPLICATION}  select: {repositories: ["a"]}\n  to: {regions: eu-west}\n`,
    problems: ['f.yaml:6:17: "spec.to.regions": expected "all" or a list, got a text'],
  },
  {
    what: 'regions that are none',
    text: `${REPLICATION}  select: {repositories: ["a"]}\n  to:\n    regions: [eu-west, EU, 5]\n    except: all\n`,
    problems: [
      'f.yaml:7:24: "spec.to.regions[1]": expected a region name, such as eu-west',
      'f.yaml:7:28: "spec.to.regions[2]": expected a text, got 5',
      'f.yaml:8:13: "spec.to.except": expected a list, got a text',
    ],
  },
  {
    what: 'no regions at all',
    text: `${REPLICATION}  select: {repositories: ["a"]}\n  to: {regions: []}\n---\n${REPLICATION.replace('prod', 'other')}  select: {repositories: ["a"]}\n  to: {}\n`,
    problems: [
      'f.yaml:6:17: "spec.to.regions": expected at least one',
      'f.yaml:13:3: missing key "spec.to.regions"',
    ],
  },
  {
    what: 'suspend by another word',
    text: `${REPLICATION}  select: {repositories: ["a"]}\n  to: {regions: all}\n  suspend: yes\n`,
    problems: ['f.yaml:7:12: "spec.suspend": expected true or false, got a text'],
  },
  {
    what: 'lists without inclusions',
    text: `${REPLICATION}  select: {repositories: [], tags: ["!a", "!b"]}\n  to: {regions: all}\n`,
    problems: [
      'f.yaml:5:26: "spec.select.repositories": expected at least one',
      'f.yaml:5:36: "spec.select.tags": only exclusions, so nothing is selected: add "**" to select everything else',
    ],
  },
  {
    what: 'a glob that would mean something else',
    text: `${REPLICATION}  select:\n    repositories:\n      - prod**\n      - "!{a}"\n  to: {regions: all}\n`,
    problems: [
      'f.yaml:7:9: "spec.select.repositories[0]": "prod**" is not a glob of a repository: "**" must be a whole part, as in "prod/**" or "**/web"',
      'f.yaml:8:9: "spec.select.repositories[1]": "!{a}" is not a glob of a repository: braces need two or more alternatives, closed and not nested: "{one,other}"',
    ],
  },
];

export const PROXY_REFUSALS: readonly Refusal[] = [
  {
    what: 'a proxy without anything',
    text: `${PROXY}  serve: {}\n`,
    problems: ['f.yaml:4:1: missing key "spec.upstreams"', 'f.yaml:5:3: missing key "spec.serve.prefix"'],
  },
  {
    what: 'a prefix, durations and choices that are none',
    text: `${PROXY}  serve: {prefix: Hub/}
  upstreams: [hub, hub]
  freshness:
    timeToLive: 10
    whenDown: stael
    never: ["v*"]
`,
    problems: [
      'f.yaml:5:19: "spec.serve.prefix": expected a repository name without "/" at its ends, such as hub or mirrors/hub',
      'f.yaml:6:14: "spec.upstreams": a name stands here twice',
      'f.yaml:8:17: "spec.freshness.timeToLive": expected a duration such as 90s, 10m, 1h30m or 7d',
      'f.yaml:9:15: "spec.freshness.whenDown": expected "stale" or "fail", got "stael"; did you mean "stale"?',
      'f.yaml:10:5: key "spec.freshness.never" is not supported by this version',
    ],
  },
  {
    what: 'durations in the wrong words',
    text: `${PROXY}  serve: {prefix: hub}\n  upstreams: [hub]\n  freshness: {timeToLive: 10 minutes}\n---\n${PROXY.replace('hub', 'two')}  serve: {prefix: two}\n  upstreams: [hub]\n  freshness: {timeToLive: 9999999d}\n`,
    problems: [
      'f.yaml:7:27: "spec.freshness.timeToLive": expected a duration such as 90s, 10m, 1h30m or 7d',
      'f.yaml:15:27: "spec.freshness.timeToLive": expected at most ten years',
    ],
  },
  {
    what: 'a cache that keeps no size, something else than the last used, or pins',
    text: `${PROXY}  serve: {prefix: hub}
  upstreams: [hub]
  keep:
    perRegion: 2TB of it
    evict: oldest
    pin: ["library/*"]
    perZone: 1GiB
---
${PROXY.replace('hub', 'two')}  serve: {prefix: two}
  upstreams: [hub]
  keep: {perRegion: 9PiB}
---
${PROXY.replace('hub', 'three')}  serve: {prefix: three}
  upstreams: [hub]
  keep: {evict: leastRecentlyUsed}
`,
    problems: [
      'f.yaml:8:16: "spec.keep.perRegion": expected a size such as 500GiB or 2TiB',
      'f.yaml:9:12: "spec.keep.evict": expected "leastRecentlyUsed", got "oldest"',
      'f.yaml:10:5: key "spec.keep.pin" is not supported by this version',
      'f.yaml:11:5: unknown key "spec.keep.perZone"; expected one of perRegion, evict',
      'f.yaml:19:21: "spec.keep.perRegion": expected less than 8PiB',
      'f.yaml:27:3: missing key "spec.keep.perRegion"',
    ],
  },
];

export const UPSTREAM_REFUSALS: readonly Refusal[] = [
  {
    what: 'an address without a scheme',
    text: `${UPSTREAM}  url: docker.io\n`,
    problems: ['f.yaml:5:8: "spec.url": expected an address such as https://registry-1.docker.io'],
  },
  {
    what: 'an address with a path',
    text: `${UPSTREAM}  url: https://registry.example/v2/\n`,
    problems: [
      'f.yaml:5:8: "spec.url": expected scheme, host and port only, such as https://registry.example:5000',
    ],
  },
  {
    what: 'a password as a text',
    text: `${UPSTREAM}  url: https://a\n  credentials: {username: me, password: TOPSECRET}\n`,
    problems: [
      'f.yaml:6:27: "spec.credentials.username": say {value: NAME}, {fromEnv: VARIABLE} or {fromFile: PATH}',
      'f.yaml:6:41: "spec.credentials.password": secrets never travel: say {fromEnv: VARIABLE} or {fromFile: PATH}',
    ],
  },
  {
    what: 'a password as a value',
    text: `${UPSTREAM}  url: https://a\n  credentials:\n    username: {value: me}\n    password: {value: TOPSECRET}\n`,
    problems: [
      'f.yaml:8:16: "spec.credentials.password.value": secrets never travel: use fromEnv or fromFile',
    ],
  },
  {
    what: 'a password in the address',
    text: `${UPSTREAM}  url: https://me:TOPSECRET@a\n`,
    problems: [
      'f.yaml:5:8: "spec.url": secrets never travel: credentials do not stand in an address, see "spec.credentials"',
    ],
  },
  {
    what: 'credentials from nowhere, from everywhere, from a bad place, by reference',
    text: `${UPSTREAM}  url: https://a
  credentials:
    username: {}
    password: {fromEnv: A, fromFile: /b}
---
${UPSTREAM.replace('hub', 'two')}  url: https://a
  credentials:
    username: {fromFile: relative}
    password: {fromEnv: not-a-name}
---
${UPSTREAM.replace('hub', 'three')}  url: https://a
  credentials: {secretRef: x}
`,
    problems: [
      'f.yaml:7:15: "spec.credentials.username": expected exactly one of value, fromEnv and fromFile',
      'f.yaml:8:15: "spec.credentials.password": expected exactly one of fromEnv and fromFile',
      'f.yaml:16:26: "spec.credentials.username.fromFile": expected an absolute path',
      'f.yaml:17:25: "spec.credentials.password.fromEnv": expected the name of an environment variable',
      'f.yaml:24:3: missing key "spec.credentials.username"',
      'f.yaml:24:3: missing key "spec.credentials.password"',
      'f.yaml:24:17: key "spec.credentials.secretRef" is not supported by this version',
    ],
  },
];
