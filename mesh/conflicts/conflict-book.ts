/**
 * Tags in conflict: two regions moved one tag without seeing each other, one wins everywhere alike, and the other is
 * kept, pullable by digest. Here they are listed with both sides, and resolved to one of them: by a claim that covers
 * all sides, so that every region that hears of it shows the tag without a conflict.
 *
 * A list is what this region knows, and is made of claims alone: regions that know the same claims list the same.
 * Before a conflict is resolved the other regions are asked, because somebody may have settled it a moment ago.
 */
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestFromBytes } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import type { RepositoryName, Tag } from '#domain/name.ts';
import { type RequestContext, requestFields } from '#domain/request-context.ts';
import type { Claim } from '#mesh/claims/claim-codec.ts';
import { type KeyResolution, resolveStored } from '#mesh/claims/claim-view.ts';
import type { ClaimsDriver } from '#mesh/claims/driver.ts';
import type { Roster } from '#mesh/membership/roster.ts';
import type { TagObserver } from '#mesh/routing/tag-observer.ts';
import type { Log } from '#runtime/log.ts';
import { Gauge, type Registry } from '#runtime/metrics.ts';
import type { ClaimKey, ClaimRows, ViewRows } from '#storage/metadata.ts';

export type ConflictBookDeps = {
  readonly views: Pick<ViewRows, 'conflicts'>;
  readonly rows: Pick<ClaimRows, 'ofKeys'>;
  readonly claims: Pick<ClaimsDriver, 'write'>;
  readonly observer: Pick<TagObserver, 'look'>;
  readonly roster: Pick<Roster, 'nameOf' | 'grants'>;
  readonly log: Log;
  readonly metrics: Registry;
};

type TagName = { readonly repository: RepositoryName; readonly tag: Tag };
type Side = {
  readonly digest: Digest;
  readonly region: string;
  readonly principal: string;
  readonly changedMs: number;
  readonly wins: boolean;
};

/** More than this are shown as this many: whoever has them will not miss the exact number. */
const COUNTED_MAX = 10_000;
const COUNT_PAGE = 1_000;

export class ConflictBook {
  readonly #deps: ConflictBookDeps;

  constructor(deps: ConflictBookDeps) {
    this.#deps = deps;
    const count = async () => await this.#count();
    new Gauge({
      name: 'fairway_conflicts',
      help: `Tags that are in conflict, as far as this region knows; at most ${COUNTED_MAX}.`,
      registers: [deps.metrics],
      async collect() {
        this.set(await count());
      },
    });
  }

  /** Ordered by repository and tag, those after one. `next`: there may be more after this one. */
  async list(after: { readonly repository: string; readonly tag: string }, limit: number) {
    const { repository, tag: name } = after;
    const keys = await this.#deps.views.conflicts(CLAIM_KIND.tag, { repository, name }, limit);
    const stored = await this.#deps.rows.ofKeys(keys);
    // One may have been resolved since its view was read.
    const conflicts = stored
      .map(({ key, claims }) => this.#described(key, this.#resolved(key, claims)))
      .filter((conflict) => conflict !== undefined);
    const last = keys.length < limit ? undefined : keys.at(-1);
    if (last === undefined) return { conflicts };
    return { conflicts, next: { repository: last.repository, tag: last.name } };
  }

  /** `undefined`: the tag is in no conflict that this region knows of. */
  async find({ repository, tag }: TagName) {
    const key = { kind: CLAIM_KIND.tag, repository, name: tag };
    return this.#described(key, this.#resolved(key, await this.#storedOf(key)));
  }

  /**
   * `to`: the digest of a side, or its region's name. `undefined` when the tag is in no conflict, any longer.
   * @throws RegistryError (409) when `to` names none of the sides, or a region with several; UnavailableError.
   */
  async resolve({ repository, tag, to }: TagName & { readonly to: string }, context: RequestContext) {
    const { requestId, trace, principal, signal } = context;
    const key = { kind: CLAIM_KIND.tag, repository, name: tag };
    const seen = await this.#deps.observer.look([key], { requestId, trace, signal });
    const conflict = this.#described(key, this.#resolved(key, [...(await this.#storedOf(key)), ...seen]));
    if (conflict === undefined) return undefined;
    const digest = chosen(conflict.sides, to, `${repository}:${tag}`);
    const change = { change: 'set-tag', repository, tag, digest } as const;
    await this.#deps.claims.write([change], { principal, signal, seen });
    this.#deps.log.info('conflict resolved', { ...requestFields(context), repository, tag, digest });
    return { repository, tag, digest };
  }

  #resolved(key: ClaimKey, claims: readonly Uint8Array[]): KeyResolution {
    return resolveStored(claims, key, this.#deps.roster.grants);
  }

  async #storedOf(key: ClaimKey): Promise<readonly Uint8Array[]> {
    return (await this.#deps.rows.ofKeys([key])).flatMap(({ claims }) => claims);
  }

  /** A side whose digest this version cannot read is left out: it could not be pulled here either. */
  #described({ repository, name: tag }: ClaimKey, { conflict, standing, winner }: KeyResolution) {
    if (!conflict) return undefined;
    const sides = standing.toReversed().flatMap((claim) => this.#sideOf(claim, winner));
    const [, second] = sides.map(({ changedMs }) => changedMs).sort((a, b) => a - b);
    return { repository, tag, sinceMs: second ?? 0, sides };
  }

  #sideOf(claim: Claim, winner: Claim | undefined): readonly Side[] {
    const digest = digestFromBytes(claim.value);
    if (digest === undefined) return [];
    const region = this.#deps.roster.nameOf(claim.dot.region);
    return [{ digest, region, principal: claim.principal, changedMs: claim.time.ms, wins: claim === winner }];
  }

  async #count(): Promise<number> {
    let count = 0;
    let after = { repository: '', name: '' };
    while (count < COUNTED_MAX) {
      const page = await this.#deps.views.conflicts(CLAIM_KIND.tag, after, COUNT_PAGE);
      count += page.length;
      const last = page.at(-1);
      if (last === undefined || page.length < COUNT_PAGE) break;
      after = { repository: last.repository, name: last.name };
    }
    return count;
  }
}

function chosen(sides: readonly Side[], to: string, name: string): Digest {
  const digests = new Set(
    sides.filter(({ digest, region }) => digest === to || region === to).map(({ digest }) => digest),
  );
  const [digest] = digests;
  if (digest !== undefined && digests.size === 1) return digest;
  const listed = sides.map((side) => `${side.digest} of ${side.region}`).join(', ');
  const what = digests.size > 1 ? 'has several sides' : 'is no side';
  throw new RegistryError('DIGEST_INVALID', `${to} ${what} of the conflict of ${name}; there are ${listed}`, {
    status: 409,
  });
}
