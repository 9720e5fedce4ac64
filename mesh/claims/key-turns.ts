/**
 * First come, first served, per key: work on several keys stands in the line of each, and its turn has come when it
 * is first in all of them. All lines are joined at once, so two pieces of work never wait for each other.
 *
 * Within one process this spares most of the retries that the store's guards would ask for. Correctness does not
 * rest on it: another process of the region knows nothing of these lines. The caller bounds how much waits.
 */
import assert from 'node:assert/strict';

type Work = { readonly keyTexts: readonly string[]; readonly start: (done: () => void) => void };

export class KeyTurns {
  readonly #lines = new Map<string, Work[]>();

  /** Calls `start` when it is its turn, perhaps at once; who is called must call `done` when it is through. */
  take(keyTexts: readonly string[], start: (done: () => void) => void): void {
    const work = { keyTexts, start };
    for (const key of keyTexts) {
      const line = this.#lines.get(key);
      if (line === undefined) this.#lines.set(key, [work]);
      else line.push(work);
    }
    if (this.#isFirst(work)) start(() => this.#leave(work));
  }

  #leave(work: Work): void {
    const next = new Set<Work>();
    for (const key of work.keyTexts) {
      const line = this.#lines.get(key) ?? [];
      assert.equal(line.shift(), work, 'a turn was ended twice');
      if (line[0] === undefined) this.#lines.delete(key);
      else next.add(line[0]);
    }
    const ready = [...next].filter((candidate) => this.#isFirst(candidate));
    for (const candidate of ready) candidate.start(() => this.#leave(candidate));
  }

  #isFirst(work: Work): boolean {
    return work.keyTexts.every((key) => this.#lines.get(key)?.[0] === work);
  }
}
