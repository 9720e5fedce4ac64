/**
 * Runs the step of the index on the real store, transport and clock. It holds no decisions: it carries the outputs
 * out in order, and feeds what comes of them back in. Nothing waits for a timer on the way of a push: its claims are
 * read and sent as soon as they are committed.
 *
 * A refusal of the store (disk full, closed) becomes a `failed` input. An assertion of the step is not caught.
 */
import type { ClaimWriter, IndexChange } from '#content/claim-writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestFromBytes, isDigest } from '#domain/digest.ts';
import type { Dot } from '#domain/dot.ts';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { LocateReply, LocateRequest, Transport } from '#mesh/transport/transport.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { Counter, Gauge, type Registry } from '#runtime/metrics.ts';
import type { ClaimKey, ClaimRows, ManifestRows } from '#storage/metadata.ts';
import { type KeyResolution, resolveStored } from './claim-view.ts';
import { ClaimsCore } from './claims-core.ts';
import type { ClaimsConfig } from './core-state.ts';
import type { CoreStatus } from './core-status.ts';
import { RIDING_MANIFEST_BYTES_MAX } from './delta-check.ts';
import type { Grants } from './granted.ts';
import { EPOCH_REASONS, type MarkVerdict } from './mark-verdict.ts';
import type { Message } from './message.ts';
import type { ClaimEvent, Input, Output } from './step.ts';

export type ClaimsDriverDeps = {
  readonly claims: ClaimRows;
  readonly manifests: Pick<ManifestRows, 'find'>;
  readonly transport: Pick<Transport, 'send'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Registry;
  /** An epoch that was never given before. */
  readonly mintEpoch: () => Epoch;
  /** The name of a region, for logs and metrics. */
  readonly nameOf: (region: RegionNumber) => string;
  /** Absent: no region is limited. */
  readonly grants?: Grants | undefined;
};

export type ClaimsDriverConfig = ClaimsConfig & {
  readonly self: RegionNumber;
  readonly peers: readonly RegionNumber[];
  /** What the mark beside the database says of it. */
  readonly verdict: MarkVerdict;
};

/** The step's summaries, retries and time-outs hang on this; a tenth of the shortest of them. */
const TICK_MS = 100;

type WriteOptions = {
  readonly principal: string;
  readonly signal: AbortSignal;
  /** Claims that other regions hold of the changed keys: the write has seen them. */
  readonly seen?: readonly Uint8Array[];
};
type Answer = { readonly resolve: (dot: Dot) => void; readonly reject: (reason: unknown) => void };

export class ClaimsDriver implements ClaimWriter, AsyncDisposable {
  readonly #deps: ClaimsDriverDeps;
  readonly #core: ClaimsCore;
  readonly #metrics: ClaimsMetrics;
  readonly #ticks: Disposable;
  readonly #listeners = new Set<(keys: readonly ClaimKey[]) => void>();
  /** Writes whose answer is open; the step bounds them. */
  readonly #answers = new Map<number, Answer>();
  /** Reads and commits that are under way. */
  readonly #operations = new Set<Promise<void>>();
  /** Inputs that came while a step's outputs were carried out. */
  readonly #inputs: Input[] = [];
  #isStepping = false;
  #isClosing = false;
  #lastWrite = 0;

  /** Reads where this region stands, and begins. The caller disposes it, before the store and the transport. */
  static async open(deps: ClaimsDriverDeps, config: ClaimsDriverConfig): Promise<ClaimsDriver> {
    const { self, peers, verdict, ...coreConfig } = config;
    const begins = verdict === 'trusted' ? undefined : verdict;
    if (begins !== undefined) {
      const { epoch: former } = await deps.claims.origin();
      await deps.claims.beginEpoch({ former, epoch: deps.mintEpoch(), below: Number.MAX_SAFE_INTEGER });
    }
    const [origin, cursors] = await Promise.all([deps.claims.origin(), deps.claims.cursors()]);
    const core = new ClaimsCore({ self, peers, origin, cursors, grants: deps.grants }, coreConfig);
    const driver = new ClaimsDriver(deps, core);
    if (begins !== undefined) driver.#report({ event: 'epoch-begun', reason: begins });
    return driver;
  }

