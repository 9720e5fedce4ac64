/**
 * Configuration: the only reader of environment and configuration files.
 *
 * A node is described by a `kind: NodeConfig` document, a mesh on one machine by `kind: MeshConfig`. Both are YAML,
 * parsed like policies, with file, line and column in every error. Flag over `FAIRWAY_*` over file over default.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { parseRegionName, parseRegionNumber, type RegionName, type RegionNumber } from '#domain/region.ts';
import { type GrantText, REGION_ROLES, type RegionRole, tokenScopeFault } from '#mesh/membership/grant.ts';
import type { SecretSource } from '#policies/model.ts';
import { patternFault } from '#policies/select.ts';
import type { LogLevel } from '#runtime/log.ts';
import { parseConfigDocument } from './config-document.ts';

export type Address = { readonly host: string; readonly port: number };

export type NodeConfig = {
  readonly meshId: string;
  readonly region: RegionEntry;
  /** The region's own folder; no other process may use it. */
  readonly data: string;
  readonly registry: Address;
  readonly management: Address;
  /** gRPC between regions, mutual TLS. */
  readonly mesh: Address;
  /** Blobs between regions, HTTPS with mutual TLS. */
  readonly peer: Address;
  /** PEM files. */
  readonly tls: { readonly authority: string; readonly certificate: string; readonly key: string };
  readonly peers: readonly PeerConfig[];
  /** Regions that have left the mesh; what they wrote stays, as far as they were granted it. */
  readonly former: readonly RegionEntry[];
  /** Certificates by which clients reach the registry and the management API. Absent: plain HTTP. */
  readonly https: {
    readonly registry?: CertificateFiles | undefined;
    readonly management?: CertificateFiles | undefined;
  };
  /** Serve the registry and the management API without TLS on an address that others may reach. */
  readonly insecurePlainHttp: boolean;
  readonly gc: GarbageConfig;
  /**
   * An nginx in front of the registry may send blobs itself, from our files: where its internal location begins that
   * has the blob folder. Absent: bytes always come from us.
   */
  readonly accelRedirect?: { readonly location: string };
  /** Whom a tag write asks first what it is about to replace: every region that can be reached, or none. */
  readonly observe: 'mesh' | 'local';
  readonly log: LogLevel;
};

/** A region as the roster has it. */
export type RegionEntry = {
  readonly name: RegionName;
  readonly number: RegionNumber;
  /** Default `core`. */
  readonly role: RegionRole;
  /** Default: everything for a core region, nothing for an edge. */
  readonly grant?: GrantText | undefined;
};

/** PEM files; the certificate's has the chain behind it. Read again when they change. */
export type CertificateFiles = { readonly certificate: string; readonly key: string };

/** When and what garbage collection removes. */
export type GarbageConfig = {
  /** Between two runs, in ms; give or take a tenth. Default one hour. */
  readonly intervalMs: number;
  /**
   * How long what nothing refers to is kept after its last use, in ms. Default one day: longer than a push takes from
   * its first blob to its manifest, and long enough to see that something was deleted by mistake.
   */
  readonly graceMs: number;
};

/** How this node reaches another region. */
export type PeerConfig = RegionEntry & {
  readonly mesh: Address;
  readonly peer: Address;
};

export type MeshConfig = {
  readonly regions: readonly Omit<RegionEntry, 'number'>[];
  readonly links: readonly LinkConfig[];
};

/** The pretended distance between two regions, the same both ways. */
export type LinkConfig = {
  readonly between: readonly [RegionName, RegionName];
  /** Added round trip in ms; 0 adds none. */
  readonly rttMs: number;
  /** Megabits per second each way; 0 is unlimited. */
  readonly mbps: number;
};

const region = z.string().transform((text, context) => checked(() => parseRegionName(text), context));
const number = z.number().transform((value, context) => checked(() => parseRegionNumber(value), context));
const address = z
  .string()
  .regex(/^(?:[^:\s]+|\[[0-9a-f:]+\]):\d{1,5}$/, 'expected host:port')
  .transform((text) => {
    const colon = text.lastIndexOf(':');
    return { host: text.slice(0, colon).replaceAll(/[[\]]/g, ''), port: Number(text.slice(colon + 1)) };
  });
const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|::1|localhost)$/;
const apiVersion = z.literal('fairway/v1');

