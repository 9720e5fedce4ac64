/**
 * What is counted about requests. The servers of one node share these metrics and tell themselves apart by a label;
 * routes are the API's, never paths, so the number of series is fixed.
 *
 * Counts are kept here and told to prom-client when somebody asks: each `inc` of its own hashes its labels again,
 * and there were four for each request.
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
  readonly #inFlight: Gauge<'server'>;
  /** By method, route and status; bounded by their values. */
  readonly #tallies = new Map<string, Tally>();
  #running = 0;

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
    this.#inFlight = inFlight;
    for (const metric of [this.#requests, this.#bytes, this.#inFlight])
      beforeRead(metric, () => this.#tell());
  }

  began(): void {
    this.#running += 1;
  }

  ended(call: CountedCall): void {
    this.#running -= 1;
    const method = METHODS.has(call.method) ? call.method : 'other';
    const status = `${Math.floor(call.status / 100)}xx`;
    const key = `${method} ${call.route} ${status}`;
    let tally = this.#tallies.get(key);
    if (tally === undefined) {
      const labels = { server: this.#server, route: call.route };
      tally = { labels, method, status, requests: 0, bytes: 0, duration: this.#duration.labels(labels) };
      this.#tallies.set(key, tally);
    }
    tally.requests += 1;
    tally.bytes += call.bytesOut;
    tally.duration.observe(call.durationMs / 1000);
  }

  #tell(): void {
    this.#inFlight.set({ server: this.#server }, this.#running);
    for (const tally of this.#tallies.values()) {
      const { labels, method, status, requests, bytes } = tally;
      if (requests > 0) this.#requests.inc({ ...labels, method, status }, requests);
      if (bytes > 0) this.#bytes.inc(labels, bytes);
      tally.requests = 0;
      tally.bytes = 0;
    }
  }
}

/** What was counted of one series, and not told yet. */
type Tally = {
  readonly labels: { readonly server: string; readonly route: string };
  readonly method: string;
  readonly status: string;
  readonly duration: Histogram.Internal<'server' | 'route'>;
  requests: number;
  bytes: number;
};

/** Adds to what is done before the metric is read; the servers of one node share it. */
function beforeRead(counted: object, tell: () => void): void {
  // prom-client calls it before each read; its types have it on the constructor's options only.
  const metric = counted as { collect?: () => void };
  const others = metric.collect;
  metric.collect = () => {
    others?.();
    tell();
  };
}

function shared<Kind extends Counter<string> | Histogram<string> | Gauge<string>>(
  registry: Registry,
  name: string,
  make: (name: string) => Kind,
): Kind {
  return (registry.getSingleMetric(name) as Kind | undefined) ?? make(name);
}
