/** What the transport counts. Labels are regions, kinds of messages and status codes: a few dozen series in all. */
import { status } from '@grpc/grpc-js';
import type { Message } from '#mesh/claims/message.ts';
import { Counter, Gauge, type Registry } from '#runtime/metrics.ts';
import type { Link } from './transport.ts';

/** Codes with which this region refuses what a peer is or sends, as opposed to links that merely end. */
const REFUSALS: ReadonlySet<status> = new Set([
  status.INVALID_ARGUMENT,
  status.PERMISSION_DENIED,
  status.FAILED_PRECONDITION,
  status.RESOURCE_EXHAUSTED,
]);

export class TransportMetrics {
  readonly #messages: Counter<'direction' | 'type'>;
  readonly #dropped: Counter<'type'>;
  readonly #refusals: Counter<'code'>;

  constructor(registry: Registry, links: () => readonly (Link & { readonly name: string })[]) {
    const registers = [registry];
    this.#messages = new Counter({
      name: 'fairway_mesh_messages_total',
      help: 'Messages between regions that were sent or received',
      labelNames: ['direction', 'type'],
      registers,
    });
    this.#dropped = new Counter({
      name: 'fairway_mesh_messages_dropped_total',
      help: 'Messages that were not sent because there was no link or its queue was full',
      labelNames: ['type'],
      registers,
    });
    this.#refusals = new Counter({
      name: 'fairway_mesh_refusals_total',
      help: 'Calls, messages and answers of peers that were refused, by status code',
      labelNames: ['code'],
      registers,
    });
    new Gauge({
      name: 'fairway_mesh_link_up',
      help: '1 while the link that this region dials to the peer is up',
      labelNames: ['peer'],
      registers,
      collect() {
        for (const { name, up } of links()) this.set({ peer: name }, up ? 1 : 0);
      },
    });
    new Gauge({
      name: 'fairway_mesh_round_trip_seconds',
      help: 'Smoothed round trip to the peer; 0 before the first measure',
      labelNames: ['peer'],
      registers,
      collect() {
        for (const { name, roundTripMs } of links()) this.set({ peer: name }, roundTripMs / 1000);
      },
    });
  }

  sent(type: Message['type'], queued: boolean): void {
    if (queued) this.#messages.inc({ direction: 'sent', type });
    else this.#dropped.inc({ type });
  }

  received(type: Message['type']): void {
    this.#messages.inc({ direction: 'received', type });
  }

  /** Counts codes that are refusals, and no others. */
  ended(code: status): void {
    if (REFUSALS.has(code)) this.#refusals.inc({ code: status[code] });
  }
}
