/**
 * Makes things go wrong in the first phase of a run, as its plan says: each kind of trouble strikes at random moments
 * and passes after a while. Whatever still lasts when the phase ends is healed by the simulation, not from here.
 */
import type { Checker } from './checker.ts';
import type { EventQueue } from './event-queue.ts';
import type { Network } from './network.ts';
import type { Prng } from './prng.ts';
import type { RegionProcess, Restore } from './region-process.ts';
import type { Episode, Plan } from './scenario.ts';
import type { Trace } from './trace.ts';
import type { Workload } from './workload.ts';

export type NemesisDeps = {
  readonly queue: EventQueue;
  readonly trace: Trace;
  readonly prng: Prng;
  readonly network: Network;
  readonly workload: Workload;
  readonly checker: Checker;
  readonly processes: readonly RegionProcess[];
};

/** A restore takes its time; whatever was on its way to others has arrived by then. */
const OUTAGE_US_MIN = 1_500_000;
/** A standby is there at once; others may still have on their way to them what it never got. */
const PROMOTION_US_MIN = 50_000;

export class Nemesis {
  readonly #deps: NemesisDeps;
  #stopped = false;

  constructor(deps: NemesisDeps) {
    this.#deps = deps;
  }

  start(plan: Plan): void {
    this.#again('partition', plan.partitions, (prng) => this.#partition(prng));
    this.#again('half-open', plan.halfOpen, (prng) => this.#halfOpen(prng));
    this.#again('crash', plan.crashes, (prng) => this.#crash(prng));
    this.#again('restore', plan.restores, (prng) => this.#restore(prng));
    this.#again('promotion', plan.promotions, (prng) => this.#promote(prng));
    this.#again('pause', plan.pauses, (prng) => this.#pause(prng));
    this.#again('full-disk', plan.fullDisks, (prng) => this.#fillDisk(prng));
    this.#again('frozen-clock', plan.clocks.freezes, (prng) => this.#freezeClock(prng));
    this.#again('clock', plan.clocks.steps, (prng) => this.#stepClock(prng, plan.clocks.stepMs));
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Strikes again and again; `strike` answers how to end what it began. */
  #again(name: string, episode: Episode, strike: (prng: Prng) => () => void): void {
    if (episode === undefined) return;
    const { queue } = this.#deps;
    const prng = this.#deps.prng.split(name);
    const plan = () =>
      queue.after(prng.skewed(episode.everyMs * 1000), () => {
        if (this.#stopped) return;
        const end = strike(prng);
        queue.after(prng.skewed(episode.lengthMs * 1000), () => {
          if (!this.#stopped) end();
        });
        plan();
      });
    plan();
  }

  /** One region, or one pair, loses the others in both directions. */
  #partition(prng: Prng): () => void {
    const { processes, network, trace, queue } = this.#deps;
    const lonely = prng.pick(processes).region;
    const others = processes.map((process) => process.region).filter((region) => region !== lonely);
    const lost = prng.chance(0.5) ? others : [prng.pick(others)];
    trace.mark('partitions');
    trace.tell(queue.nowUs, () => `the paths between ${lonely} and ${lost.join(', ')} are cut`);
    const setCut = (cut: boolean) => {
      for (const other of lost) {
        network.setCut(lonely, other, cut);
        network.setCut(other, lonely, cut);
      }
    };
    setCut(true);
    return () => setCut(false);
  }

  #halfOpen(prng: Prng): () => void {
    const { processes, network, trace, queue } = this.#deps;
    const from = prng.pick(processes).region;
    const to = prng.pick(processes.filter((process) => process.region !== from)).region;
    trace.mark('half-open links');
    trace.tell(queue.nowUs, () => `the path from ${from} to ${to} is cut`);
    network.setCut(from, to, true);
    return () => network.setCut(from, to, false);
  }

  #crash(prng: Prng): () => void {
    const process = prng.pick(this.#deps.processes);
    process.kill();
    this.#deps.workload.lost(process);
    return () => process.start();
  }

  /** A backup is taken now; its end is that the region dies, and is set back to it. */
  #restore(prng: Prng): () => void {
    const { checker, workload, queue, trace } = this.#deps;
    const process = prng.pick(this.#deps.processes);
    const image = process.image();
    const memory = checker.memory(process);
    const mark: Restore['mark'] = prng.pick(['kept', 'set-back', 'lost']);
    const copied = mark !== 'set-back' && prng.chance(0.5);
    const outageUs = prng.between(OUTAGE_US_MIN, 2 * OUTAGE_US_MIN);
    return () => {
      trace.mark('restores');
      trace.tell(queue.nowUs, () => `${process.region} is set back to ${image.store.origin.sequence}`);
      process.kill();
      workload.lost(process);
      process.restore(image, { mark, copied });
      checker.setBack(process, memory);
      queue.after(outageUs, () => process.restored());
    };
  }

  /**
   * A standby that lags behind takes over: the history ends where the standby was, in another database, and the mark
   * outside of it tells of the lost one.
   */
  #promote(prng: Prng): () => void {
    const { checker, workload, queue, trace } = this.#deps;
    const process = prng.pick(this.#deps.processes);
    const image = process.image();
    const memory = checker.memory(process);
    const outageUs = prng.between(PROMOTION_US_MIN, 10 * PROMOTION_US_MIN);
    return () => {
      trace.mark('promoted standbys');
      trace.tell(
        queue.nowUs,
        () => `${process.region} goes on at ${image.store.origin.sequence}, on a standby`,
      );
      process.kill();
      workload.lost(process);
      process.restore(image, { mark: 'kept', copied: true });
      checker.setBack(process, memory);
      queue.after(outageUs, () => process.restored());
    };
  }

  #pause(prng: Prng): () => void {
    const process = prng.pick(this.#deps.processes);
    process.pause();
    return () => process.resume();
  }

  #fillDisk(prng: Prng): () => void {
    const { disk } = prng.pick(this.#deps.processes);
    disk.setFull(true);
    return () => disk.setFull(false);
  }

  #freezeClock(prng: Prng): () => void {
    const { clock } = prng.pick(this.#deps.processes);
    this.#deps.trace.mark('frozen clocks');
    clock.freeze(this.#deps.queue.nowUs);
    return () => clock.thaw();
  }

  #stepClock(prng: Prng, stepMs: number): () => void {
    this.#deps.trace.mark('clock steps');
    prng.pick(this.#deps.processes).clock.step(Math.round(stepMs * (2 * prng.fraction() - 1)));
    return () => undefined;
  }
}
