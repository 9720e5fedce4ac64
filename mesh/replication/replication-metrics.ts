/** What operators watch of replication: how much waits, how old it becomes, and how tasks end. */
import { Counter, Gauge, Histogram, type Registry } from '#runtime/metrics.ts';
import type { TaskRows, TaskState } from '#storage/metadata.ts';

export type TaskEnd = 'done' | 'skipped' | 'retried' | 'parked' | 'stopped';

export class ReplicationMetrics {
  readonly ended: Counter<'outcome'>;
  readonly bytes: Counter;
  readonly lag: Histogram;
  readonly planned: Counter;

  constructor(registry: Registry, tasks: Pick<TaskRows, 'counts'>) {
    const registers = [registry];
    this.ended = new Counter({
      name: 'fairway_replication_tasks_ended_total',
      help: 'Attempts at replication tasks, by how they ended.',
      labelNames: ['outcome'],
      registers,
    });
    this.bytes = new Counter({
      name: 'fairway_replication_bytes_total',
      help: 'Bytes that replication brought into this region.',
      registers,
    });
    this.planned = new Counter({
      name: 'fairway_replication_tasks_planned_total',
      help: 'Images that were found wanted and not whole here.',
      registers,
    });
    this.lag = new Histogram({
      name: 'fairway_replication_lag_seconds',
      help: 'Time from when an image was found wanted until it was whole here.',
      buckets: [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600, 36_000],
      registers,
    });
    this.#watchQueue(registry, tasks);
  }

  #watchQueue(registry: Registry, tasks: Pick<TaskRows, 'counts'>): void {
    new Gauge({
      name: 'fairway_replication_tasks',
      help: 'Replication tasks of this region, by state.',
      labelNames: ['state'],
      registers: [registry],
      async collect() {
        const counts = await tasks.counts();
        for (const [state, count] of Object.entries(counts)) this.set({ state: state as TaskState }, count);
      },
    });
  }
}
