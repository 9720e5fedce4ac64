/**
 * What a name means in the whole mesh, for a region that cannot tell alone: asks every other core region at once for
 * the claims that it holds of the key, and each edge that may have written it, and resolves them together with those that are here.
 *
 * Claims are asked for and never a bare digest, so that a region that has not heard of a delete cannot bring anything
 * back. All answers are waited for, or the end of the budget: a delete known to one region must win over what the
 * fastest one says. A key is absent when every core region answered and nothing is live; where one was silent, it is
 * not known.
 * Limits: absent names are remembered for a second, so that a flood of them reaches peers once a second a name; at
 * most 256 different keys are asked for at a time, and further ones are refused until some are answered.
 */
import { LRUCache } from 'lru-cache';
import type { ContentSource, TagAnswer, TagOracle, UpstreamManifest } from '#content/upstream.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { algorithmOf, type Digest, digestFromBytes, digestOf } from '#domain/digest.ts';
import { dotEquals } from '#domain/dot.ts';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import type { RepositoryName } from '#domain/name.ts';
import { asking, type RequestContext, requestFields } from '#domain/request-context.ts';
import { type Claim, ClaimFormatError } from '#mesh/claims/claim-codec.ts';
import { resolveStored } from '#mesh/claims/claim-view.ts';
import { answered, isAskedFor } from '#mesh/claims/granted.ts';
import type { Roster, RosterRegion } from '#mesh/membership/roster.ts';
import type { Link, LocateReply, Transport } from '#mesh/transport/transport.ts';
import type { Clock } from '#runtime/clock.ts';
import { Flight } from '#runtime/flight.ts';
import type { Log } from '#runtime/log.ts';
import { Counter, type Registry } from '#runtime/metrics.ts';
import type { ClaimKey, ClaimRows } from '#storage/metadata.ts';

export type LocateOracleDeps = {
  readonly roster: Roster;
  readonly transport: Pick<Transport, 'links' | 'locate'>;
  readonly claims: Pick<ClaimRows, 'ofKeys'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Registry;
};

/** A peer's reply that could be read, and what it resolves to alone. */
type Answer = {
  readonly peer: RosterRegion;
  readonly reply: LocateReply;
  readonly winner: Claim | undefined;
};

/** Even a peer next door may be in the middle of a garbage collection. */
const BUDGET_MIN_MS = 400;
/** A peer that has not answered by then is no use to a client that waits. */
const BUDGET_MAX_MS = 3_000;
const BUDGET_MARGIN_MS = 50;
/** A name that appears meanwhile is found by gossip, which takes less than this. */
const ABSENT_MS = 1_000;
const ABSENT_MAX = 10_000;
const KEYS_MAX = 256;

export class LocateOracle implements TagOracle {
  readonly #deps: LocateOracleDeps;
  readonly #flight = new Flight<string, TagAnswer>();
  /** Key → until when (monotonic) it is known to be absent. */
  readonly #absent = new LRUCache<string, number>({ max: ABSENT_MAX });
  readonly #answers: Counter<'outcome'>;

