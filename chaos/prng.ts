/**
 * Chance for a simulation: one text decides every number. Streams are split by name, so that one more draw in one
 * component leaves the draws of all others as they were, and a seed stays comparable while the code changes.
 *
 * The generator is sfc32 (Chris Doty-Humphrey, PractRand): 128 bits of state, integer arithmetic only, so that every
 * engine gives the same numbers. It is no source of secrets.
 */
export class Prng {
  readonly #name: string;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(name: string) {
    this.#name = name;
    this.#a = hashText(name, 0x9e3779b9);
    this.#b = hashText(name, 0x85ebca6b);
    this.#c = hashText(name, 0xc2b2ae35);
    // The first outputs still show the seed's structure; PractRand's author advises a dozen rounds of mixing.
    for (let round = 0; round < 12; round += 1) this.next();
  }

  /** An independent stream; the same name gives the same stream whatever was drawn before. */
  split(name: string): Prng {
    return new Prng(`${this.#name}/${name}`);
  }

  /** 0 … 2^32 - 1. */
  next(): number {
    const result = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + result;
    this.#c |= 0;
    return result >>> 0;
  }

  /** 0 ≤ x < 1. */
  fraction(): number {
    return this.next() / 2 ** 32;
  }

  /** A whole number, 0 ≤ x < limit. */
  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }

  /** A whole number, both ends included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  /** @throws when the list is empty. */
  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }

  /** Mostly short, sometimes up to about seven times the mean. Adds two draws: no logarithm, which engines round differently. */
  skewed(mean: number): number {
    const x = this.fraction();
    const tail = this.chance(0.1) ? 5 * this.fraction() : 0;
    return Math.round(mean * (0.25 + x + tail));
  }
}

function hashText(text: string, seed: number): number {
  let hash = seed | 0;
  for (let at = 0; at < text.length; at += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
    hash ^= hash >>> 15;
  }
  return hash | 0;
}
