/**
 * Who changed what, where and when: the claims of all regions in one line, the newest first.
 *
 * Each origin's claims are in order of sequence and of time, so they are read backwards, a window at a time, and
 * merged. A page ends when it is full, when it has looked at enough, or at the time that was asked for; its cursor
 * says for each origin where the next one goes on. Limit: of each name an origin keeps its newest claim, so what a
 * region did to a name before it did something else to it is not told.
 */
import { z } from 'zod';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestFromBytes } from '#domain/digest.ts';
import { versionText } from '#domain/dot.ts';
import { RegistryError } from '#domain/errors.ts';
import { compareHybridTimes } from '#domain/hybrid-time.ts';
import {
  type Epoch,
  parseEpoch,
  parseRegionNumber,
  type RegionName,
  type RegionNumber,
} from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Change, ChangeLog, ChangePage, ChangeQuery } from '#http/views.ts';
import { type Claim, decodeClaim } from '#mesh/claims/claim-codec.ts';
import { type Grants, isGranted } from '#mesh/claims/granted.ts';
import { compileSelection } from '#policies/select.ts';
import type { ClaimRows } from '#storage/metadata.ts';

export type ClaimLogDeps = {
  readonly claims: Pick<ClaimRows, 'origin' | 'cursors' | 'range'>;
  readonly nameOf: (region: number) => string;
  /** Absent: no region is limited. */
  readonly grants?: Grants;
};

/** Sequence numbers that are read at once; few, as small manifests are read along with their claims. */
const WINDOW = 200;
const WINDOW_BYTES_MAX = 1024 * 1024;
/** Windows of all origins for one page: some hundred milliseconds of reading. */
const WINDOWS_MAX = 100;

const cursorSchema = z.array(z.tuple([z.number(), z.string(), z.number().int().min(0)])).max(1000);
const KIND_NAMES = new Map<number, string>(Object.entries(CLAIM_KIND).map(([name, kind]) => [kind, name]));

type Position = { readonly region: RegionNumber; readonly epoch: Epoch; readonly top: number };

export class ClaimLog implements ChangeLog {
  readonly #deps: ClaimLogDeps;

  constructor(deps: ClaimLogDeps) {
    this.#deps = deps;
  }

