/**
 * The roster: which regions the operator says there are. It is what this process was configured with, checked once;
 * nothing is inferred from silence, and a region that is down stays in it. Whether a region can be reached now is
 * `Transport.links()`.
 */

import { parseRegionName, parseRegionNumber, type RegionName, type RegionNumber } from '#domain/region.ts';
import type { Grants } from '#mesh/claims/granted.ts';
import { compileGrant, type GrantText, type RegionRole } from './grant.ts';

declare const meshBrand: unique symbol;
/** Names one mesh for ever; regions of another are refused. It is the trust domain in the regions' certificates. */
export type MeshId = string & { readonly [meshBrand]: true };

export type RosterRegion = {
  readonly name: RegionName;
  readonly number: RegionNumber;
  readonly role: RegionRole;
  /** As it stands in the roster; absent where nothing is said. */
  readonly grant?: GrantText | undefined;
};

/** As it stands in a configuration, before it is checked. */
export type RosterConfig = {
  readonly meshId: string;
  /** The name of this process's own region, one of `regions`. */
  readonly self: string;
  /** At most 50: every core region has a link to every other. */
  readonly regions: readonly RosterEntry[];
  /** Regions that have left: what they wrote is held against what they were granted. */
  readonly former?: readonly RosterEntry[];
};

export type RosterGrants = Grants & {
  /** Number → grant, in a text that is another one when the grant is; of the regions that are limited. */
  limited(): Readonly<Record<string, string>>;
};

export type RosterEntry = {
  readonly name: string;
  readonly number: number;
  readonly role: RegionRole;
  /** Absent: a core region may originate everything, an edge nothing. */
  readonly grant?: GrantText | undefined;
};

const REGIONS_MAX = 50;
const MESH_ID = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** @throws TypeError with the rule, for the caller to place. */
export function parseMeshId(text: string): MeshId {
  if (MESH_ID.test(text)) return text as MeshId;
  throw new TypeError(
    `"${text}" is not a mesh id: up to 63 of a-z, 0-9 and "-", beginning with a letter or digit`,
  );
}

export class Roster {
  readonly meshId: MeshId;
  readonly self: RosterRegion;
  /** Ordered by number. */
  readonly regions: readonly RosterRegion[];
  /** What each of them may originate, and those that have left. */
  readonly grants: RosterGrants;
  readonly #byName: ReadonlyMap<string, RosterRegion>;
  readonly #byNumber: ReadonlyMap<number, RosterRegion>;
  readonly #formerNames: ReadonlyMap<number, string>;

  /** @throws TypeError that says which entry is wrong, for the caller to place. */
  constructor(config: RosterConfig) {
    this.meshId = parseMeshId(config.meshId);
    this.regions = config.regions
      .map(({ name, number, role, grant }) => ({
        name: parseRegionName(name),
        number: parseRegionNumber(number),
        role,
        ...(grant === undefined ? {} : { grant }),
      }))
      .sort((a, b) => a.number - b.number);
    refuseTooMany(this.regions);
    this.#byName = keyedOnce(this.regions, 'name');
    this.#byNumber = keyedOnce(this.regions, 'number');
    const self = this.#byName.get(config.self);
    if (self === undefined) throw new TypeError(`region "${config.self}" is not in its own roster`);
    this.self = self;
    this.#formerNames = new Map((config.former ?? []).map(({ number, name }) => [number, name]));
    this.grants = grantsOf([...(config.former ?? []), ...config.regions]);
  }

  /** Every region but this one, ordered by number. */
  get peers(): readonly RosterRegion[] {
    return this.regions.filter((region) => region !== this.self);
  }

  byName(name: string): RosterRegion | undefined {
    return this.#byName.get(name);
  }

  byNumber(number: number): RosterRegion | undefined {
    return this.#byNumber.get(number);
  }

  /** For people: the region's name, or `region 7` when the roster does not know the number (any longer). */
  nameOf(number: number): string {
    return this.#byNumber.get(number)?.name ?? this.#formerNames.get(number) ?? `region ${number}`;
  }
}

/** Where a number stands twice, the last counts: a region that came back is not what it was when it left. */
function grantsOf(entries: readonly RosterEntry[]): RosterGrants {
  const byNumber = new Map(
    entries.map(({ number, role, grant }) => [
      number,
      { isEdge: role === 'edge', grant: compileGrant(role, grant), text: limitText(role, grant) },
    ]),
  );
  return {
    of: (region) => byNumber.get(region)?.grant,
    isEdge: (region) => byNumber.get(region)?.isEdge ?? false,
    limited: () =>
      Object.fromEntries(
        [...byNumber].filter(([, { grant }]) => !grant.isWhole).map(([number, { text }]) => [number, text]),
      ),
  };
}

function limitText(role: RegionRole, grant: GrantText | undefined): string {
  const { repositories = [], policies = false, accounts = false, tokens = [] } = grant ?? {};
  return JSON.stringify({ role, repositories, policies, accounts, tokens });
}

function refuseTooMany(regions: readonly RosterRegion[]): void {
  if (regions.length <= REGIONS_MAX) return;
  throw new TypeError(`the roster has ${regions.length} regions; at most ${REGIONS_MAX} form a mesh`);
}

function keyedOnce<Key extends 'name' | 'number'>(
  regions: readonly RosterRegion[],
  key: Key,
): ReadonlyMap<RosterRegion[Key], RosterRegion> {
  const keyed = new Map<RosterRegion[Key], RosterRegion>();
  for (const region of regions) {
    if (keyed.has(region[key]))
      throw new TypeError(`two regions of the roster have the ${key} ${region[key]}`);
    keyed.set(region[key], region);
  }
  return keyed;
}
