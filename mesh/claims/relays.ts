/**
 * Who passes on whose claims. An origin serves its followers itself; where it does not get through, a follower shows
 * in its acks and summaries that it stays behind, and one of those who hold what it lacks begins to relay.
 *
 * All of them see that it is behind. So that not all send the same, each waits longer by two retry times for every
 * region that holds more than the follower and stands before it in a line that differs per origin and follower: one
 * for the relay to get through, one for the summary that shows it. Any progress of the follower starts the wait
 * again. A region that alone holds something begins after one retry time.
 */
import type { RegionNumber } from '#domain/region.ts';
import type { CoreState, OriginState } from './core-state.ts';
import { type Follower, type Followers, forgetSent, type Stream } from './followers.ts';
import { mayTellOf } from './granted.ts';

/** 2^32 divided by the golden ratio: neighbouring numbers end far apart. */
const MIXING_FACTOR = 0x9e3779b1;

export class Relays {
  readonly #state: CoreState;
  readonly #followers: Followers;

  constructor(state: CoreState, followers: Followers) {
    this.#state = state;
    this.#followers = followers;
  }

  /** Begins and ends relaying to this follower. To be called each second. */
  review(follower: Follower): void {
    if (!follower.following) return;
    for (const origin of this.#state.origins()) this.#reviewStream(follower, origin);
  }

  #reviewStream(follower: Follower, origin: OriginState): void {
    const stream = this.#followers.stream(follower, origin);
    if (!lags(stream, origin)) {
      stream.relaying = false;
      stream.stalledSinceMs = undefined;
      return;
    }
    stream.stalledSinceMs ??= this.#state.nowMs;
    const isOwn = origin.region === this.#state.self;
    const waitMs =
      this.#state.config.retryAfterMs * (isOwn ? 1 : 1 + 2 * this.#rank(follower, origin, stream));
    if (!this.#state.hasPassed(stream.stalledSinceMs, waitMs)) return;
    // What was told about exactness may have been lost, and nothing else would bring it again.
    stream.exactSent = 0;
    const isTaken = mayTellOf(this.#state.self, origin, this.#state.grants);
    if (isOwn || stream.relaying || !isTaken) return;
    forgetSent(stream);
    stream.relaying = true;
  }

  /** How many others could relay as well, and stand before us. */
  #rank(follower: Follower, origin: OriginState, stream: Stream): number {
    const link = (origin.region << 16) ^ follower.region;
    const place = (region: RegionNumber) => Math.imul(link ^ (region << 8), MIXING_FACTOR) >>> 0;
    let rank = 0;
    for (const other of this.#followers.all()) {
      if (other === follower || !other.linkUp || other.region === origin.region) continue;
      if (!mayTellOf(other.region, origin, this.#state.grants)) continue;
      const holdsMore = this.#followers.stream(other, origin).confirmed > stream.confirmed;
      if (holdsMore && place(other.region) < place(this.#state.self)) rank += 1;
    }
    return rank;
  }
}

/** The follower lacks claims that we hold, or the knowledge that what it holds is exact. */
function lags(stream: Stream, origin: OriginState): boolean {
  if (stream.confirmed < origin.have) return true;
  const exactHere = origin.have > 0 && origin.safe === origin.have;
  return exactHere && stream.confirmed === origin.have && stream.confirmedSafe < origin.safe;
}