const faultless = (fault: (text: string) => string | undefined) =>
  z.string().superRefine((text, context) => {
    const message = fault(text);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
const role = z.enum(REGION_ROLES).default('core');
/** What is left out of a grant is not granted. */
const grant = z
  .strictObject({
    repositories: z.array(faultless((text) => patternFault(text, 'repository'))).default([]),
    policies: z.boolean().default(false),
    accounts: z.boolean().default(false),
    tokens: z.array(faultless(tokenScopeFault)).default([]),
  })
  .optional();
const certificateFiles = z.strictObject({ certificate: z.string().min(1), key: z.string().min(1) });

/** Longer timers than this do not exist. */
const TIMER_MS_MAX = 2_147_483_647;
const garbageSchema = z.strictObject({
  intervalMs: z.number().int().min(1000).max(TIMER_MS_MAX).default(3_600_000),
  graceMs: z.number().int().min(0).default(86_400_000),
});

const nodeSchema = z.strictObject({
  apiVersion,
  kind: z.literal('NodeConfig'),
  metadata: z.strictObject({ name: region }),
  spec: z.strictObject({
    meshId: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'expected up to 63 of a-z, 0-9 and "-"'),
    number,
    role,
    grant,
    data: z.string().min(1),
    listen: z.strictObject({ registry: address, management: address, mesh: address, peer: address }),
    tls: z.strictObject({ authority: z.string(), certificate: z.string(), key: z.string() }),
    peers: z
      .array(z.strictObject({ name: region, number, role, grant, mesh: address, peer: address }))
      .default([]),
    former: z.array(z.strictObject({ name: region, number, role, grant })).default([]),
    https: z
      .strictObject({ registry: certificateFiles.optional(), management: certificateFiles.optional() })
      .prefault({}),
    insecurePlainHttp: z.boolean().default(false),
    gc: garbageSchema.prefault({}),
    accelRedirect: z
      .strictObject({
        location: z
          .string()
          .regex(/^\/[A-Za-z0-9._-]+\/$/, 'expected a path of one part, as "/fairway-blobs/"'),
      })
      .optional(),
    observe: z.enum(['mesh', 'local']).default('mesh'),
    log: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  }),
});

const meshSchema = z.strictObject({
  apiVersion,
  kind: z.literal('MeshConfig'),
  metadata: z.strictObject({ name: z.string() }),
  spec: z.strictObject({
    regions: z
      .array(z.strictObject({ name: region, role, grant }))
      .min(1)
      .max(99),
    links: z
      .array(
        z.strictObject({
          between: z.tuple([region, region]),
          rttMs: z.number().min(0).max(10_000).default(0),
          mbps: z.number().min(0).max(100_000).default(0),
        }),
      )
      .default([]),
  }),
});

/**
 * Paths inside the file are relative to its folder. `FAIRWAY_LOG` overrides the level.
 * @throws PolicyProblems with file, line and column; Error when the file cannot be read.
 */
export function readNodeConfig(file: string): NodeConfig {
  const { metadata, spec } = parseConfigDocument(readConfigFile(file), file, nodeSchema);
  for (const port of ['registry', 'management'] as const) {
    const { host } = spec.listen[port];
    if (spec.insecurePlainHttp || spec.https[port] !== undefined || LOOPBACK.test(host)) continue;
    throw new Error(
      `${file}: spec.listen.${port} is ${host}, which others may reach, and it would speak plain HTTP there: name ` +
        `certificate and key in spec.https.${port}, listen on 127.0.0.1 behind a proxy with TLS, or say ` +
        'spec.insecurePlainHttp: true',
    );
  }
  const folder = dirname(resolve(file));
  const inFolder = (path: string) => resolve(folder, path);
  const filesInFolder = (files: CertificateFiles | undefined) =>
    files && { certificate: inFolder(files.certificate), key: inFolder(files.key) };
  return {
    meshId: spec.meshId,
    region: { name: metadata.name, number: spec.number, role: spec.role, grant: spec.grant },
    data: inFolder(spec.data),
    ...spec.listen,
    tls: {
      authority: inFolder(spec.tls.authority),
      certificate: inFolder(spec.tls.certificate),
      key: inFolder(spec.tls.key),
    },
    peers: spec.peers,
    former: spec.former,
    https: {
      registry: filesInFolder(spec.https.registry),
      management: filesInFolder(spec.https.management),
    },
    insecurePlainHttp: spec.insecurePlainHttp,
    gc: spec.gc,
    ...(spec.accelRedirect === undefined ? {} : { accelRedirect: spec.accelRedirect }),
    observe: spec.observe,
    log: nodeSchema.shape.spec.shape.log.catch(spec.log).parse(process.env['FAIRWAY_LOG'] ?? spec.log),
  };
}

/** @throws PolicyProblems; Error when the file cannot be read, or a link names no region of the file. */
export function readMeshConfig(file: string): MeshConfig {
  const { spec } = parseConfigDocument(readConfigFile(file), file, meshSchema);
  const names = spec.regions.map((entry) => entry.name);
  const twice = names.find((name, position) => names.indexOf(name) !== position);
  if (twice !== undefined) throw new Error(`${file}: region ${twice} is listed twice`);
  for (const { between } of spec.links) {
    const unknown = between.find((name) => !names.includes(name));
    if (unknown !== undefined)
      throw new Error(`${file}: a link names ${unknown}, which is no region of this file`);
  }
  return { regions: spec.regions, links: spec.links };
}

function readConfigFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new Error(`cannot read ${file}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

/** The value of a secret in this region. @throws Error naming the variable or file that is missing. */
export function resolveSecret(source: SecretSource): string {
  if ('value' in source) return source.value;
  if ('file' in source) return readConfigFile(source.file).trimEnd();
  const value = process.env[source.env];
  if (value === undefined)
    throw new Error(`the environment variable ${source.env} is not set in this region`);
  return value;
}

/** The management token given by the environment, for `fairway --server`. */
export function tokenFromEnvironment(): string | undefined {
  return process.env['FAIRWAY_TOKEN'];
}

function checked<Value>(parse: () => Value, context: z.RefinementCtx): Value {
  try {
    return parse();
  } catch (cause) {
    context.addIssue({ code: 'custom', message: cause instanceof Error ? cause.message : String(cause) });
    return z.NEVER;
  }
}
