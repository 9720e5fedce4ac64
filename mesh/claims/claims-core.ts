/**
 * The replicated index of one region, as a pure step: `step(input, nowMs)` answers what to do next, and does nothing
 * itself. Its state is cursors and what is under way; claims are in the store.
 *
 * Three things happen here: our own writes (`writes.ts`), others' claims coming in (`apply.ts`), and claims going out
 * (`sending.ts`). Messages may be lost, repeated, delayed or reordered: each second every region says up to where it
 * holds each origin, and who lacks something for a second asks again from what it has.
 */
import assert from 'node:assert/strict';
import type { RegionNumber } from '#domain/region.ts';
import { Apply } from './apply.ts';
import { CEILING_UNKNOWN, type ClaimsConfig, CoreState, noteHead, ORIGINS_MAX } from './core-state.ts';
import { type CoreStatus, coreStatus } from './core-status.ts';
import { Epochs } from './epochs.ts';
import { type Follower, Followers } from './followers.ts';
import { believed, mayTellOf } from './granted.ts';
import { KeyTurns } from './key-turns.ts';
import type { Message, SummaryMessage } from './message.ts';
import { Relays } from './relays.ts';
import { Sending } from './sending.ts';
import type { Input, Output, StepStart } from './step.ts';
import { Writes } from './writes.ts';

/** A gap is asked for at once, but a burst of deltas behind it does not ask again. */
const GAP_RETRY_MS = 250;

export class ClaimsCore {
  readonly #state: CoreState;
  readonly #followers: Followers;
  readonly #sending: Sending;
  readonly #relays: Relays;
  readonly #writes: Writes;
  readonly #apply: Apply;
  readonly #epochs: Epochs;
  #summarizedMs: number | undefined;

  constructor(start: StepStart, config: ClaimsConfig) {
    const turns = new KeyTurns();
    this.#state = new CoreState(start, config);
    this.#followers = new Followers(this.#state);
    this.#sending = new Sending(this.#state, this.#followers);
    this.#relays = new Relays(this.#state, this.#followers);
    this.#epochs = new Epochs(this.#state);
    this.#writes = new Writes({ state: this.#state, turns, epochs: this.#epochs }, () =>
      this.#sending.grew(this.#state.own),
    );
    this.#apply = new Apply(this.#state, turns, {
      gap: (peer) => this.#askAfterGap(peer),
      grew: (origin) => this.#sending.grew(origin),
    });
  }

  /** `nowMs` is wall-clock time. The outputs are to be carried out in order; reads and commits may overlap. */
  step(input: Input, nowMs: number): readonly Output[] {
    this.#state.nowMs = nowMs;
    switch (input.input) {
      case 'write':
        this.#writes.begin(input);
        break;
      case 'received':
        this.#received(input.from, input.message);
        break;
      case 'link-up':
        this.#linkUp(input.peer);
        break;
      case 'link-down':
        this.#linkDown(input.peer);
        break;
      case 'tick':
        this.#tick();
        break;
      default:
        this.#state.answer(input);
        this.#sending.releaseHeld();
    }
    this.#epochs.review();
    if (this.#epochs.isOpen) this.#writes.release();
    return this.#state.takeOutputs();
  }

  status(): CoreStatus {
    return coreStatus(this.#state, this.#followers, this.#writes.count);
  }

  #linkUp(peer: RegionNumber): void {
    const follower = this.#followers.get(peer);
    if (follower === undefined) return;
    follower.linkUp = true;
    this.#ask(follower);
  }

  /** What we send goes by the link that the peer holds to us, so nothing of it is forgotten here. */
  #linkDown(peer: RegionNumber): void {
    const follower = this.#followers.get(peer);
    if (follower !== undefined) follower.linkUp = false;
  }

  /** What comes from a region that is not in the roster is not looked at. */
  #received(from: RegionNumber, message: Message): void {
    const follower = this.#followers.get(from);
    if (follower === undefined) return;
    switch (message.type) {
      case 'follow':
        this.#epochs.heard(believed(from, message.cursors, this.#state.grants));
        this.#followers.restart(follower, message);
        this.#summarize(from);
        this.#sending.resume(follower);
        return;
      case 'ack':
        this.#epochs.heard(believed(from, message.cursors, this.#state.grants));
        for (const cursor of message.cursors) this.#followers.confirm(follower, cursor);
        this.#sending.resume(follower);
        return;
      case 'summary':
        this.#summary(follower, message);
        return;
      case 'delta':
        this.#apply.received(from, message);
        return;
    }
  }

  #summary(follower: Follower, { heads }: SummaryMessage): void {
    if (heads.length > ORIGINS_MAX) {
      const reason = `its summary names ${heads.length} origins`;
      const event = { event: 'refused-delta', from: follower.region, reason } as const;
      this.#state.emit({ output: 'event', event });
      return;
    }
    const told = believed(follower.region, heads, this.#state.grants);
    this.#epochs.heard(told);
    for (const head of heads) this.#followers.confirm(follower, head);
    for (const head of told) {
      const origin = this.#state.origin(head);
      if (origin !== undefined && origin !== this.#state.own) noteHead(origin, head.have, this.#state.nowMs);
    }
    this.#sending.resume(follower);
  }

  #tick(): void {
    this.#epochs.tick();
    const { summaryIntervalMs } = this.#state.config;
    if (this.#summarizedMs === undefined || this.#state.hasPassed(this.#summarizedMs, summaryIntervalMs)) {
      this.#summarizedMs = this.#state.nowMs;
      for (const follower of this.#followers.all()) {
        this.#summarize(follower.region);
        this.#relays.review(follower);
        this.#sending.resume(follower);
      }
    }
    this.#askForMissing();
  }

  #summarize(to: RegionNumber): void {
    this.#state.emit({ output: 'send', to, message: { type: 'summary', heads: this.#state.cursors() } });
  }

  /**
   * Asks those who hold what we have lacked for a while, when nothing of it has come either. Who cannot know whether
   * a copy is exact is not asked for that.
   */
  #askForMissing(): void {
    const { retryAfterMs } = this.#state.config;
    for (const origin of this.#state.origins()) {
      if (origin.behindSinceMs === undefined) continue;
      if (!this.#state.hasPassed(Math.max(origin.behindSinceMs, origin.arrivedMs), retryAfterMs)) continue;
      for (const follower of this.#followers.all()) {
        const { confirmed, confirmedSafe } = this.#followers.stream(follower, origin);
        const canTell = origin.ceiling !== CEILING_UNKNOWN || follower.region === origin.region;
        const provesMore = canTell && confirmedSafe > origin.safe && confirmedSafe >= origin.have;
        if (
          (confirmed > origin.have || provesMore) &&
          mayTellOf(follower.region, origin, this.#state.grants) &&
          follower.linkUp &&
          this.#state.hasPassed(follower.askedMs, retryAfterMs)
        ) {
          this.#ask(follower);
        }
      }
    }
  }

  #askAfterGap(peer: RegionNumber): void {
    const follower = this.#followers.get(peer);
    assert.ok(follower !== undefined, 'a delta was looked at that came from outside the roster');
    if (this.#state.hasPassed(follower.askedMs, GAP_RETRY_MS)) this.#ask(follower);
  }

  #ask(follower: Follower): void {
    follower.askedMs = this.#state.nowMs;
    const { creditBytes } = this.#state.config;
    const message = { type: 'follow', cursors: this.#state.cursors(), creditBytes } as const;
    this.#state.emit({ output: 'send', to: follower.region, message });
  }
}
