/**
 * Our claims, and others' where nobody else passes them on, to the regions that follow us. A region's own claims go
 * out the moment they are committed. A relay waits until the follower has lacked them for a while (`relays.ts`), so
 * that in a full mesh each claim crosses each link once.
 *
 * Followers that stand at the same place share one read of the store. What is sent and not confirmed stays within
 * the follower's credit; a single claim larger than all of it goes alone.
 */
import type { RegionNumber } from '#domain/region.ts';
import type { StoredClaim } from '#storage/metadata.ts';
import type { CoreState, OriginState } from './core-state.ts';
import { sizeOfStored } from './delta-check.ts';
import type { Follower, Followers, Stream } from './followers.ts';
import { originText } from './key-text.ts';
import type { DeltaMessage } from './message.ts';

/** A read of the store for every follower that stands at `after`. */
type SharedRead = {
  readonly origin: OriginState;
  readonly after: number;
  /** What we had when it was asked for: the claims hold at least all of it, unless they are cut. */
  readonly have: number;
  readonly followers: Set<RegionNumber>;
};

type ReadClaims = {
  readonly claims: readonly StoredClaim[];
  /** Cut by the limits of the read: claims that the store holds are missing behind the last one. */
  readonly cut: boolean;
};

type HeldRead = { readonly id: number; readonly afterQuestion: number; readonly read: ReadClaims };

export class Sending {
  readonly #state: CoreState;
  readonly #followers: Followers;
  readonly #reads = new Map<number, SharedRead>();
  /** Cut reads of our own claims that wait for commits to be answered, oldest first; see `#arrived`. */
  #held: readonly HeldRead[] = [];

  constructor(state: CoreState, followers: Followers) {
    this.#state = state;
    this.#followers = followers;
  }

  /** Sends what every follower wants of this origin. */
  grew(origin: OriginState): void {
    this.#followers.grew(origin);
    for (const follower of this.#followers.all()) this.#pump(follower, origin);
  }

  /** Sends what one follower wants: it asked, or returned credit. */
  resume(follower: Follower): void {
    for (const origin of this.#state.origins()) this.#pump(follower, origin);
  }

  /** To be called when an answer of the store came: a commit may have told what a held read waits for. */
  releaseHeld(): void {
    const isOpen = (held: HeldRead) => this.#state.hasOwnCommitSince(held.afterQuestion);
    const ready = this.#held.filter((held) => !isOpen(held));
    this.#held = this.#held.filter(isOpen);
    for (const { id, read } of ready) this.#deliver(id, read);
  }

  #pump(follower: Follower, origin: OriginState): void {
    const stream = this.#followers.stream(follower, origin);
    const wanted = origin.region === this.#state.self || stream.relaying;
    if (!follower.following || !wanted || stream.reading !== undefined || follower.blocked) return;
    if (stream.sent >= origin.have) {
      this.#tellExact(follower, origin);
      return;
    }
    if (this.#followers.unconfirmedBytes(follower) >= follower.creditBytes) return;
    stream.reading = this.#read(origin, stream.sent, follower.region);
  }

  /** The follower has everything, but does not know that this is all: our copy was not exact before. */
  #tellExact(follower: Follower, origin: OriginState): void {
    const stream = this.#followers.stream(follower, origin);
    const { region, epoch, have } = origin;
    if (have === 0 || origin.safe !== have || stream.sent !== have) return;
    if (!this.#state.mayTellExact(origin)) return;
    if (stream.confirmedSafe >= have || stream.exactSent >= have) return;
    this.#send(follower, stream, {
      region,
      epoch,
      from: have,
      to: have,
      head: have,
      exact: true,
      claims: [],
    });
  }

