/**
 * Looks that go to one peer at the same time share a question. A peer that has not answered yet is asked again as soon
 * as it does, or after `WINDOW_MS`, for all that came meanwhile: near regions are asked once for many pushes, and far
 * ones are never waited for. A look only learns what a peer said to a question that was sent after the look had begun,
 * so that sharing takes nothing from what it promises.
 *
 * At 16 pushes at a time and three regions a question carries several tags, and costs what it did for one.
 */
import { orAborted } from '#content/or-aborted.ts';
import { UnavailableError } from '#domain/errors.ts';
import type { RegionNumber } from '#domain/region.ts';
import { asking, type RequestContext } from '#domain/request-context.ts';
import { ClaimFormatError, claimKeyOf, decodeClaim } from '#mesh/claims/claim-codec.ts';
import { keyText } from '#mesh/claims/key-text.ts';
import type { Transport } from '#mesh/transport/transport.ts';
import type { Clock } from '#runtime/clock.ts';
import type { ClaimKey } from '#storage/metadata.ts';

export type LookBatchesDeps = {
  readonly transport: Pick<Transport, 'locate'>;
  readonly clock: Pick<Clock, 'after'>;
};

export type LookQuestion = Pick<RequestContext, 'requestId' | 'trace' | 'signal'> & {
  readonly key: ClaimKey;
};

/** Keys of one question; the transport promises as many. */
const KEYS_MAX = 16;
/** What a look may lose by sharing: little beside the round trip to a region that is farther than the next building. */
const WINDOW_MS = 2;

type Waiting = LookQuestion & { readonly answer: PromiseWithResolvers<readonly Uint8Array[]> };
type Line = { waiting: Waiting[]; underWay: number; window: Disposable | undefined };

export class LookBatches {
  readonly #deps: LookBatchesDeps;
  readonly #lines = new Map<RegionNumber, Line>();

  constructor(deps: LookBatchesDeps) {
    this.#deps = deps;
  }

  /**
   * The claims that the peer holds of the key. Rejects with the signal's reason when it aborts.
   * @throws UnavailableError when it does not answer, ClaimFormatError when its answer cannot be read.
   */
  async ask(peer: RegionNumber, question: LookQuestion): Promise<readonly Uint8Array[]> {
    question.signal.throwIfAborted();
    const line = this.#lines.get(peer) ?? { waiting: [], underWay: 0, window: undefined };
    this.#lines.set(peer, line);
    const answer = Promise.withResolvers<readonly Uint8Array[]>();
    line.waiting.push({ ...question, answer });
    if (line.underWay > 0) line.window ??= this.#deps.clock.after(WINDOW_MS, () => this.#send(peer, line));
    // Not at once: the keys of one write come one after another.
    else if (line.waiting.length === 1) queueMicrotask(() => this.#send(peer, line));
    return await orAborted(answer.promise, question.signal);
  }

  #send(peer: RegionNumber, line: Line): void {
    line.window?.[Symbol.dispose]();
    line.window = undefined;
    while (line.waiting.length > 0) {
      const batch = line.waiting.splice(0, KEYS_MAX).filter(({ signal }) => !signal.aborted);
      if (batch.length > 0) void this.#askTogether(peer, line, batch);
    }
  }

  async #askTogether(peer: RegionNumber, line: Line, batch: readonly Waiting[]): Promise<void> {
    line.underWay += 1;
    try {
      const claims = await this.#askOnce(peer, batch);
      for (const { key, answer } of batch) answer.resolve(claims.get(keyText(key)) ?? []);
    } catch (thrown) {
      for (const { answer } of batch) answer.reject(thrown);
    } finally {
      line.underWay -= 1;
      this.#send(peer, line);
    }
  }

  /** The question ends when nobody waits for it any more; it goes on in the name of whoever came first. */
  async #askOnce(peer: RegionNumber, batch: readonly Waiting[]): Promise<ReadonlyMap<string, Uint8Array[]>> {
    const keys = new Map(batch.map(({ key }) => [keyText(key), key]));
    const [first, ...also] = keys.values();
    const [eldest] = batch;
    if (first === undefined || eldest === undefined) return new Map();
    const nobody = new AbortController();
    let waiting = batch.length;
    const leave = () => {
      waiting -= 1;
      if (waiting === 0) nobody.abort(new UnavailableError('nobody waits for the look any more'));
    };
    for (const { signal } of batch) signal.addEventListener('abort', leave, { once: true });
    try {
      const request = { ...asking(eldest), ...first, also, claimsOnly: true };
      const { claims } = await this.#deps.transport.locate(peer, request, nobody.signal);
      return byKey(claims, keys);
    } finally {
      for (const { signal } of batch) signal.removeEventListener('abort', leave);
    }
  }
}

/** @throws ClaimFormatError for a claim that cannot be read, or is of a key that nobody asked for. */
function byKey(
  claims: readonly Uint8Array[],
  asked: ReadonlyMap<string, ClaimKey>,
): ReadonlyMap<string, Uint8Array[]> {
  return Map.groupBy(claims, (bytes) => {
    const text = keyText(claimKeyOf(decodeClaim(bytes)));
    if (!asked.has(text)) throw new ClaimFormatError('a claim is of a key that was not asked for');
    return text;
  });
}
