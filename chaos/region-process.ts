/**
 * One region on virtual time: the production step between a simulated disk, network and clock. Like the real driver
 * it holds no decisions; unlike it, it can be killed between any two events, paused, and started again from what is
 * on its disk.
 */
import { messageOf } from '#domain/errors.ts';
import { mintEpoch, type RegionNumber } from '#domain/region.ts';
import type { Grants } from '#mesh/claims/granted.ts';
import { judgeMark } from '#mesh/claims/mark-verdict.ts';
import type { Message } from '#mesh/claims/message.ts';
import type { Input, Output, StepStart } from '#mesh/claims/step.ts';
import type { ClaimBatch, OriginRow } from '#storage/metadata.ts';
import type { RollbackMark } from '#storage/rollback-mark.ts';
import type { ClaimStore, Committed } from './claim-store.ts';
import type { SkewedClock } from './clock.ts';
import { Disk } from './disk.ts';
import type { EventQueue } from './event-queue.ts';
import type { Endpoint, Network } from './network.ts';
import type { Prng } from './prng.ts';
import type { CorePlan, Plan } from './scenario.ts';
import type { Trace } from './trace.ts';

/** The public face of the core under test. */
export type Core = { step(input: Input, nowMs: number): readonly Output[] };
export type StartCore = (start: StepStart, plan: CorePlan) => Core;

/** Who looks on. */
export type Watcher = {
  committed(process: RegionProcess, batch: ClaimBatch, committed: Committed): void;
  /** After every step: what it asked for, and what the process has under way now. */
  stepped(process: RegionProcess, outputs: readonly Output[]): void;
  /** The step threw, which it never may. */
  threw(process: RegionProcess, reason: string): void;
};

export type ProcessDeps = {
  readonly queue: EventQueue;
  readonly trace: Trace;
  readonly prng: Prng;
  readonly network: Network;
  readonly store: ClaimStore;
  readonly clock: SkewedClock;
  readonly startCore: StartCore;
  /** What this region's roster says; absent for one that minds none. */
  readonly grants?: Grants | undefined;
  readonly isEdge: boolean;
  readonly watcher: Watcher;
};

/** What a backup of a region's folder holds. */
export type RegionImage = { readonly store: ClaimStore; readonly mark: RollbackMark | undefined };
/**
 * What became of the mark beside the database: it stayed as it was; it was set back too, with the whole disk; it is
 * gone. `copied`: the database is another file than before.
 */
export type Restore = { readonly mark: 'kept' | 'set-back' | 'lost'; readonly copied: boolean };

const TICK_US = 100_000;

export class RegionProcess implements Endpoint {
  readonly region: RegionNumber;
  readonly disk: Disk;
  readonly #deps: ProcessDeps;
  readonly #peers: readonly RegionNumber[];
  readonly #plan: CorePlan;
  #core: Core | undefined;
  /** What arrived while the process was paused; `undefined` while it is not. */
  #waiting: Input[] | undefined;
  #reads = 0;
  #life = 1;
  /** Beside the database, on the disk. */
  #mark: RollbackMark | undefined;
  #file = 1;
  #starts = 0;
  #epochs = 0;
  #isRestoring = false;

  constructor(deps: ProcessDeps, peers: readonly RegionNumber[], plan: Plan) {
    this.#deps = deps;
    this.#peers = peers;
    this.#plan = plan.core;
    this.region = deps.store.origin.region;
    const { queue, trace, prng, store, watcher } = deps;
    this.disk = new Disk(
      {
        queue,
        trace,
        prng: prng.split('disk'),
        store,
        onCommitted: (batch, committed) => watcher.committed(this, batch, committed),
      },
      plan.disk,
    );
  }

  get store(): ClaimStore {
    return this.#deps.store;
  }

  /** An edge region, in other hands. */
  get isEdge(): boolean {
    return this.#deps.isEdge;
  }

  get clock(): SkewedClock {
    return this.#deps.clock;
  }

  /** Reads and commits that were asked for and not answered yet. */
  get pending(): number {
    return this.#reads + this.disk.pending;
  }

  get life(): number {
    return this.#core === undefined ? 0 : this.#life;
  }

  /** Whether it answers what it is asked: it runs, and is not paused. */
  get isListening(): boolean {
    return this.#core !== undefined && this.#waiting === undefined;
  }

