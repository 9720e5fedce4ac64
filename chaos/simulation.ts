/**
 * One seed: a mesh of regions on virtual time, in two phases. In the first, everything in the plan may go wrong while
 * clients write. Then all is healed and nobody writes: within the bound every region must be equal to every other.
 * The same seed, scenario and code give the same events, and so the same hash.
 */

import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { mintEpoch, parseRegionNumber } from '#domain/region.ts';
import { Checker } from './checker.ts';
import { ClaimStore } from './claim-store.ts';
import { SkewedClock, WALL_START_MS } from './clock.ts';
import { readClaim, startCore } from './core.ts';
import { edgeAt } from './edge.ts';
import { EventQueue } from './event-queue.ts';
import type { Violation } from './invariants.ts';
import { Ledger } from './ledger.ts';
import { Looks } from './looks.ts';
import { Nemesis } from './nemesis.ts';
import { Network } from './network.ts';
import { Prng } from './prng.ts';
import { RegionProcess, type StartCore, type Watcher } from './region-process.ts';
import {
  type DiskPlan,
  drawPlan,
  type LinkPlan,
  type Plan,
  SCENARIOS,
  type ScenarioName,
} from './scenario.ts';
import { type Marks, Trace } from './trace.ts';
import { Workload } from './workload.ts';

export type SeedOptions = {
  readonly seed: number;
  readonly scenario: ScenarioName;
  /** Keep the story of the run. */
  readonly tells: boolean;
  /** The core to test; the production core unless a test plants another. */
  readonly startCore?: StartCore;
};

export type SeedResult = {
  readonly seed: number;
  readonly plan: Plan;
  readonly hash: string;
  readonly events: number;
  readonly marks: Marks;
  readonly violation: Violation | undefined;
  readonly story: readonly string[];
  /** From healing to equality, in virtual ms. */
  readonly settledMs: number;
};

const SAFETY_US = 8_000_000;
/** I13's bound. Summaries come every second; what a few of them cannot mend in this time, none will. */
export const LIVENESS_US = 30_000_000;
/** What copies of closed epochs get to become exact; some cannot without repair by ranges. */
const CLOSED_US = 6_000_000;
const LIVENESS_STEP_US = 100_000;

const HEALTHY_DISK: DiskPlan = { readMs: 0.2, commitMs: 2, survival: 1, rivalry: 0 };
const HEALTHY_LINKS: LinkPlan = {
  loss: 0,
  repeat: 0,
  corruption: 0,
  forgery: 0,
  overtakes: false,
  delayMs: 5,
  noticeMs: 50,
};

export function runSeed(options: SeedOptions): SeedResult {
  const world = build(options);
  const { queue, trace, checker, plan } = world;
  let settledMs = 0;
  try {
    for (const process of world.processes) process.start();
    world.workload.start();
    world.nemesis.start(plan);
    queue.runUntil(SAFETY_US, () => checker.violation !== undefined);
    settledMs = settle(world);
  } catch (thrown) {
    // What the store or the model refuses was asked for by the core: its fault, in a seed that can be replayed.
    checker.refused(thrown);
  }
  trace.mix(queue.ran, queue.nowUs);
  return {
    seed: options.seed,
    plan,
    hash: trace.hash,
    events: queue.ran,
    marks: trace.marks,
    violation: checker.violation,
    story: trace.story,
    settledMs,
  };
}

/** The second phase; answers how long after healing all was equal, in virtual ms. */
function settle(world: World): number {
  const { checker, processes, network, workload, nemesis, plan } = world;
  workload.stop();
  nemesis.stop();
  const lasting = plan.faults.includes('lasting-cut') ? processes.slice(0, 2) : [];
  network.heal(
    HEALTHY_LINKS,
    lasting.map((process) => process.region),
  );
  for (const process of processes) {
    process.disk.heal(HEALTHY_DISK);
    process.start();
    process.resume();
    process.clock.thaw();
  }
  if (lasting.length > 0) {
    const indirectMs = wait(world, () => checker.isEqual(processes, false));
    checker.finishIndirect(processes, indirectMs);
    network.heal(HEALTHY_LINKS, []);
  }
  const settledMs = wait(world, () => workload.waiting === 0 && checker.isEqual(processes, true));
  waitAtMost(world, CLOSED_US, () => checker.isClosedExact(processes));
  if (checker.violation === undefined) checker.finish(processes, workload.waiting, settledMs);
  return settledMs;
}

/** Lets time pass until all is well, or the bound of I13 is reached, or something is violated. */
function wait(world: World, isWell: () => boolean): number {
  return waitAtMost(world, LIVENESS_US, isWell);
}

function waitAtMost({ queue, checker }: World, limitUs: number, isWell: () => boolean): number {
  const startedUs = queue.nowUs;
  const isViolated = () => checker.violation !== undefined;
  while (!isViolated() && !isWell() && queue.nowUs < startedUs + limitUs) {
    queue.runUntil(queue.nowUs + LIVENESS_STEP_US, isViolated);
  }
  return (queue.nowUs - startedUs) / 1000;
}

type World = ReturnType<typeof build>;

function build(options: SeedOptions) {
  const prng = new Prng(`${options.scenario}/${options.seed}`);
  const plan = drawPlan(SCENARIOS[options.scenario], prng.split('plan'));
  const queue = new EventQueue();
  const trace = new Trace(options.tells);
  const ledger = new Ledger(readClaim);
  const network = new Network({ queue, trace, prng: prng.split('network') }, plan.links);
  const numbers = Array.from({ length: plan.regions }, (_, at) => parseRegionNumber(at + 1));
  const edge = plan.faults.includes('edge') ? numbers.at(-1) : undefined;
  const roster = edge === undefined ? undefined : edgeAt(edge);
  const processes: RegionProcess[] = [];
  const looks = new Looks({ queue, trace, network, processes }, plan.links.delayMs);
  const checker = new Checker({ ledger, trace, nowUs: () => queue.nowUs, edge: roster }, processes);
  const workload = new Workload(
    { queue, trace, prng: prng.split('workload'), checker, processes, looks },
    plan.workload,
  );
  const watcher: Watcher = {
    committed: (process, batch, committed) => checker.committed(process, batch, committed),
    threw: (process, reason) => checker.threw(process, reason),
    stepped: (process, outputs) => {
      workload.answered(process, outputs);
      checker.stepped(process, outputs);
    },
  };
  for (const number of numbers) {
    const own = prng.split(`region ${number}`);
    const epoch = mintEpoch(WALL_START_MS, own.below(65_536));
    const store = new ClaimStore({ region: number, epoch, sequence: 0, time: HYBRID_TIME_ZERO });
    const clock = new SkewedClock(own.split('clock'), plan.clocks);
    const start = options.startCore ?? startCore;
    const isEdge = number === edge;
    const ours = { isEdge, grants: isEdge ? undefined : roster?.grants };
    const deps = { queue, trace, prng: own, network, store, clock, startCore: start, watcher, ...ours };
    const peers = numbers.filter((other) => other !== number);
    const process = new RegionProcess(deps, peers, plan);
    processes.push(process);
    network.join(process);
  }
  const nemesis = new Nemesis({
    queue,
    trace,
    prng: prng.split('nemesis'),
    network,
    workload,
    checker,
    processes,
  });
  return { queue, trace, checker, processes, network, workload, nemesis, plan };
}
