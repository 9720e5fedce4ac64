/**
 * What `fairway up` keeps on disk: below one data folder, the authority, the roster, and a folder per region with
 * everything that its process may open. After this set-up a region never looks outside of its own folder.
 *
 *   <data>/roster.json            mesh id; region → number, never reused; what regions were granted last
 *   <data>/authority/*.pem        the private authority; only the parent reads it
 *   <data>/<region>/node.yaml     NodeConfig, written anew at each start
 *   <data>/<region>/tls/*.pem     its key and certificate, and the authority's certificate
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { parseRegionNumber, type RegionName, type RegionNumber } from '#domain/region.ts';
import { REGION_ROLES } from '#mesh/membership/grant.ts';
import { createAuthority, issueCertificate } from '#mesh/transport/authority.ts';
import type { Address, RegionEntry } from '#node/config.ts';
import { randomId, systemRandom } from '#runtime/random.ts';

export type MeshRoster = {
  readonly meshId: string;
  readonly numbers: ReadonlyMap<RegionName, RegionNumber>;
  /** Regions of earlier runs that are not among those of this one. */
  readonly former: readonly RegionEntry[];
};

/** A region as it is asked for: its number is the roster's. */
export type NamedRegion = Omit<RegionEntry, 'number'>;

/** Leaf certificates of a mesh on one machine; renewal is `fairway mesh`'s matter. */
const CERTIFICATE_DAYS = 365;
const AUTHORITY_CERTIFICATE = 'authority.pem';
const rosterSchema = z.strictObject({
  meshId: z.string(),
  regions: z.record(z.string(), z.number()),
  granted: z
    .record(
      z.string(),
      z.strictObject({
        role: z.enum(REGION_ROLES),
        grant: z
          .strictObject({
            repositories: z.array(z.string()),
            policies: z.boolean(),
            accounts: z.boolean(),
            tokens: z.array(z.string()),
          })
          .optional(),
      }),
    )
    .default({}),
});

/** Reads the roster, or begins one; new names get the next free number. @throws Error when the folder cannot be written. */
export function openRoster(data: string, asked: readonly NamedRegion[]): MeshRoster {
  const names = asked.map(({ name }) => name);
  const file = join(data, 'roster.json');
  const known = existsSync(file)
    ? rosterSchema.parse(JSON.parse(readFileSync(file, 'utf8')))
    : { meshId: randomId(systemRandom), regions: {}, granted: {} };
  const numbers = new Map(
    Object.entries(known.regions).map(([name, number]) => [name as RegionName, parseRegionNumber(number)]),
  );
  for (const name of names) {
    if (!numbers.has(name)) numbers.set(name, parseRegionNumber(Math.max(0, ...numbers.values()) + 1));
  }
  const granted = {
    ...known.granted,
    ...Object.fromEntries(asked.map(({ name, role, grant }) => [name, { role, grant }])),
  };
  const roster = { meshId: known.meshId, regions: Object.fromEntries(numbers), granted };
  writeFileSync(file, `${JSON.stringify(roster, undefined, 2)}\n`);
  const former = [...numbers]
    .filter(([name]) => !names.includes(name))
    .map(([name, number]): RegionEntry => ({ name, number, role: 'core', ...granted[name] }));
  return { meshId: known.meshId, numbers, former };
}

/** Makes the authority and the certificates that are not there yet. */
export async function ensureCertificates(
  data: string,
  roster: MeshRoster,
  names: readonly RegionName[],
): Promise<void> {
  const authority = await ensureAuthority(join(data, 'authority'), roster.meshId);
  for (const region of names) {
    const folder = join(data, region, 'tls');
    const number = roster.numbers.get(region);
    if (number === undefined || existsSync(join(folder, 'key.pem'))) continue;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const issued = await issueCertificate(authority, {
      meshId: roster.meshId,
      region,
      number,
      hosts: ['localhost', '127.0.0.1'],
      days: CERTIFICATE_DAYS,
    });
    writeFileSync(join(folder, AUTHORITY_CERTIFICATE), authority.certificatePem);
    writeFileSync(join(folder, 'certificate.pem'), issued.certificatePem);
    writeFileSync(join(folder, 'key.pem'), issued.keyPem, { mode: 0o600 });
  }
}

async function ensureAuthority(folder: string, meshId: string) {
  const [certificate, key] = [join(folder, AUTHORITY_CERTIFICATE), join(folder, 'key.pem')];
  if (existsSync(key)) {
    return { certificatePem: readFileSync(certificate, 'utf8'), keyPem: readFileSync(key, 'utf8') };
  }
  const authority = await createAuthority({ meshId });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(certificate, authority.certificatePem);
  writeFileSync(key, authority.keyPem, { mode: 0o600 });
  return authority;
}

export type RegionFile = RegionEntry & {
  readonly listen: {
    readonly registry: Address;
    readonly management: Address;
    readonly mesh: Address;
    readonly peer: Address;
  };
  readonly peers: readonly (RegionEntry & { readonly mesh: Address; readonly peer: Address })[];
};

/** Writes a region's NodeConfig; paths in it are relative to its folder, so that the folder can be moved. */
export function writeNodeConfig(data: string, { meshId, former }: MeshRoster, region: RegionFile): string {
  const folder = join(data, region.name);
  const file = join(folder, 'node.yaml');
  const document = {
    apiVersion: 'fairway/v1',
    kind: 'NodeConfig',
    metadata: { name: region.name },
    spec: {
      meshId,
      number: region.number,
      role: region.role,
      ...(region.grant === undefined ? {} : { grant: region.grant }),
      data: '.',
      listen: {
        registry: addressText(region.listen.registry),
        management: addressText(region.listen.management),
        mesh: addressText(region.listen.mesh),
        peer: addressText(region.listen.peer),
      },
      tls: { authority: 'tls/authority.pem', certificate: 'tls/certificate.pem', key: 'tls/key.pem' },
      peers: region.peers.map((peer) => ({
        ...rosterEntry(peer),
        mesh: addressText(peer.mesh),
        peer: addressText(peer.peer),
      })),
      ...(former.length === 0 ? {} : { former: former.map(rosterEntry) }),
    },
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    file,
    `# Written by fairway up at each start.\n${stringify(document, { aliasDuplicateObjects: false })}`,
  );
  return file;
}

function rosterEntry({ name, number, role, grant }: RegionEntry) {
  return { name, number, role, ...(grant === undefined ? {} : { grant }) };
}

export function addressText(address: Address): string {
  return `${address.host}:${address.port}`;
}