  start(): void {
    if (this.#core !== undefined || this.#isRestoring) return;
    const { store, startCore, network, trace, queue, grants } = this.#deps;
    this.#readMark();
    trace.tell(queue.nowUs, () => `${this.region} starts at sequence ${store.origin.sequence}`);
    const { origin, cursors } = store;
    this.#core = startCore({ self: this.region, peers: this.#peers, origin, cursors, grants }, this.#plan);
    this.#tickAfter(this.#deps.prng.below(TICK_US));
    network.started(this.region);
  }

  /** As a node does it: what is on the disk against the mark beside it. */
  #readMark(): void {
    const { store, trace } = this.#deps;
    const { start, origin } = store;
    const found = { start, ...origin, file: String(this.#file), changed: '', isNew: start === '' };
    const verdict = judgeMark(this.#mark, found);
    this.#starts += 1;
    store.start = String(this.#starts);
    if (verdict !== 'trusted') {
      const below = Number.MAX_SAFE_INTEGER;
      store.beginEpoch({ former: origin.epoch, epoch: this.#mintEpoch(), below });
      trace.mark('new epochs');
    }
    this.#mark = { start: store.start, file: String(this.#file) };
  }

  /** No two are the same, as with chance in the real one. */
  #mintEpoch(): OriginRow['epoch'] {
    this.#epochs += 1;
    return mintEpoch(this.clock.nowMs(this.#deps.queue.nowUs), this.#epochs);
  }

  /** A backup of what is on the disk. */
  image(): RegionImage {
    return { store: this.store.image(), mark: this.#mark };
  }

  /** The disk is as the image was; nothing starts before `restored`. The region must be dead. */
  restore(image: RegionImage, { mark, copied }: Restore): void {
    this.#isRestoring = true;
    this.store.restore(image.store);
    if (mark === 'set-back') this.#mark = image.mark;
    if (mark === 'lost') this.#mark = undefined;
    if (copied) this.#file += 1;
  }

  restored(): void {
    this.#isRestoring = false;
    this.start();
  }

  /** SIGKILL: memory and everything under way is gone. */
  kill(): void {
    if (this.#core === undefined) return;
    const { trace, queue, network } = this.#deps;
    trace.mark('crashes');
    trace.tell(queue.nowUs, () => `${this.region} dies`);
    this.#core = undefined;
    this.#waiting = undefined;
    this.#reads = 0;
    this.#life += 1;
    this.disk.crash();
    network.stopped(this.region);
  }

  /** SIGSTOP: what arrives waits. */
  pause(): void {
    if (this.#core === undefined || this.#waiting !== undefined) return;
    this.#deps.trace.mark('pauses');
    this.#waiting = [];
  }

  resume(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const input of waiting) this.feed(input);
  }

  received(from: RegionNumber, message: Message): void {
    if (message.type === 'delta' && message.region !== from) {
      const have = this.store.cursor(message)?.have ?? 0;
      if (message.claims.length > 0 && message.from <= have && have < message.to)
        this.#deps.trace.mark('relays');
    }
    this.feed({ input: 'received', from, message });
  }

  linkUp(peer: RegionNumber): void {
    this.feed({ input: 'link-up', peer });
  }

  linkDown(peer: RegionNumber): void {
    this.feed({ input: 'link-down', peer });
  }

  feed(input: Input): void {
    if (this.#core === undefined) return;
    if (this.#waiting !== undefined) {
      // A paused process hears one late tick, not all that it slept through.
      const isLateTick = input.input === 'tick' && this.#waiting.some((other) => other.input === 'tick');
      if (!isLateTick) this.#waiting.push(input);
      return;
    }
    const { queue, watcher } = this.#deps;
    try {
      const outputs = this.#core.step(input, this.clock.nowMs(queue.nowUs));
      for (const output of outputs) this.#carryOut(output);
      watcher.stepped(this, outputs);
    } catch (thrown) {
      const where = thrown instanceof Error ? (thrown.stack ?? '').split('\n').slice(0, 3).join(' ') : '';
      watcher.threw(this, `${messageOf(thrown)} in answer to ${input.input} ${where}`);
    }
  }

  #carryOut(output: Output): void {
    switch (output.output) {
      case 'send':
        this.#deps.network.send(this.region, output.to, output.message);
        return;
      case 'read-keys':
        this.#read(
          (store) => store.ofKeys(output.keys),
          (keys) => ({ input: 'keys-read', id: output.id, keys }),
        );
        return;
      case 'read-range':
        this.#read(
          (store) => store.range(output.range),
          (claims) => ({ input: 'range-read', id: output.id, claims }),
        );
        return;
      case 'commit':
        this.disk.commit(output.batch, (answer) => {
          const { id } = output;
          if ('failed' in answer) this.feed({ input: 'failed', id, reason: answer.failed });
          else this.feed({ input: 'committed', id, result: answer.result });
        });
        return;
      case 'begin-epoch': {
        const { id, former, below } = output;
        this.disk.beginEpoch({ former, below, epoch: this.#mintEpoch() }, (answer) => {
          if ('failed' in answer) this.feed({ input: 'failed', id, reason: answer.failed });
          else this.feed({ input: 'epoch-begun', id, origin: answer.origin });
        });
        return;
      }
      default:
        // What remains is news, which the watcher takes.
        return;
    }
  }

  #read<Rows>(read: (store: ClaimStore) => Rows, input: (rows: Rows) => Input): void {
    this.#reads += 1;
    this.disk.read(read, (rows) => {
      this.#reads -= 1;
      this.feed(input(rows));
    });
  }

  #tickAfter(delayUs: number): void {
    const life = this.#life;
    this.#deps.queue.after(delayUs, () => {
      if (life !== this.#life) return;
      this.feed({ input: 'tick' });
      this.#tickAfter(TICK_US);
    });
  }
}
