/**
 * A mesh on one machine: one process and one folder per region, and between each directed pair of regions a relay
 * that can slow, count and cut what passes. `fairway up` is a thin shell around it, and so are tests of whole regions.
 */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UnavailableError } from '#domain/errors.ts';
import type { RegionName, RegionNumber } from '#domain/region.ts';
import type { Address, LinkConfig, RegionEntry } from '#node/config.ts';
import { systemClock } from '#runtime/clock.ts';
import { lockFolder } from '#storage/folder-lock.ts';
import {
  ensureCertificates,
  type MeshRoster,
  type NamedRegion,
  openRoster,
  writeNodeConfig,
} from './mesh-folder.ts';
import { type RegionEnd, RegionProcess } from './region-process.ts';
import { Direction, NO_SHAPE, Relay, type Shape } from './relay.ts';

export type LocalMeshConfig = {
  readonly data: string;
  readonly regions: readonly RegionName[];
  /** Regions that are no ordinary ones. Default: all are core regions that may originate everything. */
  readonly granted?: readonly NamedRegion[];
  /** Region i (from 1): registry at P+i, management at P+100+i, gRPC at P+200+i, peer HTTP at P+300+i. */
  readonly basePort: number;
  readonly links: readonly LinkConfig[];
  /** Told of a region that ended without being asked to. */
  readonly onUnexpectedEnd: (region: RegionName, end: RegionEnd) => void;
};

export type LocalRegion = RegionEntry & {
  readonly folder: string;
  readonly registry: Address;
  readonly management: Address;
  readonly mesh: Address;
  readonly peer: Address;
};

const PORT_STEP = { registry: 0, management: 100, mesh: 200, peer: 300 } as const;
/** A region that has not stopped by then is killed: with the rest of the shutdown this stays within 5 s. */
const STOP_MS = 4000;
const LOOPBACK = '127.0.0.1';

export class LocalMesh implements AsyncDisposable {
  readonly regions: readonly LocalRegion[];
  readonly #config: LocalMeshConfig;
  readonly #stack = new AsyncDisposableStack();
  readonly #directions = new Map<string, Direction>();
  readonly #relays = new Map<string, Relay[]>();
  readonly #processes = new Map<RegionName, RegionProcess>();
  /** Regions that are meant to run: an end of any other is expected. */
  readonly #wanted = new Set<RegionName>();
  readonly #roster: MeshRoster;

  private constructor(config: LocalMeshConfig, roster: MeshRoster) {
    this.#config = config;
    this.#roster = roster;
    this.regions = config.regions.map((name, position) => {
      const at = (step: number): Address => ({ host: LOOPBACK, port: config.basePort + step + position + 1 });
      return {
        ...asked(config, name),
        number: roster.numbers.get(name) as RegionNumber,
        folder: join(resolve(config.data), name),
        registry: at(PORT_STEP.registry),
        management: at(PORT_STEP.management),
        mesh: at(PORT_STEP.mesh),
        peer: at(PORT_STEP.peer),
      };
    });
  }

  /** Sets up what is missing and starts every region. @throws Error, in one line, when a region cannot start. */
  static async start(config: LocalMeshConfig): Promise<LocalMesh> {
    await using stack = new AsyncDisposableStack();
    prepareFolder(config.data);
    stack.use(await lockFolder(config.data));
    const roster = openRoster(
      config.data,
      config.regions.map((name) => asked(config, name)),
    );
    await ensureCertificates(config.data, roster, config.regions);
    const mesh = new LocalMesh(config, roster);
    mesh.#stack.use(stack.move());
    try {
      await mesh.#openRelays();
      await mesh.#startAll();
    } catch (thrown) {
      await mesh[Symbol.asyncDispose]();
      throw thrown;
    }
    return mesh;
  }

  region(name: string): LocalRegion {
    const found = this.regions.find((region) => region.name === name);
    if (found === undefined) throw new Error(`no region ${name} in this mesh`);
    return found;
  }

  pid(name: RegionName): number | undefined {
    return this.#processes.get(name)?.pid;
  }

