/**
 * Memory that a disk can read straight from: buffers that begin at a page. Only WebAssembly gives memory with such an
 * address; it takes pages from the system as they are first touched, and keeps them.
 */

/** One write: large enough that its system call costs nothing beside it, small enough to wait for. */
export const BLOCK_BUFFER_BYTES = 1024 * 1024;
/** Two for each of 32 uploads at a time: 64 MiB. Further uploads do without. */
const BUFFERS_MAX = 64;
const WASM_PAGE_BYTES = 64 * 1024;

type Memory = { readonly buffer: ArrayBuffer };
/** Its types come with those of a browser only. */
declare const WebAssembly: {
  readonly Memory: new (pages: { readonly initial: number; readonly maximum: number }) => Memory;
};

export class BlockBuffers {
  readonly #free: Uint8Array[] = [];
  #memory: Memory | undefined;
  #count = 0;

  /** Two buffers, or `undefined` when there are no two. The caller gives them back. @throws RangeError out of memory. */
  takeTwo(): readonly [Uint8Array, Uint8Array] | undefined {
    if (this.#free.length + BUFFERS_MAX - this.#count < 2) return undefined;
    return [this.#free.pop() ?? this.#make(), this.#free.pop() ?? this.#make()];
  }

  giveBack(buffers: readonly Uint8Array[]): void {
    this.#free.push(...buffers);
  }

  #make(): Uint8Array {
    const pages = (BUFFERS_MAX * BLOCK_BUFFER_BYTES) / WASM_PAGE_BYTES;
    this.#memory ??= new WebAssembly.Memory({ initial: pages, maximum: pages });
    const start = this.#count * BLOCK_BUFFER_BYTES;
    this.#count += 1;
    return new Uint8Array(this.#memory.buffer, start, BLOCK_BUFFER_BYTES);
  }
}