  async read(query: ChangeQuery, context: RequestContext): Promise<ChangePage> {
    const positions = query.cursor === undefined ? await this.#heads() : parseCursor(query.cursor);
    const budget = { windows: WINDOWS_MAX };
    const origins = positions.map((position) => new Backwards(this.#deps.claims, position, budget));
    const isWanted = filterOf(query, this.#deps.grants);
    const changes: Change[] = [];
    while (changes.length < query.limit) {
      context.signal.throwIfAborted();
      for (const origin of origins) await origin.prepare();
      // Without the next claim of each origin it is not known which one is the newest.
      if (origins.some((origin) => origin.isCut)) break;
      const latest = latestOf(origins);
      if (latest?.next === undefined || latest.next.time.ms < query.sinceMs) return { changes };
      const claim = latest.take();
      if (isWanted(claim)) changes.push(this.#changeOf(claim));
    }
    return { changes, next: cursorText(origins) };
  }

  /** Of every origin that this region knows, and up to where. */
  async #heads(): Promise<readonly Position[]> {
    const { claims } = this.#deps;
    const [own, others] = await Promise.all([claims.origin(), claims.cursors()]);
    return [
      { region: own.region, epoch: own.epoch, top: own.sequence },
      ...others.map(({ region, epoch, have }) => ({ region, epoch, top: have })),
    ];
  }

  #changeOf(claim: Claim): Change {
    const { kind, state, dot, time, repository, name, principal, value } = claim;
    const region = this.#deps.nameOf(dot.region);
    const isTag = kind === CLAIM_KIND.tag && state === 'live';
    return {
      atMs: time.ms,
      region,
      who: principal,
      kind: KIND_NAMES.get(kind) ?? `kind ${kind}`,
      change: state === 'live' ? 'set' : 'deleted',
      repository,
      name,
      digest: (isTag ? digestFromBytes(value) : undefined) ?? '',
      version: versionText(region as RegionName, dot),
      refused: !isGranted(claim, this.#deps.grants),
    };
  }
}

/** One origin's claims from its newest to its oldest. */
class Backwards {
  readonly #claims: ClaimLogDeps['claims'];
  readonly #origin: Omit<Position, 'top'>;
  readonly #budget: { windows: number };
  /** Of the window that was read; the newest is the last. */
  readonly #read: Claim[] = [];
  /** Everything up to here is not read yet. */
  #top: number;

  constructor(claims: ClaimLogDeps['claims'], { top, ...origin }: Position, budget: { windows: number }) {
    this.#claims = claims;
    this.#origin = origin;
    this.#top = top;
    this.#budget = budget;
  }

  /** The newest that was not taken; present after `prepare`, unless there is none or the budget is used up. */
  get next(): Claim | undefined {
    return this.#read.at(-1);
  }

  /** True when there may be more, but the budget for reading it is used up. */
  get isCut(): boolean {
    return this.next === undefined && this.#top > 0;
  }

  get position(): Position {
    return { ...this.#origin, top: this.next?.dot.sequence ?? this.#top };
  }

  async prepare(): Promise<void> {
    while (this.isCut && this.#budget.windows > 0) await this.#readWindow();
  }

  take(): Claim {
    const claim = this.#read.pop();
    if (claim === undefined) throw new Error('nothing was prepared');
    return claim;
  }

  /** A window may take several reads where large manifests ride along; all of it, as its end is what is wanted. */
  async #readWindow(): Promise<void> {
    const top = this.#top;
    const bottom = Math.max(0, top - WINDOW);
    for (let after = bottom; after < top; ) {
      this.#budget.windows -= 1;
      const range = { ...this.#origin, after, maxCount: WINDOW, maxBytes: WINDOW_BYTES_MAX };
      const stored = await this.#claims.range(range);
      const inWindow = stored.filter(({ sequence }) => sequence <= top);
      this.#read.push(...inWindow.map(({ bytes }) => decodeClaim(bytes)));
      if (inWindow.length === 0 || inWindow.length < stored.length) break;
      after = stored.at(-1)?.sequence ?? top;
    }
    this.#top = bottom;
  }
}

function latestOf(origins: readonly Backwards[]): Backwards | undefined {
  return origins
    .filter((origin) => origin.next !== undefined)
    .reduce<Backwards | undefined>((latest, origin) => {
      if (latest?.next === undefined || origin.next === undefined) return latest ?? origin;
      return compareHybridTimes(origin.next.time, latest.next.time) > 0 ? origin : latest;
    }, undefined);
}

function filterOf(
  { repository, who, refused }: ChangeQuery,
  grants: Grants | undefined,
): (claim: Claim) => boolean {
  const selects =
    repository === undefined ? undefined : compileSelection({ repositories: [repository] }).repository;
  return (claim) =>
    (who === undefined || claim.principal === who) &&
    (refused !== true || !isGranted(claim, grants)) &&
    (selects === undefined || (claim.repository !== '' && selects(claim.repository)));
}

function cursorText(origins: readonly Backwards[]): string {
  const positions = origins.map(({ position: { region, epoch, top } }) => [region, epoch, top]);
  return Buffer.from(JSON.stringify(positions)).toString('base64url');
}

function parseCursor(text: string): readonly Position[] {
  try {
    const json: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    return cursorSchema
      .parse(json)
      .map(([region, epoch, top]) => ({ region: parseRegionNumber(region), epoch: parseEpoch(epoch), top }));
  } catch (cause) {
    throw new RegistryError('UNSUPPORTED', 'the cursor is none of this log', { status: 400, cause });
  }
}