  /** Use `open`. */
  constructor(deps: ClaimsDriverDeps, core: ClaimsCore) {
    this.#deps = deps;
    this.#core = core;
    this.#metrics = new ClaimsMetrics(deps, () => core.status());
    this.#ticks = deps.clock.every(TICK_MS, () => this.#feed({ input: 'tick' }));
  }

  /** When the signal aborts, the promise rejects at once, and whether the write takes place is open. */
  async write(changes: readonly IndexChange[], { principal, signal, seen = [] }: WriteOptions): Promise<Dot> {
    signal.throwIfAborted();
    if (this.#isClosing) throw new UnavailableError('this region is stopping');
    this.#lastWrite += 1;
    const id = this.#lastWrite;
    const { promise, resolve, reject } = Promise.withResolvers<Dot>();
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    this.#answers.set(id, { resolve, reject });
    try {
      this.#feed({ input: 'write', id, changes, principal, seen });
      return await promise;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** A message of a peer, as its link brings it. */
  received(from: RegionNumber, message: Message): void {
    if (!this.#isClosing) this.#feed({ input: 'received', from, message });
  }

  linkUp(peer: RegionNumber): void {
    this.#feed({ input: 'link-up', peer });
  }

  linkDown(peer: RegionNumber): void {
    this.#feed({ input: 'link-down', peer });
  }

  /** What this region holds of these keys, for a peer that asks; a small manifest comes along with a single one. */
  async locate({ kind, repository, name, also = [], claimsOnly }: LocateRequest): Promise<LocateReply> {
    const key = { kind, repository, name };
    const stored = await this.#deps.claims.ofKeys([key, ...also]);
    const claims = stored.flatMap((read) => read.claims);
    if (claimsOnly === true || also.length > 0) return { claims };
    const digest = manifestOf(key, resolveStored(claims, key, this.#deps.grants));
    const manifest = digest === undefined ? undefined : await this.#deps.manifests.find(digest);
    if (manifest === undefined || manifest.bytes.length > RIDING_MANIFEST_BYTES_MAX) return { claims };
    return { claims, manifest: { mediaType: manifest.mediaType, bytes: manifest.bytes } };
  }

  /** Calls back with the keys whose views changed, by a write here or elsewhere, after the commit. */
  onChanged(listener: (keys: readonly ClaimKey[]) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  status(): CoreStatus {
    return this.#core.status();
  }

  /** Ends after what is under way has been answered; begins nothing new. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    this.#ticks[Symbol.dispose]();
    while (this.#operations.size > 0) await Promise.all(this.#operations);
  }

  #feed(input: Input): void {
    this.#inputs.push(input);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
        const outputs = this.#core.step(next, this.#deps.clock.nowMs());
        for (const output of outputs) this.#carryOut(output);
      }
    } finally {
      this.#isStepping = false;
    }
  }

  #carryOut(output: Output): void {
    const { claims, transport } = this.#deps;
    switch (output.output) {
      case 'send':
        transport.send(output.to, output.message);
        return;
      case 'read-keys': {
        const { id, keys } = output;
        this.#ask(id, async () => ({ input: 'keys-read', id, keys: await claims.ofKeys(keys) }));
        return;
      }
      case 'read-range': {
        const { id, range } = output;
        this.#ask(id, async () => ({ input: 'range-read', id, claims: await claims.range(range) }));
        return;
      }
      case 'commit': {
        const { id, batch } = output;
        this.#ask(id, async () => ({ input: 'committed', id, result: await claims.commit(batch) }));
        return;
      }
      case 'begin-epoch': {
        const { id, former, below } = output;
        const change = { former, below, epoch: this.#deps.mintEpoch() };
        this.#ask(id, async () => ({ input: 'epoch-begun', id, origin: await claims.beginEpoch(change) }));
        return;
      }
      case 'written':
        this.#takeAnswer(output.id)?.resolve(output.dot);
        return;
      case 'write-failed':
        this.#takeAnswer(output.id)?.reject(new UnavailableError(`the index: ${output.reason}`));
        return;
      case 'changed':
        for (const listener of this.#listeners) listener(output.keys);
        return;
      case 'event':
        this.#report(output.event);
    }
  }

  #ask(id: number, work: () => Promise<Input>): void {
    const operation = work()
      .catch((thrown: unknown): Input => {
        this.#deps.log.error('index store refused', { err: thrown });
        return { input: 'failed', id, reason: messageOf(thrown) };
      })
      .then((answer) => {
        this.#operations.delete(operation);
        this.#feed(answer);
      });
    this.#operations.add(operation);
  }

  #takeAnswer(id: number): Answer | undefined {
    const answer = this.#answers.get(id);
    this.#answers.delete(id);
    return answer;
  }

  #report(event: ClaimEvent): void {
    const { log, nameOf } = this.#deps;
    this.#metrics.count(event);
    switch (event.event) {
      case 'conflict':
        log.warn('conflict found', fieldsOfKey(event.key));
        return;
      case 'conflict-closed':
        log.info('conflict closed', fieldsOfKey(event.key));
        return;
      case 'refused-delta':
        log.warn('delta refused', { peer: nameOf(event.from), reason: event.reason });
        return;
      case 'refused-claims': {
        const { region, count, key } = event;
        log.warn('claims refused', { region: nameOf(region), count, ...fieldsOfKey(key) });
        return;
      }
      case 'gap':
        log.debug('gap found', { peer: nameOf(event.from), region: nameOf(event.region) });
        return;
      case 'epoch-begun':
        log.warn('epoch begun', { reason: event.reason });
    }
  }
}

function fieldsOfKey({ kind, repository, name }: ClaimKey) {
  return { repository, ...(kind === CLAIM_KIND.tag ? { tag: name } : { reason: name }) };
}

/** The digest of the manifest that a key is resolved to: a tag's value, or a manifest's own name. */
function manifestOf(key: ClaimKey, { live, winner }: KeyResolution) {
  if (!live || winner === undefined) return undefined;
  if (key.kind === CLAIM_KIND.tag) return digestFromBytes(winner.value);
  return key.kind === CLAIM_KIND.manifest && isDigest(key.name) ? key.name : undefined;
}

/** What operators watch of the index; labels are events and regions. */
class ClaimsMetrics {
  readonly #events: Counter<'event'>;
  readonly #epochs: Counter<'reason'>;
  readonly #refused: Counter<'region'>;
  readonly #nameOf: ClaimsDriverDeps['nameOf'];

  constructor({ metrics, nameOf }: ClaimsDriverDeps, status: () => CoreStatus) {
    const registers = [metrics];
    this.#events = new Counter({
      name: 'fairway_index_events_total',
      help: 'Conflicts that were found and closed, deltas that were refused, and gaps in what peers sent.',
      labelNames: ['event'],
      registers,
    });
    this.#epochs = new Counter({
      name: 'fairway_epochs_total',
      help: 'Times that this region began another history, by what showed that its state may be an older one.',
      labelNames: ['reason'],
      registers,
    });
    this.#nameOf = nameOf;
    this.#refused = new Counter({
      name: 'fairway_claims_refused_total',
      help: 'Claims that a region made outside of its grant: stored here, and shown nowhere.',
      labelNames: ['region'],
      registers,
    });
    for (const reason of EPOCH_REASONS) this.#epochs.inc({ reason }, 0);
    const perPeer = (name: string, help: string, value: (peer: CoreStatus['followers'][number]) => number) =>
      new Gauge({
        name,
        help,
        labelNames: ['peer'],
        registers,
        collect() {
          for (const peer of status().followers) this.set({ peer: nameOf(peer.region) }, value(peer));
        },
      });
    perPeer(
      'fairway_index_behind_claims',
      'Claims of the peer that are missing here.',
      (peer) => peer.behindClaims,
    );
    perPeer(
      'fairway_index_unconfirmed_claims',
      'Our claims that the peer has not confirmed.',
      (peer) => peer.unconfirmedClaims,
    );
    perPeer(
      'fairway_index_lag_seconds',
      'For how long either side has lacked claims of the other.',
      (peer) => peer.lagMs / 1000,
    );
  }

  count(event: ClaimEvent): void {
    if (event.event === 'epoch-begun') this.#epochs.inc({ reason: event.reason });
    else if (event.event === 'refused-claims') {
      this.#refused.inc({ region: this.#nameOf(event.region) }, event.count);
    } else this.#events.inc({ event: event.event });
  }
}
