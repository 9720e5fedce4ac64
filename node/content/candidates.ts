/**
 * Whom a fill asks next, and why it stopped asking the others. It decides and does no I/O.
 *
 * Sources are asked in the order given, best first; one that failed is asked again when all others failed as often.
 * A try that brought a good part of the blob before it ended counts as the first failure, however many there were
 * before: a source that is cut off every few megabytes still fills a large blob, and one that never gets going is
 * given up after `TRIES_MAX`. Bytes of the wrong digest are held against whoever sent them: a source that sent all of
 * them is not asked again, and where several had a part in it, each gets one more chance.
 */
import type { SourceFailure } from './source-stream.ts';
import type { ContentSource, Upstream } from './upstream.ts';

/** Three tries outlast a restart of the source's process; more would only delay the answer to who waits. */
const TRIES_MAX = 3;
/** A try that brings this much is progress. Less than the smallest part that a cut connection usually delivers. */
const FRUITFUL_BYTES = 1024 * 1024;
const BLAME_MAX = 2;

export type Candidate = {
  readonly upstream: Upstream;
  /** Failures in a row. */
  readonly failures: number;
};

type Entry = {
  readonly upstream: Upstream;
  failures: number;
  blame: number;
  /** Received from it for the upload at hand; `undefined` when it had no part in it. */
  receivedBytes: number | undefined;
  verdict: 'open' | 'absent' | 'refused';
  reason: string;
};

export class Candidates {
  readonly #entries: readonly Entry[];

  constructor(sources: readonly Upstream[]) {
    this.#entries = sources.map((upstream) => ({
      upstream,
      failures: 0,
      blame: 0,
      receivedBytes: undefined,
      verdict: 'open',
      reason: 'not asked',
    }));
  }

  /** Whom to ask now; `undefined` when nobody is left. */
  next(): Candidate | undefined {
    let best: Entry | undefined;
    for (const entry of this.#entries) {
      if (entry.verdict !== 'open' || entry.failures >= TRIES_MAX) continue;
      if (best === undefined || entry.failures < best.failures) best = entry;
    }
    return best;
  }

  /** It had a part in the upload at hand, if only that it called the blob empty. */
  received(candidate: Candidate, bytes: number): void {
    const entry = this.#entry(candidate);
    entry.receivedBytes = (entry.receivedBytes ?? 0) + bytes;
  }

  /** `gainedBytes`: what this try brought before it failed. */
  failed(candidate: Candidate, failure: SourceFailure, gainedBytes: number): void {
    const entry = this.#entry(candidate);
    entry.reason = failure.reason;
    entry.failures = gainedBytes >= FRUITFUL_BYTES ? 1 : entry.failures + 1;
    if (failure.fault === 'absent') entry.verdict = 'absent';
    if (failure.fault === 'wrong') entry.verdict = 'refused';
  }

  /** The bytes received had another digest; the next upload begins with nothing. */
  mismatched(): void {
    const senders = this.#entries.filter((entry) => entry.receivedBytes !== undefined);
    for (const entry of senders) {
      entry.blame += senders.length > 1 ? 1 : BLAME_MAX;
      entry.reason = 'sent bytes of another digest';
      if (entry.blame >= BLAME_MAX) entry.verdict = 'refused';
      entry.receivedBytes = undefined;
    }
  }

  /** Everybody was asked, and nobody has it. Also of no sources at all. */
  get allAbsent(): boolean {
    return this.#entries.every((entry) => entry.verdict === 'absent');
  }

  /** What was asked and how each answered, for the error that a client is shown. */
  get tried(): readonly string[] {
    return this.#entries.map((entry) => `${entry.upstream.name}: ${entry.reason}`);
  }

  /** Where most of the upload at hand came from. */
  largest(): Upstream | undefined {
    return this.#entries.toSorted((a, b) => (b.receivedBytes ?? 0) - (a.receivedBytes ?? 0))[0]?.upstream;
  }

  #entry(candidate: Candidate): Entry {
    const entry = this.#entries.find(({ upstream }) => upstream === candidate.upstream);
    if (entry === undefined) throw new Error(`${candidate.upstream.name} is no candidate`);
    return entry;
  }
}

/** As it is answered to clients. */
export function contentSource(upstream: Upstream): ContentSource {
  return { kind: upstream.kind === 'region' ? 'region' : 'upstream', name: upstream.name };
}