  #read(origin: OriginState, after: number, follower: RegionNumber): number {
    for (const [id, read] of this.#reads) {
      if (read.origin !== origin || read.after !== after) continue;
      read.followers.add(follower);
      return id;
    }
    const { deltaClaimsMax, deltaBytesMax } = this.#state.config;
    const { region, epoch, have } = origin;
    const range = { region, epoch, after, maxCount: deltaClaimsMax, maxBytes: deltaBytesMax };
    const id = this.#state.readRange(
      range,
      (claims) => this.#arrived(id, claims),
      () => this.#failed(id),
    );
    this.#reads.set(id, { origin, after, have, followers: new Set([follower]) });
    return id;
  }

  /**
   * A cut delta must name a head that is no older than the read: what it leaves out may have been replaced by any
   * claim up to there. While commits of ours are unanswered, that head is not known, and the delta waits for them.
   */
  #arrived(id: number, claims: readonly StoredClaim[]): void {
    const { deltaClaimsMax, deltaBytesMax } = this.#state.config;
    const sizeBytes = claims.reduce((sum, stored) => sum + sizeOfStored(stored), 0);
    // The byte limit is approximate; a store may stop one claim short of it.
    const cut = claims.length >= deltaClaimsMax || sizeBytes >= deltaBytesMax / 2;
    const afterQuestion = this.#state.lastQuestion;
    const isOwn = this.#reads.get(id)?.origin === this.#state.own;
    if (cut && isOwn && this.#state.hasOwnCommitSince(afterQuestion)) {
      this.#held = [...this.#held, { id, afterQuestion, read: { claims, cut } }];
      return;
    }
    this.#deliver(id, { claims, cut });
  }

  #deliver(id: number, claims: ReadClaims): void {
    const read = this.#reads.get(id);
    this.#reads.delete(id);
    if (read === undefined) return;
    for (const region of read.followers) {
      const follower = this.#followers.get(region);
      if (follower === undefined) continue;
      const stream = this.#followers.stream(follower, read.origin);
      if (stream.reading !== id) continue;
      stream.reading = undefined;
      this.#sendDelta({ follower, stream, read, claims });
      this.#pump(follower, read.origin);
    }
  }

  /** The store did not answer: the follower's stream goes on with the next claim or summary. */
  #failed(id: number): void {
    const read = this.#reads.get(id);
    this.#reads.delete(id);
    for (const region of read?.followers ?? []) {
      const stream = this.#followers.get(region)?.streams.get(originText(read?.origin ?? this.#state.own));
      if (stream?.reading === id) stream.reading = undefined;
    }
  }

  #sendDelta(given: {
    readonly follower: Follower;
    readonly stream: Stream;
    readonly read: SharedRead;
    readonly claims: ReadClaims;
  }): void {
    const { follower, stream, read } = given;
    const { origin } = read;
    const claims = this.#withinCredit(follower, given.claims.claims);
    if (claims.length === 0 && given.claims.claims.length > 0) {
      follower.blocked = true;
      return;
    }
    const complete = !given.claims.cut && claims.length === given.claims.claims.length;
    const to = Math.max(claims.at(-1)?.sequence ?? read.have, stream.sent);
    const isOwn = origin === this.#state.own;
    const isAll = isOwn ? to >= read.have : to === origin.safe && to === origin.have;
    const exact = complete && isAll && this.#state.mayTellExact(origin);
    const lastRead = given.claims.claims.at(-1)?.sequence ?? to;
    const head = exact ? to : Math.max(origin.head, origin.ceiling, lastRead, to);
    const { region, epoch } = origin;
    this.#send(follower, stream, { region, epoch, from: stream.sent, to, head, exact, claims });
  }

  #withinCredit(follower: Follower, claims: readonly StoredClaim[]): readonly StoredClaim[] {
    const unconfirmedBytes = this.#followers.unconfirmedBytes(follower);
    let leftBytes = follower.creditBytes - unconfirmedBytes;
    const fitting = claims.findIndex((stored) => {
      leftBytes -= sizeOfStored(stored);
      return leftBytes < 0;
    });
    if (fitting === -1) return claims;
    return claims.slice(0, unconfirmedBytes === 0 ? Math.max(fitting, 1) : fitting);
  }

  #send(follower: Follower, stream: Stream, delta: Omit<DeltaMessage, 'type'>): void {
    const sizeBytes = delta.claims.reduce((sum, stored) => sum + sizeOfStored(stored), 0);
    this.#state.emit({ output: 'send', to: follower.region, message: { type: 'delta', ...delta } });
    stream.sent = delta.to;
    if (delta.exact) stream.exactSent = delta.to;
    if (sizeBytes > 0) stream.inFlight.push({ to: delta.to, sizeBytes });
  }
}
