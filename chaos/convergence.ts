/**
 * How soon a tag is known everywhere, in meshes larger and links longer than one machine has: the production core on
 * virtual time, over links of one length. Nothing is checked here, `simulation.ts` does that; this only measures. The
 * same seed gives the same numbers on every machine.
 */
import assert from 'node:assert/strict';
import { digestOf } from '#domain/digest.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { mintEpoch, parseRegionNumber, type RegionNumber } from '#domain/region.ts';
import { ClaimStore } from './claim-store.ts';
import { SkewedClock, WALL_START_MS } from './clock.ts';
import { startCore } from './core.ts';
import { EventQueue } from './event-queue.ts';
import { Network } from './network.ts';
import { Prng } from './prng.ts';
import { RegionProcess, type Watcher } from './region-process.ts';
import { drawPlan, type LinkPlan, type Plan, SCENARIOS } from './scenario.ts';
import { Trace } from './trace.ts';

export type MeshPlan = {
  readonly seed: number;
  readonly regions: number;
  /** One way. */
  readonly delayMs: number;
  /** Share of the messages that are lost, of each kind and on each link. */
  readonly loss: number;
};

/** Of each write: from its answer to the client until the last region has it; in virtual ms. */
export type Convergence = { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number };

const repository = parseRepositoryName('measured/app');
/** Sessions are dialled, and the first summaries have passed. */
const WARM_UP_US = 3_000_000;
const LIMIT_US = 120_000_000;
const STEP_US = 10_000;

/** Single tags, written at random regions `everyMs` apart on average. */
export function measureConvergence(
  plan: MeshPlan & { readonly writes: number; readonly everyMs: number },
): Convergence {
  const mesh = new MeasuredMesh(plan);
  mesh.start();
  for (let count = 0; count < plan.writes; count += 1) {
    mesh.write(mesh.prng.pick(mesh.processes), 1);
    mesh.run(mesh.prng.skewed(plan.everyMs * 1000));
  }
  mesh.runUntilEqual();
  const latencies = mesh.latenciesMs().toSorted((a, b) => a - b);
  assert.equal(latencies.length, plan.writes, 'a write did not arrive everywhere');
  const at = (share: number) => latencies[Math.ceil(share * latencies.length) - 1] ?? Number.NaN;
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

/**
 * Two halves that hear nothing of each other for `cutMs` while each moves `updates` tags; answers how many virtual ms
 * after healing every region has everything.
 */
export function measureHealing(
  plan: MeshPlan & { readonly updates: number; readonly cutMs: number },
): number {
  const mesh = new MeasuredMesh(plan);
  mesh.start();
  mesh.cut(true);
  const [here, there] = [mesh.processes[0], mesh.processes.at(-1)];
  assert.ok(here !== undefined && there !== undefined);
  const batches = Math.ceil(plan.updates / BATCH);
  for (let batch = 0; batch < batches; batch += 1) {
    for (const side of [here, there]) mesh.write(side, Math.min(BATCH, plan.updates - batch * BATCH));
    mesh.run((plan.cutMs * 1000) / batches);
  }
  mesh.cut(false);
  return mesh.runUntilEqual();
}

/** Tags in one write. */
const BATCH = 20;

class MeasuredMesh {
  readonly prng: Prng;
  readonly processes: readonly RegionProcess[];
  readonly #queue = new EventQueue();
  readonly #network: Network;
  readonly #writtenUs = new Map<string, number>();
  readonly #knownUs = new Map<string, number>();
  readonly #left = new Map<string, number>();
  #writes = 0;

  constructor({ seed, regions, delayMs, loss }: MeshPlan) {
    this.prng = new Prng(`convergence/${seed}`);
    const links: LinkPlan = {
      ...{ loss, repeat: 0, corruption: 0, forgery: 0, overtakes: false },
      ...{ delayMs, noticeMs: 50, isEven: true },
    };
    const plan: Plan = { ...drawPlan(SCENARIOS.calm, this.prng.split('plan')), regions, links, core: {} };
    const numbers = Array.from({ length: regions }, (_, at) => parseRegionNumber(at + 1));
    const trace = new Trace(false);
    const queue = this.#queue;
    this.#network = new Network({ queue, trace, prng: this.prng.split('network') }, links);
    this.processes = numbers.map((region) => {
      const prng = this.prng.split(`region ${region}`);
      const epoch = mintEpoch(WALL_START_MS, region);
      const store = new ClaimStore({ region, epoch, sequence: 0, time: HYBRID_TIME_ZERO });
      const clock = new SkewedClock(prng.split('clock'), plan.clocks);
      const deps = { queue, trace, prng, store, clock, network: this.#network, startCore, isEdge: false };
      const peers = numbers.filter((other) => other !== region);
      return new RegionProcess({ ...deps, watcher: this.#watcher(numbers.length) }, peers, plan);
    });
    for (const process of this.processes) this.#network.join(process);
  }

  start(): void {
    for (const process of this.processes) process.start();
    this.run(WARM_UP_US);
  }

  run(durationUs: number): void {
    this.#queue.runUntil(this.#queue.nowUs + durationUs, () => false);
  }

  /** A write of so many tags that nobody wrote before. */
  write(process: RegionProcess, tags: number): void {
    this.#writes += 1;
    const id = this.#writes;
    const digest = digestOf(`image ${id}`);
    const changes = Array.from({ length: tags }, (_, at) => ({
      ...{ change: 'set-tag' as const, repository, tag: `t${id}-${at}`, digest },
    }));
    process.feed({ input: 'write', id, changes, principal: 'measured' });
  }

  /** Between the first half of the regions and the others. */
  cut(cut: boolean): void {
    const half = Math.ceil(this.processes.length / 2);
    const [one, other] = [this.processes.slice(0, half), this.processes.slice(half)];
    for (const a of one) {
      for (const b of other) {
        this.#network.setCut(a.region, b.region, cut);
        this.#network.setCut(b.region, a.region, cut);
      }
    }
  }

  /** In virtual ms. */
  runUntilEqual(): number {
    const startedUs = this.#queue.nowUs;
    while (this.#left.size > 0 || this.#writtenUs.size < this.#writes) {
      assert.ok(this.#queue.nowUs < startedUs + LIMIT_US, 'the regions did not become equal');
      this.run(STEP_US);
    }
    return (this.#queue.nowUs - startedUs) / 1000;
  }

  latenciesMs(): readonly number[] {
    return [...this.#writtenUs].map(([dot, us]) => ((this.#knownUs.get(dot) ?? Number.NaN) - us) / 1000);
  }

  #watcher(regions: number): Watcher {
    return {
      committed: (_process, _batch, committed) => {
        // Every claim of a write counts for healing; of single tags there is one each.
        for (const claim of committed.own) this.#left.set(dotText(claim.dot), regions - 1);
        for (const { dot } of committed.foreign) this.#arrived(dotText(dot));
      },
      stepped: (_process, outputs) => {
        for (const output of outputs) {
          if (output.output === 'written') this.#writtenUs.set(dotText(output.dot), this.#queue.nowUs);
        }
      },
      threw: (process, reason) => assert.fail(`region ${process.region} threw: ${reason}`),
    };
  }

  #arrived(dot: string): void {
    const left = (this.#left.get(dot) ?? Number.NaN) - 1;
    if (left > 0) {
      this.#left.set(dot, left);
      return;
    }
    this.#left.delete(dot);
    this.#knownUs.set(dot, this.#queue.nowUs);
  }
}

function dotText({ region, sequence }: { readonly region: RegionNumber; readonly sequence: number }): string {
  return `${region}.${sequence}`;
}
