/**
 * Links between regions on virtual time. Each region dials each other one; its session with that peer carries its
 * questions there and the peer's answers back, as the gRPC transport does it. Only the one who dialled is told that
 * the session came or went, and late. A path may be cut in one direction: what is sent into it is lost, and nobody
 * hears of it before the session's owner notices.
 *
 * Messages are lost, repeated, delayed, corrupted and, where the plan says so, overtaken, or delivered after their
 * session has ended.
 */
import type { RegionNumber } from '#domain/region.ts';
import type { Message } from '#mesh/claims/message.ts';
import type { EventQueue } from './event-queue.ts';
import { corrupted, type Frame, forged, fromFrame, toFrame } from './frame.ts';
import type { Prng } from './prng.ts';
import type { LinkPlan } from './scenario.ts';
import type { Trace } from './trace.ts';

export type NetworkDeps = { readonly queue: EventQueue; readonly trace: Trace; readonly prng: Prng };

/** What the network needs to know of a process. */
export type Endpoint = {
  readonly region: RegionNumber;
  /** Raised with each start: what was sent to an earlier life never arrives. 0 while it is not running. */
  readonly life: number;
  received(from: RegionNumber, message: Message): void;
  linkUp(peer: RegionNumber): void;
  linkDown(peer: RegionNumber): void;
};

/** One direction between two regions. */
type Path = {
  readonly from: RegionNumber;
  readonly to: RegionNumber;
  readonly prng: Prng;
  readonly share: number;
  cut: boolean;
  lastArrivalUs: number;
};
/**
 * What `dialer` opened to `peer`. A session that broke but was not noticed yet is still `open`: one whose path broke
 * may live on when the path opens in time, one whose peer died or refused a frame carries nothing any more.
 */
type Session = {
  readonly dialer: RegionNumber;
  readonly peer: RegionNumber;
  open: boolean;
  broken: 'path' | 'peer' | undefined;
  number: number;
};

export class Network {
  readonly #deps: NetworkDeps;
  readonly #endpoints = new Map<RegionNumber, Endpoint>();
  readonly #paths = new Map<string, Path>();
  readonly #sessions = new Map<string, Session>();
  #plan: LinkPlan;

  constructor(deps: NetworkDeps, plan: LinkPlan) {
    this.#deps = deps;
    this.#plan = plan;
  }

  join(endpoint: Endpoint): void {
    for (const other of this.#endpoints.values()) {
      this.#connect(endpoint.region, other.region);
      this.#connect(other.region, endpoint.region);
    }
    this.#endpoints.set(endpoint.region, endpoint);
  }

  /** A process came up: its sessions begin to be dialled, and others dial it. */
  started(region: RegionNumber): void {
    for (const session of this.#sessionsOf(region)) this.#dialLater(session);
  }

  /** A process died: its own sessions vanish with it, those of others break, which they notice later. */
  stopped(region: RegionNumber): void {
    for (const session of this.#sessionsOf(region)) {
      if (session.dialer === region) this.#close(session);
      else this.#break(session, 'peer');
    }
  }

  setCut(from: RegionNumber, to: RegionNumber, cut: boolean): void {
    const path = this.#path(from, to);
    path.cut = cut;
    for (const session of [this.#session(from, to), this.#session(to, from)]) {
      if (cut) this.#break(session, 'path');
      else if (session.broken === 'path' && path.prng.chance(0.5)) session.broken = undefined;
    }
  }

  /** Every path opens but those between the two regions of `except`, and nothing goes wrong on them any more. */
  heal(plan: LinkPlan, except: readonly RegionNumber[]): void {
    this.#plan = plan;
    for (const { from, to } of this.#paths.values()) {
      this.setCut(from, to, except.includes(from) && except.includes(to));
    }
    for (const session of this.#sessions.values()) this.#dialLater(session);
  }

  send(from: RegionNumber, to: RegionNumber, message: Message): void {
    const asks = message.type === 'follow' || message.type === 'ack';
    const session = asks ? this.#session(from, to) : this.#session(to, from);
    const path = this.#path(from, to);
    const isGone = !session.open || session.broken === 'peer' || path.cut;
    if (isGone || path.prng.chance(this.#plan.loss * this.#shareOf(path))) {
      this.#deps.trace.mark('lost messages');
      return;
    }
    const frame = this.#frame(message, path);
    this.#carry(frame, path, session);
    if (path.prng.chance(this.#plan.repeat * path.share)) {
      this.#deps.trace.mark('repeated messages');
      this.#carry(frame, path, session);
    }
  }

  /** Whether the region takes the session that it dialled to the peer to be there. */
  isOpen(dialer: RegionNumber, peer: RegionNumber): boolean {
    return this.#session(dialer, peer).open;
  }

  /**
   * A question and its answer, each as slow and as easily lost as a message. `answer` runs at the peer, and says
   * nothing when it is `undefined`; `heard` may never be called.
   */
  ask<Answer>(
    from: RegionNumber,
    to: RegionNumber,
    exchange: { readonly answer: () => Answer | undefined; readonly heard: (answer: Answer) => void },
  ): void {
    const life = this.#endpoints.get(from)?.life;
    this.#pass(this.#path(from, to), () => {
      const answer = exchange.answer();
      if (answer === undefined) return;
      this.#pass(this.#path(to, from), () => {
        if (life === this.#endpoints.get(from)?.life) exchange.heard(answer);
      });
    });
  }

  /** One direction of an exchange. */
  #pass(path: Path, arrive: () => void): void {
    const { queue, trace } = this.#deps;
    if (path.cut || path.prng.chance(this.#plan.loss * this.#shareOf(path))) {
      trace.mark('lost messages');
      return;
    }
    queue.after(this.#delayUs(path), () => {
      if (path.cut || !this.#endpoints.get(path.to)?.life) trace.mark('lost messages');
      else arrive();
    });
  }

  #frame(message: Message, path: Path): Frame {
    if (path.prng.chance(this.#plan.forgery * path.share)) return forged(message, path.prng);
    const frame = toFrame(message);
    return path.prng.chance(this.#plan.corruption * path.share) ? corrupted(frame, path.prng) : frame;
  }

  #carry(frame: Frame, path: Path, session: Session): void {
    const { queue, trace } = this.#deps;
    const number = session.number;
    const life = this.#endpoints.get(path.to)?.life;
    let atUs = queue.nowUs + this.#delayUs(path);
    if (atUs < path.lastArrivalUs) {
      if (this.#plan.overtakes) trace.mark('overtaken messages');
      else atUs = path.lastArrivalUs;
    }
    path.lastArrivalUs = Math.max(atUs, path.lastArrivalUs);
    queue.after(atUs - queue.nowUs, () => {
      const isStale = number !== session.number && !this.#plan.overtakes;
      const isOther = !life || life !== this.#endpoints.get(path.to)?.life;
      if (path.cut || isStale || isOther) trace.mark('lost messages');
      else this.#deliver(frame, path, session);
    });
  }

  #deliver(frame: Frame, { from, to }: Path, session: Session): void {
    const { queue, trace } = this.#deps;
    const endpoint = this.#endpoints.get(to);
    if (!endpoint) return;
    const message = fromFrame(frame);
    trace.mix(queue.nowUs, from, to, frame.checksum);
    if (message === undefined) {
      trace.mark('refused frames');
      trace.tell(queue.nowUs, () => `${to} refuses a frame from ${from}`);
      this.#break(session, 'peer');
      return;
    }
    trace.tell(queue.nowUs, () => `${to} receives from ${from}: ${messageText(message)}`);
    endpoint.received(from, message);
  }

  /** The session is of no use any more; its owner hears of it after a while, and dials again. */
  #break(session: Session, by: 'path' | 'peer'): void {
    if (!session.open) return;
    const isFirst = session.broken === undefined;
    if (session.broken !== 'peer') session.broken = by;
    if (!isFirst) return;
    const number = session.number;
    this.#later(session, this.#plan.noticeMs, () => {
      if (session.number !== number || session.broken === undefined) return;
      this.#close(session);
      this.#endpoints.get(session.dialer)?.linkDown(session.peer);
      this.#dialLater(session);
    });
  }

