/**
 * What we know of each other region as a follower of ours: what it confirmed of each origin, and up to where we have
 * sent it. No queue: a slow follower costs these cursors, and the claims that it lacks are read when it has credit.
 */
import type { RegionNumber } from '#domain/region.ts';
import type { CoreState, OriginState } from './core-state.ts';
import { originText } from './key-text.ts';
import type { FollowMessage, OriginCursor } from './message.ts';

/** One origin's claims on their way to one follower. */
export type Stream = {
  /** What the follower said that it holds, by its follows, acks and summaries. */
  confirmed: number;
  confirmedSafe: number;
  /** The end of the last delta: the next one begins here. */
  sent: number;
  /** Where the last exact delta ended, so that exactness is told once. */
  exactSent: number;
  /** Unconfirmed deltas, oldest first: at most one per delta that the credit allows. */
  inFlight: { readonly to: number; readonly sizeBytes: number }[];
  /** The read whose claims are to be sent next. */
  reading: number | undefined;
  /** True while we pass on another origin's claims, since nobody else does. */
  relaying: boolean;
  /** Since when the follower has lacked something, without any progress. */
  stalledSinceMs: number | undefined;
  /** Since when it has lacked something at all; for the status. */
  behindSinceMs: number | undefined;
};

export type Follower = {
  readonly region: RegionNumber;
  /** We reached it, and its answers arrive. Says nothing of the link by which it reaches us. */
  linkUp: boolean;
  /** It asked for our claims. When its link to us breaks, it asks again by the next one; until then this stays. */
  following: boolean;
  creditBytes: number;
  /** The next claim is larger than what is left of its credit. */
  blocked: boolean;
  /** When we last asked it for claims. */
  askedMs: number;
  readonly streams: Map<string, Stream>;
};

/** A follower that allows more is not believed: this bounds what a process holds in its links. */
const CREDIT_BYTES_MAX = 16 * 1024 * 1024;

export class Followers {
  readonly #state: CoreState;
  readonly #followers: ReadonlyMap<RegionNumber, Follower>;

  constructor(state: CoreState) {
    this.#state = state;
    this.#followers = new Map(state.peers.map((region) => [region, newFollower(region)]));
  }

  all(): Iterable<Follower> {
    return this.#followers.values();
  }

  get(region: RegionNumber): Follower | undefined {
    return this.#followers.get(region);
  }

  stream(follower: Follower, origin: OriginState): Stream {
    const key = originText(origin);
    const stream = follower.streams.get(key) ?? newStream();
    follower.streams.set(key, stream);
    return stream;
  }

  /** Begins again at what the follower says that it has: whatever was in flight is taken for lost. */
  restart(follower: Follower, message: FollowMessage): void {
    const cursors = new Map(message.cursors.map((cursor) => [originText(cursor), cursor]));
    follower.following = true;
    follower.blocked = false;
    follower.creditBytes = Math.min(Math.max(message.creditBytes, 1), CREDIT_BYTES_MAX);
    for (const origin of this.#state.origins()) {
      const stream = this.stream(follower, origin);
      const cursor = cursors.get(originText(origin));
      const have = Math.min(cursor?.have ?? 0, origin.have);
      if (have !== stream.confirmed) stream.stalledSinceMs = undefined;
      stream.confirmed = have;
      stream.confirmedSafe = cursor?.safe ?? 0;
      forgetSent(stream);
      this.#note(stream, origin);
    }
  }

  /** From an ack or a summary: what it holds only grows. */
  confirm(follower: Follower, cursor: OriginCursor): void {
    const origin = this.#state.origin(cursor);
    if (origin === undefined) return;
    const stream = this.stream(follower, origin);
    if (cursor.have > stream.confirmed || cursor.safe > stream.confirmedSafe)
      stream.stalledSinceMs = undefined;
    stream.confirmed = Math.max(stream.confirmed, cursor.have);
    stream.confirmedSafe = Math.max(stream.confirmedSafe, cursor.safe);
    stream.inFlight = stream.inFlight.filter((delta) => delta.to > stream.confirmed);
    if (stream.sent < stream.confirmed) {
      stream.sent = stream.confirmed;
      stream.reading = undefined;
    }
    follower.blocked = false;
    this.#note(stream, origin);
  }

  /** The origin has grown: followers that lack it do so from now on. */
  grew(origin: OriginState): void {
    for (const follower of this.all()) this.#note(this.stream(follower, origin), origin);
  }

  unconfirmedBytes(follower: Follower): number {
    let sizeBytes = 0;
    for (const stream of follower.streams.values()) {
      for (const delta of stream.inFlight) sizeBytes += delta.sizeBytes;
    }
    return sizeBytes;
  }

  #note(stream: Stream, origin: OriginState): void {
    if (stream.confirmed >= origin.have) stream.behindSinceMs = undefined;
    else stream.behindSinceMs ??= this.#state.nowMs;
  }
}

export function forgetSent(stream: Stream): void {
  stream.sent = stream.confirmed;
  stream.exactSent = 0;
  stream.inFlight = [];
  stream.reading = undefined;
}

function newFollower(region: RegionNumber): Follower {
  return {
    region,
    linkUp: false,
    following: false,
    creditBytes: 0,
    blocked: false,
    askedMs: 0,
    streams: new Map(),
  };
}

function newStream(): Stream {
  return {
    confirmed: 0,
    confirmedSafe: 0,
    sent: 0,
    exactSent: 0,
    inFlight: [],
    reading: undefined,
    relaying: false,
    stalledSinceMs: undefined,
    behindSinceMs: undefined,
  };
}
