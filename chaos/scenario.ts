/**
 * What may go wrong in a run. Each seed draws a plan: a random half of the menu is switched off, and what stays is
 * given random intensities ("swarm testing", Groce et al. 2012: runs that lack some faults reach states that runs
 * with all of them never do). A scenario fixes some of the menu and leaves the rest to chance. Ranges start from
 * those of TigerBeetle's VOPR.
 */
import type { ClaimsConfig } from '#mesh/claims/core-state.ts';
import type { Prng } from './prng.ts';
import { MARKS, type Mark } from './trace.ts';

const FAULTS = [
  'loss',
  'repeat',
  'overtake',
  'corruption',
  'forgery',
  'partition',
  'half-open',
  'crash',
  'pause',
  'clocks',
  'full-disk',
  'slow-disk',
  'rivals',
  'lasting-cut',
  'restore',
  'promotion',
  'edge',
] as const;
export type Fault = (typeof FAULTS)[number];

export type Scenario = {
  readonly about: string;
  readonly always: readonly Fault[];
  readonly never: readonly Fault[];
  readonly regionsMax: number;
  /** What a batch of enough seeds must have seen, beside acknowledged writes. */
  readonly expects: readonly Mark[];
};

export const SCENARIOS = {
  default: {
    about: 'three regions; any half of all faults',
    always: [],
    never: [],
    regionsMax: 3,
    expects: MARKS,
  },
  calm: {
    about: 'three regions and no fault: only writes that race',
    always: [],
    never: FAULTS,
    regionsMax: 3,
    expects: ['conflicts'],
  },
  partition: {
    about: 'links that break, in one direction or both, noticed late',
    always: ['partition', 'half-open', 'lasting-cut'],
    never: ['crash', 'full-disk'],
    regionsMax: 3,
    expects: ['conflicts', 'relays', 'partitions', 'half-open links', 'lost messages'],
  },
  'crash-heavy': {
    about: 'processes that die and return again and again, on slow and full disks',
    always: ['crash', 'slow-disk'],
    never: [],
    regionsMax: 3,
    expects: ['crashes', 'commits lost in a crash', 'commits unanswered in a crash', 'writes unknown'],
  },
  restores: {
    about: 'regions that are set back to older states of their disks, again and again',
    always: ['restore'],
    never: ['forgery'],
    regionsMax: 4,
    expects: ['restores', 'new epochs', 'lost tails that came back', 'lost tails that nobody had'],
  },
  promotions: {
    about: 'regions that go on with a standby which lags behind what was acknowledged',
    always: ['promotion'],
    never: ['forgery'],
    regionsMax: 4,
    expects: ['promoted standbys', 'new epochs', 'lost tails that came back'],
  },
  clocks: {
    about: 'wall clocks that are off, drift, stand still and jump by up to minutes',
    always: ['clocks', 'partition'],
    never: ['corruption', 'forgery'],
    regionsMax: 3,
    expects: ['clock steps', 'frozen clocks', 'conflicts'],
  },
  lossy: {
    about: 'messages lost, repeated, overtaken and corrupted on every link',
    always: ['loss', 'repeat', 'overtake', 'corruption', 'forgery'],
    never: ['partition', 'half-open', 'lasting-cut', 'crash', 'pause'],
    regionsMax: 3,
    expects: ['lost messages', 'repeated messages', 'overtaken messages', 'refused frames', 'refused deltas'],
  },
  edge: {
    about: 'three core regions, and an edge in other hands that writes what it may not',
    always: ['edge'],
    never: [],
    regionsMax: 3,
    expects: ['refused claims', 'refused deltas', 'conflicts'],
  },
  'five-regions': {
    about: 'three to five regions; any half of all faults',
    always: [],
    never: [],
    regionsMax: 5,
    expects: ['conflicts', 'relays', 'crashes', 'partitions'],
  },
} satisfies Record<string, Scenario>;
export type ScenarioName = keyof typeof SCENARIOS;

export function isScenarioName(text: string): text is ScenarioName {
  return Object.hasOwn(SCENARIOS, text);
}

/** How often something happens to the mesh, and for how long; means, in virtual ms. `undefined`: never. */
export type Episode = { readonly everyMs: number; readonly lengthMs: number } | undefined;

export type Plan = {
  /** With an edge it is one more, the last. */
  readonly regions: number;
  readonly faults: readonly Fault[];
  readonly links: LinkPlan;
  readonly partitions: Episode;
  readonly halfOpen: Episode;
  readonly crashes: Episode;
  readonly restores: Episode;
  readonly promotions: Episode;
  readonly pauses: Episode;
  readonly fullDisks: Episode;
  readonly clocks: ClockPlan;
  readonly disk: DiskPlan;
  readonly workload: WorkloadPlan;
  readonly core: CorePlan;
};

/** Probabilities are per message; each directed link takes between none and all of them. */
export type LinkPlan = {
  readonly loss: number;
  readonly repeat: number;
  readonly corruption: number;
  readonly forgery: number;
  /** Messages may overtake each other, and arrive after their link broke. */
  readonly overtakes: boolean;
  readonly delayMs: number;
  /** How late a process hears that a link came or went. */
  readonly noticeMs: number;
  /** Every message takes just `delayMs`, and every link takes all of the loss: for measuring. */
  readonly isEven?: boolean;
};

