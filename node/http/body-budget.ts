/**
 * Manifests are held in memory while they are received and stored, so the memory of all of them together has a
 * limit. At the limit a push is answered 503 with `Retry-After`, which every client repeats.
 */
import { UnavailableError } from '#domain/errors.ts';
import type { RequestBody } from './request-body.ts';

/** 64 of the largest manifests at one time, or thousands of usual ones (which announce their length). */
const BUDGET_BYTES = 256 * 1024 * 1024;

export class BodyBudget {
  readonly #bytesMax: number;
  #reservedBytes = 0;

  /** `bytesMax`: the largest single body. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /**
   * The whole body; its memory counts until the result is disposed.
   * @throws RegistryError SIZE_INVALID (413, or 400 when it is cut off), UnavailableError at the limit.
   */
  async read(body: RequestBody): Promise<{ readonly bytes: Uint8Array } & Disposable> {
    const wanted = Math.min(body.announcedBytes ?? this.#bytesMax, this.#bytesMax);
    if (this.#reservedBytes + wanted > BUDGET_BYTES) {
      throw new UnavailableError('too many manifests are being received at this moment');
    }
    this.#reservedBytes += wanted;
    const release = () => {
      this.#reservedBytes -= wanted;
    };
    try {
      return { bytes: await body.bytes(this.#bytesMax), [Symbol.dispose]: release };
    } catch (thrown) {
      release();
      throw thrown;
    }
  }
}
