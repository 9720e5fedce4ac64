/**
 * Virtual time: a binary heap of what happens next. Events of one moment run in the order in which they were
 * planned, so that a run depends on nothing but its seed. Time is whole microseconds from 0.
 */
export type Happening = () => void;

export class EventQueue {
  readonly #heap: Entry[] = [];
  #order = 0;
  #nowUs = 0;
  #ran = 0;

  get nowUs(): number {
    return this.#nowUs;
  }

  /** Events that have run so far. */
  get ran(): number {
    return this.#ran;
  }

  get size(): number {
    return this.#heap.length;
  }

  /** Plans something `delayUs` from now; a negative delay is none. */
  after(delayUs: number, run: Happening): void {
    this.#order += 1;
    const entry = { atUs: this.#nowUs + Math.max(0, Math.round(delayUs)), order: this.#order, run };
    this.#heap.push(entry);
    this.#rise(this.#heap.length - 1, entry);
  }

  /** Runs everything up to and including `untilUs`, or until `stop` says so (asked after each event). */
  runUntil(untilUs: number, stop: () => boolean): void {
    for (let first = this.#heap[0]; first !== undefined && first.atUs <= untilUs; first = this.#heap[0]) {
      this.#removeFirst();
      this.#nowUs = first.atUs;
      this.#ran += 1;
      first.run();
      if (stop()) return;
    }
    this.#nowUs = Math.max(this.#nowUs, untilUs);
  }

  #removeFirst(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#sink(0, last);
  }

  #rise(from: number, entry: Entry): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = this.#heap[parent];
      if (above === undefined || before(above, entry)) break;
      this.#heap[at] = above;
      at = parent;
    }
    this.#heap[at] = entry;
  }

  #sink(from: number, entry: Entry): void {
    let at = from;
    for (;;) {
      const left = this.#heap[2 * at + 1];
      const right = this.#heap[2 * at + 2];
      if (left === undefined) break;
      const rightIsFirst = right !== undefined && before(right, left);
      const below = rightIsFirst ? right : left;
      if (before(entry, below)) break;
      this.#heap[at] = below;
      at = 2 * at + (rightIsFirst ? 2 : 1);
    }
    this.#heap[at] = entry;
  }
}

type Entry = { readonly atUs: number; readonly order: number; readonly run: Happening };

function before(a: Entry, b: Entry): boolean {
  return a.atUs === b.atUs ? a.order < b.order : a.atUs < b.atUs;
}