export type ClockPlan = {
  readonly offsetMs: number;
  readonly driftPpm: number;
  readonly steps: Episode;
  readonly freezes: Episode;
  readonly stepMs: number;
};

export type DiskPlan = {
  readonly readMs: number;
  readonly commitMs: number;
  /** Chance that a commit under way at a crash is found on the disk afterwards. */
  readonly survival: number;
  /** Chance that another process of the region changes a key between a read and the commit that rests on it. */
  readonly rivalry: number;
};

/** Limits of the core: in half of the seeds small, so that few claims cut deltas, use up credit and fill queues. */
export type CorePlan = Partial<
  Pick<ClaimsConfig, 'deltaClaimsMax' | 'deltaBytesMax' | 'creditBytes' | 'writesMax'>
>;

export type WorkloadPlan = {
  readonly everyMs: number;
  /** Chance that the next write follows at once. */
  readonly burst: number;
  readonly tags: number;
  /** Chance that a client's region looks at the others before it writes a tag. */
  readonly look: number;
  /** Relative weights. */
  readonly push: number;
  readonly retag: number;
  readonly deleteTag: number;
  readonly deleteManifest: number;
  readonly policy: number;
};

export function drawPlan(scenario: Scenario, prng: Prng): Plan {
  const faults = FAULTS.filter(
    (fault) => scenario.always.includes(fault) || (drawn(fault, prng) && !scenario.never.includes(fault)),
  );
  const has = (fault: Fault) => faults.includes(fault);
  const upTo = (fault: Fault, most: number) => (has(fault) ? most * prng.fraction() : 0);
  return {
    regions: prng.between(3, scenario.regionsMax) + (has('edge') ? 1 : 0),
    faults,
    links: {
      loss: upTo('loss', 0.3),
      repeat: upTo('repeat', 0.3),
      corruption: upTo('corruption', 0.05),
      forgery: upTo('forgery', 0.1),
      overtakes: has('overtake'),
      delayMs: prng.pick([1, 5, 20, 60, 150]),
      noticeMs: prng.pick([10, 300, 2000]),
    },
    partitions: episode(has('partition'), prng, { everyMs: 3000, lengthMs: 2500 }),
    halfOpen: episode(has('half-open'), prng, { everyMs: 2500, lengthMs: 1500 }),
    crashes: episode(has('crash'), prng, { everyMs: 2000, lengthMs: 800 }),
    restores: episode(has('restore'), prng.split('restores'), { everyMs: 3000, lengthMs: 2000 }),
    promotions: episode(has('promotion'), prng.split('promotions'), { everyMs: 3000, lengthMs: 600 }),
    pauses: episode(has('pause'), prng, { everyMs: 3000, lengthMs: 1200 }),
    fullDisks: episode(has('full-disk'), prng, { everyMs: 4000, lengthMs: 500 }),
    clocks: {
      offsetMs: has('clocks') ? prng.pick([50, 1_000, 30_000, 600_000]) : 0,
      driftPpm: has('clocks') ? prng.pick([0, 200, 20_000]) : 0,
      steps: episode(has('clocks'), prng, { everyMs: 2500, lengthMs: 0 }),
      freezes: episode(has('clocks'), prng.split('freezes'), { everyMs: 3000, lengthMs: 1500 }),
      stepMs: prng.pick([5, 500, 10_000, 120_000]),
    },
    disk: {
      readMs: has('slow-disk') ? prng.pick([2, 20, 80]) : 0.2,
      commitMs: has('slow-disk') ? prng.pick([10, 60, 250]) : 2,
      survival: prng.fraction(),
      rivalry: upTo('rivals', 0.2),
    },
    workload: drawWorkload(prng),
    core: prng.chance(0.5) ? {} : drawLimits(prng),
  };
}

/** The younger faults have chance of their own, so that the seeds from before them kept their plans. */
function drawn(fault: Fault, prng: Prng): boolean {
  const isYoung = fault === 'restore' || fault === 'promotion' || fault === 'edge';
  return isYoung ? prng.split(fault).chance(0.3) : prng.chance(0.5);
}

function drawLimits(prng: Prng): CorePlan {
  return {
    deltaClaimsMax: prng.pick([1, 3, 10, 1000]),
    deltaBytesMax: prng.pick([1, 1_000, 4_000, 256 * 1024]),
    creditBytes: prng.pick([1, 1_000, 10_000, 1024 * 1024]),
    writesMax: prng.pick([2, 10, 10_000]),
  };
}

function episode(
  happens: boolean,
  prng: Prng,
  mean: { readonly everyMs: number; readonly lengthMs: number },
): Episode {
  const [often, long] = [0.4 + prng.fraction(), 0.2 + 1.6 * prng.fraction()];
  return happens ? { everyMs: mean.everyMs * often, lengthMs: mean.lengthMs * long } : undefined;
}

function drawWorkload(prng: Prng): WorkloadPlan {
  return {
    everyMs: prng.pick([60, 150, 400]),
    burst: prng.pick([0, 0.2, 0.6]),
    tags: prng.between(1, 4),
    look: prng.pick([0, 0.5, 1]),
    push: prng.between(1, 10),
    retag: prng.between(0, 8),
    deleteTag: prng.between(0, 6),
    deleteManifest: prng.between(0, 3),
    policy: prng.between(0, 2),
  };
}
