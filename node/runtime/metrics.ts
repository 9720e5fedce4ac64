/**
 * Metrics: one prom-client registry per node instance, never the global one, so that three regions can live in one
 * test process. Rooms make their own metrics from the registry they are handed; labels stay low-cardinality.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export { Counter, Gauge, Histogram, Registry };

/** A registry with the process metrics. */
export function openMetrics(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}
