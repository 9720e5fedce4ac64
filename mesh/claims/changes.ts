/**
 * What a write means: from the changes of a push or a delete, and from all that is stored of their keys, the claims
 * to commit and the views that follow. A new claim's context covers everything that is stored for its key, visible
 * or not, and what that has covered; so it prevails everywhere, over older claims that have not arrived here too.
 *
 * The same holds for claims that other regions answered to a look before the write: the new claim covers them
 * although they are not stored here. One that arrives later finds itself covered by what is here already.
 *
 * A delete of what is not live mints nothing: there is nothing that it could remove.
 */

import type { IndexChange } from '#content/claim-writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestToBytes } from '#domain/digest.ts';
import { compareDots, type Dot, dotEquals } from '#domain/dot.ts';
import { UnavailableError } from '#domain/errors.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { parseManifest } from '#domain/manifest.ts';
import { encodeManifestSummary, summarizeManifest } from '#domain/manifest-summary.ts';
import type { ClaimBatch, ClaimKey, OwnClaim, StoredKey, ViewWrite } from '#storage/metadata.ts';
import { type Claim, type ClaimState, claimKeyOf, decodeClaim, encodeClaim } from './claim-codec.ts';
import { resolveKey } from './claim-view.ts';
import { type Grants, granted, isGranted } from './granted.ts';
import { keyText, originText } from './key-text.ts';

export type WritePlan = {
  readonly batch: ClaimBatch;
  /** What the last change found its key resolved to; `undefined` when nothing is stored for it. */
  readonly lastFound: Dot | undefined;
  /** Keys that are in conflict, and will not be after the commit. */
  readonly closed: readonly ClaimKey[];
};

export type WriteRequest = {
  readonly changes: readonly IndexChange[];
  readonly principal: string;
  /** Claims that other regions hold of these keys; those of other keys are not looked at. */
  readonly seen: readonly Uint8Array[];
  /** Region and epoch of new claims. */
  readonly origin: Pick<Dot, 'region' | 'epoch'>;
  readonly nowMs: number;
  readonly grants?: Grants | undefined;
};

/**
 * `stored` holds each key of the changes once.
 * @throws ClaimFormatError when a claim would be too large or a seen one is malformed, RegistryError when a manifest is none, UnavailableError
 * when what a change replaces is not what is there.
 */
export function planWrite(request: WriteRequest, stored: readonly StoredKey[]): WritePlan {
  const { grants } = request;
  const seen = seenByKey(request);
  const keys = new Map(stored.map((read) => [keyText(read.key), foundKey(read, seen, grants)]));
  const own: OwnClaim[] = [];
  const views = new Map<string, ViewWrite>();
  const closed: ClaimKey[] = [];
  let lastFound: Dot | undefined;
  for (const change of request.changes) {
    const key = keyOfChange(change);
    const found = keys.get(keyText(key));
    if (found === undefined) throw new Error(`the store did not answer for ${key.repository} ${key.name}`);
    const state: ClaimState = isDelete(change) ? 'deleted' : 'live';
    lastFound = found.dot;
    refuseIfReplaced(change, found);
    if (state === 'deleted' && !found.live) continue;
    const claim = draft({ key, state, value: encodedValue(change), context: found.context, request });
    own.push({ key, bytes: encodeClaim(claim) });
    found.live = state === 'live';
    if (found.conflict && !views.has(keyText(key))) closed.push(key);
    views.set(keyText(key), viewOfOwn(claim, own.length - 1));
  }
  const guards = stored
    .filter((read) => views.has(keyText(read.key)))
    .map(({ key, revision }) => ({ key, revision }));
  const batch = {
    guards,
    own,
    foreign: [],
    views: [...views.values()],
    cursors: [],
    observed: HYBRID_TIME_ZERO,
    manifests: request.changes.flatMap((change) =>
      change.change === 'add-manifest' ? [{ ...change.manifest, repository: change.repository }] : [],
    ),
    nowMs: request.nowMs,
  };
  return { batch, lastFound, closed };
}

export function keyOfChange(change: IndexChange): ClaimKey {
  switch (change.change) {
    case 'set-tag':
    case 'delete-tag':
      return { kind: CLAIM_KIND.tag, repository: change.repository, name: change.tag };
    case 'add-manifest':
      return { kind: CLAIM_KIND.manifest, repository: change.repository, name: change.manifest.digest };
    case 'delete-manifest':
      return { kind: CLAIM_KIND.manifest, repository: change.repository, name: change.digest };
    case 'set-policy':
      return { kind: CLAIM_KIND.policy, repository: '', name: change.name };
    case 'set-account':
      return { kind: CLAIM_KIND.account, repository: '', name: change.name };
    case 'set-key':
      return { kind: CLAIM_KIND.key, repository: '', name: change.name };
  }
}