  /** Resolves when the process has ended. */
  async kill(name: RegionName, signal: NodeJS.Signals): Promise<void> {
    this.#wanted.delete(name);
    const running = this.#processes.get(name);
    running?.kill(signal);
    await running?.ended;
  }

  /** Starts a region that is not running; resolves when it serves. */
  async startRegion(name: RegionName): Promise<void> {
    const region = this.region(name);
    this.#wanted.add(name);
    const running = new RegionProcess(name, region.folder);
    this.#processes.set(name, running);
    void running.ended.then((end) => {
      if (this.#wanted.has(name) && this.#processes.get(name) === running)
        this.#config.onUnexpectedEnd(name, end);
    });
    try {
      await running.started;
    } catch (cause) {
      this.#wanted.delete(name);
      throw new UnavailableError(`${name}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }

  /** Bytes that went from one region to another, whoever dialled. */
  bytes(from: RegionName, to: RegionName): number {
    return this.#direction(from, to).bytes;
  }

  shape(from: RegionName, to: RegionName, shape: Shape): void {
    this.#direction(from, to).shape = shape;
  }

  /** Cuts both directions between two regions. */
  cut(one: RegionName, other: RegionName): void {
    for (const relay of this.#between(one, other)) relay.cut();
  }

  heal(one: RegionName, other: RegionName): void {
    for (const relay of this.#between(one, other)) relay.heal();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#wanted.clear();
    await Promise.all([...this.#processes.values()].map(stop));
    await this.#stack.disposeAsync();
  }

  async #openRelays(): Promise<void> {
    for (const link of this.#config.links) {
      const shape = { delayMs: link.rttMs / 2, bytesPerSecond: (link.mbps * 1e6) / 8 };
      this.shape(link.between[0], link.between[1], shape);
      this.shape(link.between[1], link.between[0], shape);
    }
    for (const region of this.regions) {
      const others = this.regions.filter((other) => other !== region);
      const peers = await Promise.all(
        others.map(async (other) => ({
          ...{ name: other.name, number: other.number, role: other.role, grant: other.grant },
          mesh: await this.#openRelay(region.name, other.name, other.mesh),
          peer: await this.#openRelay(region.name, other.name, other.peer),
        })),
      );
      writeNodeConfig(this.#config.data, this.#roster, { ...region, listen: region, peers });
    }
  }

  async #openRelay(from: RegionName, to: RegionName, target: Address): Promise<Address> {
    const directions = { there: this.#direction(from, to), back: this.#direction(to, from) };
    const relay = this.#stack.use(new Relay({ ...directions, clock: systemClock }, target));
    const key = pair(from, to);
    this.#relays.set(key, [...(this.#relays.get(key) ?? []), relay]);
    return await relay.listen(0);
  }

  async #startAll(): Promise<void> {
    const results = await Promise.allSettled(this.regions.map((region) => this.startRegion(region.name)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  #direction(from: RegionName, to: RegionName): Direction {
    const key = pair(from, to);
    const direction = this.#directions.get(key) ?? new Direction(NO_SHAPE);
    this.#directions.set(key, direction);
    return direction;
  }

  #between(one: RegionName, other: RegionName): readonly Relay[] {
    return [...(this.#relays.get(pair(one, other)) ?? []), ...(this.#relays.get(pair(other, one)) ?? [])];
  }
}

function asked({ granted = [] }: LocalMeshConfig, name: RegionName): NamedRegion {
  return granted.find((region) => region.name === name) ?? { name, role: 'core' };
}

function pair(from: RegionName, to: RegionName): string {
  return `${from}>${to}`;
}

function prepareFolder(data: string): void {
  try {
    mkdirSync(data, { recursive: true });
  } catch (cause) {
    throw new Error(
      `cannot make the data folder ${data}: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    );
  }
}

async function stop(running: RegionProcess): Promise<void> {
  running.kill('SIGTERM');
  using _patience = systemClock.after(STOP_MS, () => running.kill('SIGKILL'));
  await running.ended;
}