  constructor(deps: LocateOracleDeps) {
    this.#deps = deps;
    this.#answers = new Counter({
      name: 'fairway_locate_total',
      help: 'Keys that the other regions were asked for: found, absent, unknown (one was silent), refused (too many)',
      labelNames: ['outcome'],
      registers: [deps.metrics],
    });
  }

  /** @throws UnavailableError when too many keys are being asked for. */
  async resolve(repository: RepositoryName, tag: string, context: RequestContext): Promise<TagAnswer> {
    return await this.#find({ kind: CLAIM_KIND.tag, repository, name: tag }, context);
  }

  /** The same for a digest: whether a manifest is to be seen in this repository, and its bytes where a peer sent them. */
  async findManifest(
    repository: RepositoryName,
    digest: Digest,
    context: RequestContext,
  ): Promise<TagAnswer> {
    return await this.#find({ kind: CLAIM_KIND.manifest, repository, name: digest }, context);
  }

  async #find(key: ClaimKey, context: RequestContext): Promise<TagAnswer> {
    // On behalf of another region: it asks everybody itself, and wants to hear what is known here.
    if (context.from !== undefined) return await this.#conclude(key, []);
    const text = `${key.kind} ${key.repository} ${key.name}`;
    const absentUntilMs = this.#absent.get(text);
    if (absentUntilMs !== undefined && this.#deps.clock.monotonicMs() < absentUntilMs) {
      return { outcome: 'absent' };
    }
    return await this.#flight.join(text, context.signal, async (signal) => {
      const answer = await this.#askAll(key, { ...context, signal });
      if (answer.outcome === 'absent') this.#absent.set(text, this.#deps.clock.monotonicMs() + ABSENT_MS);
      this.#answers.inc({ outcome: answer.outcome });
      return answer;
    });
  }

  async #askAll(key: ClaimKey, context: RequestContext): Promise<TagAnswer> {
    if (this.#flight.size >= KEYS_MAX) {
      this.#answers.inc({ outcome: 'refused' });
      throw new UnavailableError('too many names are being looked up in other regions');
    }
    const { grants } = this.#deps.roster;
    const peers = this.#deps.roster.peers.filter(({ number }) => isAskedFor(number, key, grants));
    const links = new Map(this.#deps.transport.links().map((link) => [link.peer, link]));
    const answers = await Promise.all(
      peers.map((peer) => this.#askPeer(peer, links.get(peer.number), { key, context })),
    );
    const given = answers.filter((answer) => answer !== undefined);
    const answer = await this.#conclude(key, given);
    // What an edge alone knows it has told nobody yet; without it a name counts as absent all the same.
    const silent = peers.filter(({ role }, position) => role === 'core' && answers[position] === undefined);
    if (answer.outcome !== 'absent' || silent.length === 0) return answer;
    return { outcome: 'unknown', silent: silent.map(({ name }) => name) };
  }

  /** `undefined`: it was silent, or said what cannot be read. */
  async #askPeer(
    peer: RosterRegion,
    link: Link | undefined,
    question: { readonly key: ClaimKey; readonly context: RequestContext },
  ): Promise<Answer | undefined> {
    if (link?.up !== true) return undefined;
    const { key, context } = question;
    const budgetMs = budgetOf(link);
    const budget = new AbortController();
    using _timer = this.#deps.clock.after(budgetMs, () =>
      budget.abort(new UnavailableError(`region ${peer.name} did not answer within ${budgetMs} ms`)),
    );
    const signal = AbortSignal.any([context.signal, budget.signal]);
    try {
      const request = { ...asking(context), ...key };
      const { grants } = this.#deps.roster;
      const said = await this.#deps.transport.locate(peer.number, request, signal);
      const reply = { ...said, claims: answered(peer.number, said.claims, grants) };
      return { peer, reply, winner: resolveStored(reply.claims, key, grants).winner };
    } catch (thrown) {
      context.signal.throwIfAborted();
      if (!(thrown instanceof UnavailableError || thrown instanceof ClaimFormatError)) throw thrown;
      this.#deps.log.warn('peer gave no answer to locate', {
        ...requestFields(context),
        peer: peer.name,
        reason: messageOf(thrown),
      });
      return undefined;
    }
  }

  /** What the key is, by all claims that are here and that were answered. Never `unknown`. */
  async #conclude(key: ClaimKey, answers: readonly Answer[]): Promise<TagAnswer> {
    const [stored] = await this.#deps.claims.ofKeys([key]);
    const claims = [...(stored?.claims ?? []), ...answers.flatMap(({ reply }) => reply.claims)];
    const { live, winner } = resolveStored(claims, key, this.#deps.roster.grants);
    if (!live || winner === undefined) return { outcome: 'absent' };
    const digest = digestOfKey(key, winner);
    const manifest = manifestOf(digest, answers);
    return {
      outcome: 'found',
      digest,
      source: this.#sourceOf(winner, answers),
      ...(manifest === undefined ? {} : { manifest }),
    };
  }

  /** Who said it: the region that made the claim if it answered, else one that passed it on, else we knew it. */
  #sourceOf(winner: Claim, answers: readonly Answer[]): ContentSource {
    const said = answers.filter((answer) => answer.winner && dotEquals(answer.winner.dot, winner.dot));
    const { peer } = said.find((answer) => answer.peer.number === winner.dot.region) ?? said[0] ?? {};
    if (peer === undefined) return { kind: 'local', name: this.#deps.roster.self.name };
    return { kind: 'region', name: peer.name };
  }
}

/** Two round trips, so that one lost packet does not make a region silent. */
function budgetOf(link: Link): number {
  const wantedMs = 2 * link.roundTripMs + BUDGET_MARGIN_MS;
  return Math.min(BUDGET_MAX_MS, Math.max(BUDGET_MIN_MS, wantedMs));
}

/** @throws UnavailableError when a tag's claim names no digest that this version knows. */
function digestOfKey(key: ClaimKey, winner: Claim): Digest {
  const digest = key.kind === CLAIM_KIND.manifest ? (key.name as Digest) : digestFromBytes(winner.value);
  if (digest !== undefined) return digest;
  throw new UnavailableError(`the claim in force for ${key.repository} ${key.name} names no digest we know`);
}

/** Bytes that rode along with an answer, if they are those of the digest: nobody is believed. */
function manifestOf(digest: Digest, answers: readonly Answer[]): UpstreamManifest | undefined {
  for (const { reply } of answers) {
    const { manifest } = reply;
    if (manifest !== undefined && digestOf(manifest.bytes, algorithmOf(digest)) === digest) {
      return { digest, mediaType: manifest.mediaType, bytes: manifest.bytes };
    }
  }
  return undefined;
}
