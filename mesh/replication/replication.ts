/**
 * Replication of one region: a planner that finds what is wanted here, and a worker that copies it. The planner
 * wakes the worker; all else goes through the durable tasks between them.
 */
import type { Registry } from '#runtime/metrics.ts';
import type { ManifestRows, TaskRows, ViewRows } from '#storage/metadata.ts';
import { Planner, type PlannerConfig, type PlannerDeps } from './planner.ts';
import { ReplicationMetrics } from './replication-metrics.ts';
import { ReplicationWorker, type WorkerConfig, type WorkerDeps } from './worker.ts';

export type ReplicationDeps = Pick<PlannerDeps, 'policies' | 'onChanged'> &
  Pick<WorkerDeps, 'closure' | 'clock' | 'random' | 'log'> & {
    readonly metadata: {
      readonly views: ViewRows;
      readonly manifests: Pick<ManifestRows, 'presence'>;
      readonly tasks: TaskRows;
    };
    readonly metrics: Registry;
  };

/** Replicates until it is disposed, which takes at most 2 s. */
export function startReplication(
  deps: ReplicationDeps,
  config: PlannerConfig & WorkerConfig,
): AsyncDisposable {
  const { views, manifests, tasks } = deps.metadata;
  const metrics = new ReplicationMetrics(deps.metrics, tasks);
  const worker = new ReplicationWorker({ ...deps, tasks, views, metrics }, config);
  const onPlanned = () => worker.wake();
  const planner = new Planner({ ...deps, tasks, views, manifests, metrics, onPlanned }, config);
  worker.start();
  planner.start();
  const stack = new AsyncDisposableStack();
  stack.use(worker);
  stack.use(planner);
  return stack;
}
