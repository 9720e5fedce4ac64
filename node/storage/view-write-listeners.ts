/** Who wants to know of written views, in the embedded profile: one process has the database, so its commits are all. */
import type { ClaimKey, ViewWrites } from './metadata.ts';

type Listener = (keys: readonly ClaimKey[]) => void;

export class ViewWriteListeners implements ViewWrites {
  readonly #listeners = new Set<Listener>();

  onWritten(listener: Listener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  tell(keys: readonly ClaimKey[]): void {
    for (const listener of this.#listeners) listener(keys);
  }
}
