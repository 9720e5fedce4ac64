/**
 * What a run did: a hash that covers every event in order (two runs of one seed must agree), counts of rare paths
 * ("marks"), and the last lines of its story, kept only when somebody will read them.
 */

import { crc32 } from 'node:zlib';

/** Rare paths that a batch of seeds must have walked; each is a count of how often. */
export const MARKS = [
  'acknowledged',
  'writes refused',
  'writes unknown',
  'conflicts',
  'conflicts closed',
  'looks',
  'looks cut short',
  'gaps',
  'relays',
  'refused frames',
  'refused deltas',
  'refused claims',
  'lost messages',
  'repeated messages',
  'overtaken messages',
  'partitions',
  'half-open links',
  'crashes',
  'commits lost in a crash',
  'commits unanswered in a crash',
  'pauses',
  'clock steps',
  'frozen clocks',
  'stale commits',
  'full disks',
  'inexact copies',
  'restores',
  'promoted standbys',
  'new epochs',
  'lost tails that came back',
  'lost tails that nobody had',
] as const;
export type Mark = (typeof MARKS)[number];
export type Marks = Readonly<Record<Mark, number>>;

const LINES_MAX = 1000;

export class Trace {
  readonly #tells: boolean;
  readonly #marks: Record<Mark, number> = noMarks();
  readonly #lines: string[] = [];
  #high = 0x811c9dc5;
  #low = 0x1b873593;

  /** `tells`: keep the last lines of the story; they cost a third of the speed. */
  constructor(tells: boolean) {
    this.#tells = tells;
  }

  get marks(): Marks {
    return this.#marks;
  }

  /** The last lines, oldest first. */
  get story(): readonly string[] {
    return this.#lines;
  }

  /** 16 hexadecimal digits. */
  get hash(): string {
    return hex(this.#high) + hex(this.#low);
  }

  mark(mark: Mark, count = 1): void {
    this.#marks[mark] += count;
  }

  /** Mixes numbers into the hash. */
  mix(...values: readonly number[]): void {
    for (const value of values) {
      this.#high = Math.imul(this.#high ^ (value | 0), 0x01000193) ^ (this.#low >>> 13);
      this.#low = Math.imul(this.#low ^ ((value / 2 ** 32) | 0) ^ this.#high, 0x85ebca6b);
    }
  }

  /** One line of the story; `line` is only called when somebody listens. */
  tell(nowUs: number, line: () => string): void {
    if (!this.#tells) return;
    this.#lines.push(`${(nowUs / 1e6).toFixed(6).padStart(12)} s  ${line()}`);
    if (this.#lines.length > LINES_MAX) this.#lines.shift();
  }
}

export function noMarks(): Record<Mark, number> {
  return Object.fromEntries(MARKS.map((mark) => [mark, 0])) as Record<Mark, number>;
}

/** For fingerprints that nobody attacks. */
export function hashBytes(bytes: Uint8Array): number {
  return crc32(bytes);
}

function hex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0');
}
