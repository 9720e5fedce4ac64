/**
 * What we allow ourselves towards one host: so many requests at a time, none while it told us to wait, and none for
 * a few seconds after it failed several times in a row, so that a dead upstream costs nothing but an error.
 *
 * Questions (manifests, tokens) and blobs have places of their own, so that slow downloads never hold up a tag.
 * Refusals are immediate and say when to ask again: whoever fills has other sources, and whoever waits for a client
 * must not add a pause to it. Source: the circuit breaker of Nygard, "Release It!" (2007), with one probe at a time.
 * Limits: the state is this process's own, and is lost when it ends.
 */
import { UnavailableError } from '#domain/errors.ts';
import type { Clock } from '#runtime/clock.ts';

export type Lane = 'question' | 'blob';

export type HostLimitsConfig = {
  /** Requests at a time, per host and lane. More opens more connections at once, and more rate limits with them. */
  readonly concurrency: Readonly<Record<Lane, number>>;
  /** Requests that may wait for a place, per host and lane; one more is refused at once. */
  readonly waitingMax: number;
  /** The longest wait for a place; then the request is refused. */
  readonly waitMs: number;
  /** Failures in a row after which the host is left alone. */
  readonly failuresMax: number;
  /** How long it is left alone before one request may probe it. */
  readonly openMs: number;
  /** The longest pause that a `Retry-After` may impose; afterwards one polite question costs little. */
  readonly pauseMaxMs: number;
  /** Hosts remembered; redirects may name any number of them. At the limit idle hosts are forgotten. */
  readonly hostsMax: number;
};

/** 16 blobs at a time fill any link; 64 questions of a few ms are more than a region's clients ask of one host. */
export const HOST_LIMITS: HostLimitsConfig = {
  concurrency: { question: 64, blob: 16 },
  waitingMax: 1024,
  waitMs: 10_000,
  failuresMax: 5,
  openMs: 5_000,
  pauseMaxMs: 60_000,
  hostsMax: 256,
};

/** A place at a host, given back by disposing it. */
export interface HostSlot extends Disposable {
  /** The host answered, whatever it said. */
  succeeded(): void;
  /** It did not answer, broke off, or said that it is unwell. */
  failed(): void;
  /** It asked to be left alone for so long. */
  pause(ms: number): void;
}

export class HostLimits {
  readonly #clock: Clock;
  readonly #config: HostLimitsConfig;
  readonly #hosts = new Map<string, HostState>();

  constructor(deps: { readonly clock: Clock }, config: HostLimitsConfig = HOST_LIMITS) {
    this.#clock = deps.clock;
    this.#config = config;
  }

  /** @throws UnavailableError when the host is to be left alone or all places stay taken; the signal's reason on abort. */
  async enter(host: string, lane: Lane, signal: AbortSignal): Promise<HostSlot> {
    signal.throwIfAborted();
    const state = this.#stateOf(host);
    this.#refuseWhenClosed(host, state);
    await this.#takePlace(host, state.lanes[lane], signal);
    const slot = new Slot(state, state.lanes[lane], this.#clock, this.#config);
    try {
      this.#refuseWhenClosed(host, state);
    } catch (thrown) {
      slot[Symbol.dispose]();
      throw thrown;
    }
    slot.begin();
    return slot;
  }

  #refuseWhenClosed(host: string, state: HostState): void {
    const now = this.#clock.monotonicMs();
    if (now < state.pausedUntilMs) {
      const retryAfterMs = Math.ceil(state.pausedUntilMs - now);
      throw new UnavailableError(
        `${host} limits our rate; it may be asked again in ${Math.ceil(retryAfterMs / 1000)} s`,
        { retryAfterMs },
      );
    }
    if (state.failures < this.#config.failuresMax) return;
    if (now >= state.openUntilMs && !state.probing) return;
    throw new UnavailableError(
      `${host} failed ${state.failures} times in a row and is left alone for a few seconds`,
      {
        retryAfterMs: Math.max(1, Math.ceil(state.openUntilMs - now)),
      },
    );
  }

  async #takePlace(host: string, lane: LaneState, signal: AbortSignal): Promise<void> {
    if (lane.active < lane.places) {
      lane.active += 1;
      return;
    }
    if (lane.waiting.size >= this.#config.waitingMax) {
      throw new UnavailableError(`too many requests wait for ${host}`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    lane.waiting.add(resolve);
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    using _timer = this.#clock.after(this.#config.waitMs, () =>
      reject(new UnavailableError(`${host} is busy with our other requests`)),
    );
    try {
      await promise;
    } catch (thrown) {
      // A place that was handed over in the same turn as the wait ended goes on to the next in line.
      if (!lane.waiting.delete(resolve)) leavePlace(lane);
      throw thrown;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #stateOf(host: string): HostState {
    const known = this.#hosts.get(host);
    if (known !== undefined) return known;
    if (this.#hosts.size >= this.#config.hostsMax) this.#forgetIdle();
    const { question, blob } = this.#config.concurrency;
    const state: HostState = {
      failures: 0,
      openUntilMs: 0,
      probing: false,
      pausedUntilMs: 0,
      lanes: {
        question: { places: question, active: 0, waiting: new Set() },
        blob: { places: blob, active: 0, waiting: new Set() },
      },
    };
    this.#hosts.set(host, state);
    return state;
  }

  /** A host in use is never forgotten, so that its limits hold; the map then grows past its limit by what is in use. */
  #forgetIdle(): void {
    for (const [host, { lanes }] of this.#hosts) {
      if (lanes.question.active === 0 && lanes.blob.active === 0) this.#hosts.delete(host);
    }
  }
}

type LaneState = { readonly places: number; active: number; readonly waiting: Set<() => void> };

type HostState = {
  failures: number;
  openUntilMs: number;
  /** One request at a time finds out whether a host that failed is back. */
  probing: boolean;
  pausedUntilMs: number;
  readonly lanes: Readonly<Record<Lane, LaneState>>;
};

/** Hands the place to the longest waiting request, or frees it. */
function leavePlace(lane: LaneState): void {
  const [next] = lane.waiting;
  if (next === undefined) {
    lane.active -= 1;
    return;
  }
  lane.waiting.delete(next);
  next();
}

class Slot implements HostSlot {
  readonly #state: HostState;
  readonly #lane: LaneState;
  readonly #clock: Clock;
  readonly #config: HostLimitsConfig;
  #isProbe = false;
  #disposed = false;

  constructor(state: HostState, lane: LaneState, clock: Clock, config: HostLimitsConfig) {
    this.#state = state;
    this.#lane = lane;
    this.#clock = clock;
    this.#config = config;
  }

  begin(): void {
    this.#isProbe = this.#state.failures >= this.#config.failuresMax;
    if (this.#isProbe) this.#state.probing = true;
  }

  succeeded(): void {
    this.#state.failures = 0;
    this.#endProbe();
  }

  failed(): void {
    this.#state.failures += 1;
    this.#state.openUntilMs = this.#clock.monotonicMs() + this.#config.openMs;
    this.#endProbe();
  }

  pause(ms: number): void {
    const untilMs = this.#clock.monotonicMs() + Math.min(ms, this.#config.pauseMaxMs);
    this.#state.pausedUntilMs = Math.max(this.#state.pausedUntilMs, untilMs);
  }

  /** Safe to repeat. A probe that ended without a verdict (its caller left) leaves the question to the next one. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#endProbe();
    leavePlace(this.#lane);
  }

  #endProbe(): void {
    if (this.#isProbe) this.#state.probing = false;
    this.#isProbe = false;
  }
}
