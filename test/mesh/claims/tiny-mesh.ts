/**
 * A few cores on one table: stores answer at once, messages wait until they are delivered, and the test decides what
 * happens to them on the way. `follow` and `ack` go by the link that their sender dials, `delta` and `summary` by the
 * one that their receiver dials, as on the real transport.
 */
import assert from 'node:assert/strict';
import type { IndexChange } from '#content/claim-writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestFromBytes, digestOf } from '#domain/digest.ts';
import type { Dot } from '#domain/dot.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { parseRepositoryName } from '#domain/name.ts';
import { type Epoch, parseEpoch, parseRegionNumber, type RegionNumber } from '#domain/region.ts';
import { ClaimsCore } from '#mesh/claims/claims-core.ts';
import { type ClaimsConfig, DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import type { Grants } from '#mesh/claims/granted.ts';
import type { Message } from '#mesh/claims/message.ts';
import type { ClaimEvent, Input, Output } from '#mesh/claims/step.ts';
import type { ClaimKey, ViewRow } from '#storage/metadata.ts';
import { ClaimRowsMemory } from './claim-rows-memory.ts';

export const REPOSITORY = parseRepositoryName('team/app');
export const TICK_MS = 100;

export type Sent = { readonly from: number; readonly to: number; readonly message: Message };

export function epochOf(region: number): Epoch {
  return parseEpoch(region.toString(16).padStart(16, '0'));
}

export function digestNamed(text: string): Digest {
  return digestOf(text);
}

export function setTag(tag: string, value: string): IndexChange {
  return { change: 'set-tag', repository: REPOSITORY, tag, digest: digestNamed(value) };
}

export function deleteTag(tag: string): IndexChange {
  return { change: 'delete-tag', repository: REPOSITORY, tag };
}

export function tagKey(tag: string): ClaimKey {
  return { kind: CLAIM_KIND.tag, repository: REPOSITORY, name: tag };
}

/** One region: a core, its store, and everything that it said. */
export class TinyRegion {
  readonly number: RegionNumber;
  rows: ClaimRowsMemory;
  readonly events: ClaimEvent[] = [];
  readonly changed: ClaimKey[] = [];
  readonly sent: Sent[] = [];
  /** Wall clock of this region against the table's. */
  clockOffsetMs = 0;
  /** While true, answers of the store wait for `release`. */
  isStoreSlow = false;
  /** What the store refuses, with this reason. */
  refuse: { readonly output: Output['output']; readonly reason: string } | undefined;
  core: ClaimsCore;
  readonly #mesh: TinyMesh;
  #slowAnswers: readonly Input[] = [];
  readonly #outcomes = new Map<number, Dot | string>();
  #lastWrite = 0;
  #epochs = 0;

  constructor(mesh: TinyMesh, number: number) {
    this.#mesh = mesh;
    this.number = parseRegionNumber(number);
    const origin = { region: this.number, epoch: epochOf(number), sequence: 0, time: HYBRID_TIME_ZERO };
    this.rows = new ClaimRowsMemory(origin);
    this.core = this.start();
  }

  /** A new core from what is stored; everything in memory is gone. */
  start(): ClaimsCore {
    const { origin, cursors } = this.rows;
    const peers = this.#mesh.numbers.map(parseRegionNumber);
    this.#slowAnswers = [];
    const grants = this.#mesh.grantsIn(this.number);
    this.core = new ClaimsCore({ self: this.number, peers, origin, cursors, grants }, this.#mesh.config);
    return this.core;
  }

  /** @throws when the write is refused. */
  write(...changes: readonly IndexChange[]): Dot {
    const outcome = this.tryWrite(...changes);
    assert.ok(typeof outcome === 'object', `the write was refused: ${outcome}`);
    return outcome;
  }

  /** The dot, or the reason why not. */
  tryWrite(...changes: readonly IndexChange[]): Dot | string | undefined {
    return this.tryWriteHaving([], ...changes);
  }

  /** As `tryWrite`, of one that has seen claims which others hold. */
  tryWriteHaving(seen: readonly Uint8Array[], ...changes: readonly IndexChange[]): Dot | string | undefined {
    this.#lastWrite += 1;
    const id = this.#lastWrite;
    this.feed({ input: 'write', id, changes, principal: `user-${this.number}`, seen });
    return this.#outcomes.get(id);
  }

  /** What a look at this region answers. */
  claimsOf(tag: string): readonly Uint8Array[] {
    return this.rows.ofKeys([tagKey(tag)]).flatMap(({ claims }) => claims);
  }

  feed(input: Input): void {
    const inputs: Input[] = [input];
    for (let next = inputs.shift(); next !== undefined; next = inputs.shift()) {
      const outputs = this.core.step(next, this.#mesh.nowMs + this.clockOffsetMs);
      for (const output of outputs) {
        const answers = this.#carryOut(output);
        if (this.isStoreSlow) this.#slowAnswers = [...this.#slowAnswers, ...answers];
        else inputs.push(...answers);
      }
    }
  }

  /** The store gives the answers that it owes; what follows from them is slow again, or not. */
  release(isStoreSlow: boolean, order: 'oldest-first' | 'newest-first' = 'oldest-first'): void {
    this.isStoreSlow = isStoreSlow;
    const answers = order === 'oldest-first' ? this.#slowAnswers : this.#slowAnswers.toReversed();
    this.#slowAnswers = [];
    for (const answer of answers) this.feed(answer);
  }

  view(tag: string): ViewRow | undefined {
    return this.rows.view(tagKey(tag));
  }

  /** What the tag is resolved to, `undefined` when nothing is live. */
  digest(tag: string): Digest | undefined {
    const view = this.view(tag);
    return view?.live ? digestFromBytes(view.value) : undefined;
  }

  cursor(region: number): { readonly have: number; readonly safe: number } {
    const { have, safe } = this.rows.cursors.find((row) => row.region === region) ?? { have: 0, safe: 0 };
    return { have, safe };
  }

  #carryOut(output: Output): readonly Input[] {
    if (this.refuse?.output === output.output && 'id' in output) {
      return [{ input: 'failed', id: output.id, reason: this.refuse.reason }];
    }
    switch (output.output) {
      case 'send':
        this.#mesh.post({ from: this.number, to: output.to, message: output.message });
        this.sent.push({ from: this.number, to: output.to, message: output.message });
        return [];
      case 'read-keys':
        return [{ input: 'keys-read', id: output.id, keys: this.rows.ofKeys(output.keys) }];
      case 'read-range':
        return [{ input: 'range-read', id: output.id, claims: this.rows.range(output.range) }];
      case 'commit':
        return [{ input: 'committed', id: output.id, result: this.rows.commit(output.batch) }];
      case 'begin-epoch': {
        const { id, former, below } = output;
        this.#epochs += 1;
        const epoch = epochOf(1000 * this.#epochs + this.number);
        return [{ input: 'epoch-begun', id, origin: this.rows.beginEpoch({ former, epoch, below }) }];
      }
      case 'written':
        this.#outcomes.set(output.id, output.dot);
        return [];
      case 'write-failed':
        this.#outcomes.set(output.id, output.reason);
        return [];
      case 'changed':
        this.changed.push(...output.keys);
        return [];
      case 'event':
        this.events.push(output.event);
        return [];
    }
  }
}

export class TinyMesh {
  readonly numbers: readonly number[];
  readonly regions: readonly TinyRegion[];
  readonly config: ClaimsConfig;
  readonly grantsIn: (region: number) => Grants | undefined;
  nowMs = 1_700_000_000_000;
  /** What is under way, oldest first. */
  wire: Sent[] = [];
  /** Messages for which this answers false are lost. */
  passes: (sent: Sent) => boolean = () => true;
  readonly #down = new Set<string>();

  /** `grantsIn`: what the roster of a region says; by default it limits nobody. */
  constructor(
    count: number,
    config: Partial<ClaimsConfig> = {},
    grantsIn: (region: number) => Grants | undefined = () => undefined,
  ) {
    this.grantsIn = grantsIn;
    this.config = { ...DEFAULT_CLAIMS_CONFIG, ...config };
    this.numbers = Array.from({ length: count }, (_, index) => index + 1);
    this.regions = this.numbers.map((number) => new TinyRegion(this, number));
    for (const dialler of this.numbers) {
      for (const peer of this.numbers) this.#down.add(`${dialler}>${peer}`);
    }
  }

  region(number: number): TinyRegion {
    const region = this.regions[number - 1];
    assert.ok(region !== undefined);
    return region;
  }

  /** Brings up every link, and delivers what follows from it. */
  connect(): void {
    for (const a of this.numbers) for (const b of this.numbers) if (a < b) this.heal(a, b);
    this.settle();
  }

  heal(a: number, b: number): void {
    for (const [dialler, peer] of [
      [a, b],
      [b, a],
    ] as const) {
      if (!this.#down.delete(`${dialler}>${peer}`)) continue;
      this.region(dialler).feed({ input: 'link-up', peer: parseRegionNumber(peer) });
    }
  }

  cut(a: number, b: number): void {
    this.wire = this.wire.filter(({ from, to }) => !(from === a && to === b) && !(from === b && to === a));
    for (const [dialler, peer] of [
      [a, b],
      [b, a],
    ] as const) {
      this.#down.add(`${dialler}>${peer}`);
      this.region(dialler).feed({ input: 'link-down', peer: parseRegionNumber(peer) });
    }
  }

  /** The process dies and comes back: its links break, and only what is stored stays. */
  restart(number: number): void {
    const peers = this.numbers.filter((peer) => peer !== number && !this.#down.has(`${number}>${peer}`));
    for (const peer of peers) this.cut(number, peer);
    this.region(number).start();
    for (const peer of peers) this.heal(number, peer);
  }

  post(sent: Sent): void {
    const byReceiver = sent.message.type === 'delta' || sent.message.type === 'summary';
    const link = byReceiver ? `${sent.to}>${sent.from}` : `${sent.from}>${sent.to}`;
    if (!this.#down.has(link) && this.passes(sent)) this.wire.push(sent);
  }

  deliver({ from, to, message }: Sent): void {
    this.region(to).feed({ input: 'received', from: parseRegionNumber(from), message });
  }

  /** Delivers everything that is under way, and what comes of it. */
  settle(): void {
    for (let next = this.wire.shift(); next !== undefined; next = this.wire.shift()) this.deliver(next);
  }

  /** Takes what is under way off the wire. */
  takeWire(): readonly Sent[] {
    const taken = this.wire;
    this.wire = [];
    return taken;
  }

  /** Lets time pass in ticks; everything arrives within its tick. */
  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += TICK_MS) {
      this.nowMs += TICK_MS;
      for (const region of this.regions) region.feed({ input: 'tick' });
      this.settle();
    }
  }

  /** All regions hold the same claims and show the same views, and know that nothing is missing. */
  assertEqual(): void {
    for (const region of this.regions) {
      assert.equal(
        region.rows.fingerprint(),
        this.region(1).rows.fingerprint(),
        `region ${region.number} differs`,
      );
      for (const origin of this.regions) {
        if (origin === region) continue;
        const { sequence } = origin.rows.origin;
        assert.deepEqual(region.cursor(origin.number), { have: sequence, safe: sequence });
      }
    }
  }
}
