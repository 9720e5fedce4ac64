/**
 * Look before you leap: what the other regions hold of a tag, asked before the tag is written. A write whose claim
 * covers what was answered prevails over it whatever the clocks say, although gossip has not brought it here yet.
 *
 * All reachable core regions, and edges that may write the tag, are asked at once, one round trip each, and the look ends with the last answer. It never
 * fails a write: whoever is silent is left out, a region whose link is down at once, any other one when its time is
 * over. What such a region holds unseen may then turn out to be in conflict with the write, as DESIGN P5 says.
 * Limits: the first 64 tags of a write are looked at; beyond 1,024 looks at a time further ones are left out.
 */
import { messageOf, UnavailableError } from '#domain/errors.ts';
import { asking, type RequestContext, requestFields } from '#domain/request-context.ts';
import { ClaimFormatError } from '#mesh/claims/claim-codec.ts';
import { answered, isAskedFor } from '#mesh/claims/granted.ts';
import type { Roster, RosterRegion } from '#mesh/membership/roster.ts';
import type { Link, Transport } from '#mesh/transport/transport.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { Counter, type Registry } from '#runtime/metrics.ts';
import type { ClaimKey } from '#storage/metadata.ts';
import { LookBatches } from './look-batches.ts';

export type TagObserverDeps = {
  readonly roster: Roster;
  readonly transport: Pick<Transport, 'links' | 'locate'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Registry;
};

export type TagObserverConfig = {
  /**
   * `mesh` (default): a tag write costs a round trip to the farthest region that can be reached. `local`: nobody is
   * asked, and two writes in two regions conflict unless gossip has carried the first to the second.
   */
  readonly observe?: 'mesh' | 'local';
};

export type LookContext = Pick<RequestContext, 'requestId' | 'trace' | 'signal'>;

/** Long enough for a garbage collection at a peer next door; a push waits no longer for one that hangs. */
const BUDGET_MIN_MS = 150;
/** A tag is written without what a region says that needs longer. */
const BUDGET_MAX_MS = 1_000;
const BUDGET_MARGIN_MS = 50;
/** One push sets at most 49 tags. Only the deletion of a manifest with more tags than this goes beyond. */
const KEYS_MAX = 64;
/** At 150 ms a round trip, some 6,000 pushes a second; what is beyond is written as if every region were silent. */
const LOOKS_MAX = 1_024;

export class TagObserver {
  readonly #deps: TagObserverDeps;
  readonly #isLocal: boolean;
  readonly #outcomes: Counter<'outcome'>;
  readonly #batches: LookBatches;
  #looks = 0;

  constructor(deps: TagObserverDeps, { observe = 'mesh' }: TagObserverConfig = {}) {
    this.#deps = deps;
    this.#batches = new LookBatches(deps);
    this.#isLocal = observe === 'local';
    this.#outcomes = new Counter({
      name: 'fairway_looks_total',
      help: 'Answers of other regions to a look before a tag write: answered, silent, down (not asked), refused (too many)',
      labelNames: ['outcome'],
      registers: [deps.metrics],
    });
  }

  /** The claims that other regions hold of these keys, verbatim; some more than once. Rejects only when the signal aborts. */
  async look(keys: readonly ClaimKey[], context: LookContext): Promise<readonly Uint8Array[]> {
    if (this.#isLocal || keys.length === 0) return [];
    if (this.#looks >= LOOKS_MAX) {
      this.#outcomes.inc({ outcome: 'refused' });
      return [];
    }
    this.#looks += 1;
    try {
      return await this.#askAll(keys.slice(0, KEYS_MAX), context);
    } finally {
      this.#looks -= 1;
    }
  }

  async #askAll(keys: readonly ClaimKey[], context: LookContext): Promise<readonly Uint8Array[]> {
    const links = new Map(this.#deps.transport.links().map((link) => [link.peer, link]));
    const { peers, grants } = this.#deps.roster;
    const answers = peers.map(async (peer) => {
      const asked = keys.filter((key) => isAskedFor(peer.number, key, grants));
      if (asked.length === 0) return [];
      const link = links.get(peer.number);
      if (link?.up === true) return await this.#askPeer({ peer, link }, asked, context);
      this.#outcomes.inc({ outcome: 'down' });
      return [];
    });
    return (await Promise.all(answers)).flat();
  }

  async #askPeer(
    { peer, link }: { readonly peer: RosterRegion; readonly link: Link },
    keys: readonly ClaimKey[],
    context: LookContext,
  ): Promise<readonly Uint8Array[]> {
    const budgetMs = budgetOf(link);
    const budget = new AbortController();
    using _timer = this.#deps.clock.after(budgetMs, () =>
      budget.abort(new UnavailableError(`region ${peer.name} did not answer within ${budgetMs} ms`)),
    );
    const signal = AbortSignal.any([context.signal, budget.signal]);
    const answers = keys.map(async (key) => await this.#ask(peer, key, { ...context, signal }));
    const claims = await Promise.all(answers);
    // A client that left is not told of a failure of others.
    context.signal.throwIfAborted();
    return claims.flat();
  }

  async #ask(peer: RosterRegion, key: ClaimKey, context: LookContext): Promise<readonly Uint8Array[]> {
    const { signal } = context;
    try {
      const claims = await this.#batches.ask(peer.number, { ...asking(context), key, signal });
      this.#outcomes.inc({ outcome: 'answered' });
      return answered(peer.number, claims, this.#deps.roster.grants);
    } catch (thrown) {
      if (!signal.aborted && !(thrown instanceof UnavailableError || thrown instanceof ClaimFormatError)) {
        throw thrown;
      }
      this.#outcomes.inc({ outcome: 'silent' });
      const { name, repository } = key;
      const fields = {
        ...requestFields(context),
        peer: peer.name,
        repository,
        tag: name,
        reason: messageOf(thrown),
      };
      this.#deps.log.debug('peer gave no answer to a look', fields);
      return [];
    }
  }
}

/** One round trip and what a peer needs to answer. */
function budgetOf(link: Link): number {
  return Math.min(BUDGET_MAX_MS, Math.max(BUDGET_MIN_MS, link.roundTripMs + BUDGET_MARGIN_MS));
}
