/** Regions on gRPC over loopback for tests, each dialling each through a relay of its own. */
import { parseRegionName, parseRegionNumber, type RegionNumber } from '#domain/region.ts';
import { createAuthority, issueCertificate, type KeyPair } from '#mesh/transport/authority.ts';
import type { TlsFiles } from '#mesh/transport/grpc-glue.ts';
import { GrpcTransport, type TransportTimings } from '#mesh/transport/transport-grpc.ts';
import { type Clock, systemClock } from '#runtime/clock.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import { EPOCH } from '#test/suites/transport-samples.ts';
import type { TransportRig } from '#test/suites/transport-suite.ts';
import { Relay } from './relay.ts';

export const MESH = 'test-mesh';
/** Fast enough for tests, and slow enough that a busy machine is not taken for a dead peer. */
export const FAST: Partial<TransportTimings> = {
  beatMs: 50,
  silenceMs: 2000,
  redial: { baseMs: 10, maxMs: 50 },
  drainMs: 500,
};

export function regionName(number: number) {
  return parseRegionName(`region-${number}`);
}

export class Certificates {
  readonly authority: KeyPair;

  constructor(authority: KeyPair) {
    this.authority = authority;
  }

  static async of(meshId = MESH): Promise<Certificates> {
    return new Certificates(await createAuthority({ meshId }));
  }

  async tls(number: number, meshId = MESH): Promise<TlsFiles> {
    const own = await issueCertificate(this.authority, {
      meshId,
      region: regionName(number),
      number,
      hosts: ['localhost', '127.0.0.1'],
      days: 1,
    });
    return { authorityPem: this.authority.certificatePem, ...own };
  }
}

type Place = { tls: TlsFiles; readonly metrics: Registry; latest: GrpcTransport | undefined };

export type RigOptions = { readonly timings?: Partial<TransportTimings>; readonly clock?: Clock };

export class GrpcRig implements TransportRig {
  readonly certificates: Certificates;
  readonly #options: RigOptions;
  readonly #places: ReadonlyMap<RegionNumber, Place>;
  readonly #relays: ReadonlyMap<string, Relay>;
  readonly #opened: GrpcTransport[] = [];

  private constructor(
    certificates: Certificates,
    regions: {
      readonly places: ReadonlyMap<RegionNumber, Place>;
      readonly relays: ReadonlyMap<string, Relay>;
    },
    options: RigOptions,
  ) {
    this.certificates = certificates;
    this.#places = regions.places;
    this.#relays = regions.relays;
    this.#options = options;
  }

  static async open(count: number, options: RigOptions = {}): Promise<GrpcRig> {
    const certificates = await Certificates.of();
    const places = new Map<RegionNumber, Place>();
    const relays = new Map<string, Relay>();
    const numbers = Array.from({ length: count }, (_, position) => parseRegionNumber(position + 1));
    for (const number of numbers) {
      places.set(number, { tls: await certificates.tls(number), metrics: new Registry(), latest: undefined });
      for (const peer of numbers) {
        if (peer !== number)
          relays.set(`${number}>${peer}`, await Relay.open(() => places.get(peer)?.latest?.port ?? 0));
      }
    }
    return new GrpcRig(certificates, { places, relays }, options);
  }

  /** Listens where this region listened before, or on any port. */
  transport(number: RegionNumber, port?: number): GrpcTransport {
    const place = this.place(number);
    place.metrics.clear();
    const peers = [...this.#places.keys()].filter((peer) => peer !== number);
    const transport = new GrpcTransport(
      {
        clock: this.#options.clock ?? systemClock,
        random: systemRandom,
        log: silentLog,
        metrics: place.metrics,
      },
      {
        meshId: MESH,
        self: { region: regionName(number), number, epoch: () => EPOCH },
        listen: { host: '127.0.0.1', port: port ?? place.latest?.port ?? 0 },
        tls: place.tls,
        peers: peers.map((peer) => ({
          number: peer,
          name: regionName(peer),
          address: this.relay(number, peer).address,
        })),
        timings: this.#options.timings ?? FAST,
      },
    );
    this.#opened.push(transport);
    place.latest = transport;
    return transport;
  }

  place(number: RegionNumber): Place {
    const place = this.#places.get(number);
    if (place === undefined) throw new Error(`no region ${number}`);
    return place;
  }

  relay(dialler: RegionNumber, peer: RegionNumber): Relay {
    const relay = this.#relays.get(`${dialler}>${peer}`);
    if (relay === undefined) throw new Error(`no relay ${dialler}>${peer}`);
    return relay;
  }

  cut(dialler: RegionNumber, peer: RegionNumber): void {
    this.relay(dialler, peer).cut();
  }

  heal(dialler: RegionNumber, peer: RegionNumber): void {
    this.relay(dialler, peer).heal();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#opened.map((transport) => transport[Symbol.asyncDispose]()));
    await Promise.all([...this.#relays.values()].map((relay) => relay[Symbol.asyncDispose]()));
  }
}