type FoundKey = {
  /** Here or elsewhere: what is still shown here is deleted here, although another region has done so already. */
  live: boolean;
  readonly dot: Dot | undefined;
  /** As it is stored, and therefore shown. */
  readonly conflict: boolean;
  readonly context: readonly Dot[];
};

/** Of claims that do not count the new one covers what they are, but repeats nothing of what they say. */
function foundKey(read: StoredKey, seen: ReadonlyMap<string, SeenKey>, grants?: Grants): FoundKey {
  const decoded = read.claims.map(decodeClaim);
  const stored = granted(decoded, grants);
  const refused = decoded.filter((claim) => !isGranted(claim, grants)).map((claim) => claim.dot);
  const { claims = [], dots = [] } = seen.get(keyText(read.key)) ?? {};
  const here = resolveKey(stored);
  const { live, winner } = resolveKey([...stored, ...claims]);
  return {
    live: live || here.live,
    dot: winner?.dot,
    conflict: here.conflict,
    context: newestOf([...dotsOf(stored), ...refused, ...dots]),
  };
}

type SeenKey = { readonly claims: readonly Claim[]; readonly dots: readonly Dot[] };

/**
 * What others answered. Of our own origin nothing is taken from them: what is stored here is newer, and where it is
 * not, this region has lost writes, and a context that names them would make the new claim malformed.
 */
function seenByKey({ seen, origin, grants }: WriteRequest): ReadonlyMap<string, SeenKey> {
  const isOurs = (dot: Dot) => originText(dot) === originText(origin);
  const decoded = granted(seen.map(decodeClaim), grants).filter((claim) => !isOurs(claim.dot));
  const byKey = Map.groupBy(decoded, (claim) => keyText(claimKeyOf(claim)));
  return new Map(
    [...byKey].map(([key, claims]) => [key, { claims, dots: dotsOf(claims).filter((dot) => !isOurs(dot)) }]),
  );
}

/** Two edits of one account that did not know of each other must not become one that forgets the other. */
function refuseIfReplaced(change: IndexChange, { dot }: FoundKey): void {
  if (change.change !== 'set-account') return;
  const { replaces } = change;
  const isSame = dot === undefined || replaces === undefined ? dot === replaces : dotEquals(dot, replaces);
  if (!isSame) throw new UnavailableError(`${change.name} was changed by somebody else at the same time`);
}

/** Everything that these claims are and have seen. */
function dotsOf(claims: readonly Claim[]): readonly Dot[] {
  return claims.flatMap((claim) => [claim.dot, ...claim.context]);
}

/** Per origin and epoch the newest sequence, in the order of a context. */
function newestOf(dots: readonly Dot[]): readonly Dot[] {
  const newest = new Map<string, Dot>();
  for (const dot of dots) {
    const known = newest.get(originText(dot));
    if (known === undefined || known.sequence < dot.sequence) newest.set(originText(dot), dot);
  }
  return [...newest.values()].sort(compareDots);
}

function isDelete(change: IndexChange): boolean {
  if ('document' in change) return change.document === '';
  return change.change === 'delete-tag' || change.change === 'delete-manifest';
}

function encodedValue(change: IndexChange): Uint8Array {
  switch (change.change) {
    case 'set-tag':
      return digestToBytes(change.digest);
    case 'add-manifest': {
      const { bytes, mediaType } = change.manifest;
      return encodeManifestSummary(summarizeManifest(bytes.length, parseManifest(bytes, mediaType)));
    }
    case 'set-policy':
    case 'set-account':
    case 'set-key':
      return new TextEncoder().encode(change.document);
    case 'delete-tag':
    case 'delete-manifest':
      return new Uint8Array(0);
  }
}

type DraftFields = Pick<Claim, 'state' | 'value' | 'context'> & {
  readonly key: ClaimKey;
  readonly request: WriteRequest;
};

/** A second claim of one key in one write needs no entry for the first: it follows it in the same origin. */
function draft({ key, state, value, context, request }: DraftFields): Claim {
  const { region, epoch } = request.origin;
  return {
    ...key,
    state,
    value,
    context,
    dot: { region, epoch, sequence: 0 },
    time: HYBRID_TIME_ZERO,
    principal: request.principal,
  };
}

/** What covers everything stored is alone in its view. */
function viewOfOwn(claim: Claim, own: number): ViewWrite {
  const { kind, repository, name, value, principal } = claim;
  return {
    kind,
    repository,
    name,
    live: claim.state === 'live',
    value,
    winner: { own },
    principal,
    conflict: false,
  };
}
