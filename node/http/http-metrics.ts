/**
 * What is counted about requests. The servers of one node share these metrics and tell themselves apart by a label;
 * routes are the API's, never paths, so the number of series is fixed.
 */
import { Counter, Gauge, Histogram, type Registry } from '#runtime/metrics.ts';

export type CountedCall = {
  readonly method: string;
  readonly route: string;
  readonly status: number;
  readonly durationMs: number;
  readonly bytesOut: number;
};

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']);
/** From a manifest out of memory to a blob over a slow link, in seconds. */
const DURATION_BUCKETS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300];

export class HttpMetrics {
  readonly #server: string;
  readonly #requests: Counter<'server' | 'method' | 'route' | 'status'>;
  readonly #duration: Histogram<'server' | 'route'>;
  readonly #bytes: Counter<'server' | 'route'>;
  readonly #inFlight: Gauge.Internal<'server'>;
  /** Looking labels up costs more than counting; the children of hot series are kept. Bounded by the labels' values. */
  readonly #children = new Map<string, (call: CountedCall) => void>();

  constructor(registry: Registry, server: string) {
    this.#server = server;
    this.#requests = shared(registry, 'fairway_http_requests_total', (name) => {
      const labelNames = ['server', 'method', 'route', 'status'] as const;
      return new Counter({ name, help: 'Requests answered.', labelNames, registers: [registry] });
    });
    this.#duration = shared(registry, 'fairway_http_request_duration_seconds', (name) => {
      const help = 'From the headers of a request to the end of its answer.';
      const labelNames = ['server', 'route'] as const;
      return new Histogram({ name, help, labelNames, buckets: DURATION_BUCKETS, registers: [registry] });
    });
    this.#bytes = shared(registry, 'fairway_http_response_bytes_total', (name) => {
      const labelNames = ['server', 'route'] as const;
      return new Counter({ name, help: 'Bytes of answered bodies.', labelNames, registers: [registry] });
    });
    const inFlight = shared(registry, 'fairway_http_requests_in_flight', (name) => {
      const labelNames = ['server'] as const;
      return new Gauge({ name, help: 'Requests being answered.', labelNames, registers: [registry] });
    });
    this.#inFlight = inFlight.labels({ server });
  }

  began(): void {
    this.#inFlight.inc();
  }

  ended(call: CountedCall): void {
    this.#inFlight.dec();
    const method = METHODS.has(call.method) ? call.method : 'other';
    const status = `${Math.floor(call.status / 100)}xx`;
    const key = `${method} ${call.route} ${status}`;
    let child = this.#children.get(key);
    if (child === undefined) {
      child = this.#child({ server: this.#server, route: call.route }, method, status);
      this.#children.set(key, child);
    }
    child(call);
  }

  #child(
    labels: { readonly server: string; readonly route: string },
    method: string,
    status: string,
  ): (call: CountedCall) => void {
    const requests = this.#requests.labels({ ...labels, method, status });
    const duration = this.#duration.labels(labels);
    const bytes = this.#bytes.labels(labels);
    return (call) => {
      requests.inc();
      duration.observe(call.durationMs / 1000);
      if (call.bytesOut > 0) bytes.inc(call.bytesOut);
    };
  }
}

function shared<Kind extends Counter<string> | Histogram<string> | Gauge<string>>(
  registry: Registry,
  name: string,
  make: (name: string) => Kind,
): Kind {
  return (registry.getSingleMetric(name) as Kind | undefined) ?? make(name);
}