  #close(session: Session): void {
    session.open = false;
    session.broken = undefined;
    session.number += 1;
  }

  #dialLater(session: Session): void {
    if (session.open) return;
    const number = session.number;
    this.#later(session, 100, () => {
      if (session.open || session.number !== number) return;
      const [dialer, peer] = [this.#endpoints.get(session.dialer), this.#endpoints.get(session.peer)];
      if (!dialer?.life) return;
      const cut =
        this.#path(session.dialer, session.peer).cut || this.#path(session.peer, session.dialer).cut;
      if (cut || !peer?.life) {
        this.#dialLater(session);
        return;
      }
      session.open = true;
      session.number += 1;
      dialer.linkUp(session.peer);
    });
  }

  #delayUs({ prng }: Path): number {
    const { delayMs, isEven } = this.#plan;
    return isEven ? delayMs * 1000 : prng.skewed(delayMs * 1000);
  }

  #shareOf({ share }: Path): number {
    return this.#plan.isEven ? 1 : share;
  }

  #later(session: Session, meanMs: number, run: () => void): void {
    const delayUs = this.#path(session.dialer, session.peer).prng.skewed(meanMs * 1000);
    this.#deps.queue.after(delayUs, run);
  }

  #connect(from: RegionNumber, to: RegionNumber): void {
    const prng = this.#deps.prng.split(`${from}-${to}`);
    const path: Path = { from, to, prng, share: prng.fraction(), cut: false, lastArrivalUs: 0 };
    this.#paths.set(`${from}-${to}`, path);
    this.#sessions.set(`${from}-${to}`, {
      dialer: from,
      peer: to,
      open: false,
      broken: undefined,
      number: 0,
    });
  }

  #sessionsOf(region: RegionNumber): readonly Session[] {
    return [...this.#sessions.values()].filter(({ dialer, peer }) => dialer === region || peer === region);
  }

  #path(from: RegionNumber, to: RegionNumber): Path {
    return known(this.#paths.get(`${from}-${to}`));
  }

  #session(dialer: RegionNumber, peer: RegionNumber): Session {
    return known(this.#sessions.get(`${dialer}-${peer}`));
  }
}

function known<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new RangeError('no such pair of regions');
  return value;
}

function messageText(message: Message): string {
  if (message.type === 'delta') {
    const { region, from, to, head, exact, claims } = message;
    const sequences = claims.map((claim) => claim.sequence).join(',') || 'no claims';
    return `delta of ${region} (${from}, ${to}] head ${head}${exact ? ' exact' : ''}: ${sequences}`;
  }
  const cursors = message.type === 'summary' ? message.heads : message.cursors;
  return `${message.type} ${cursors.map(({ region, have, safe }) => `${region}: ${have}/${safe}`).join(', ')}`;
}
