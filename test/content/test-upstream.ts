/**
 * A source whose every fault is written down beforehand: what it says, where it ends, fails or falls silent, and
 * what it was asked for.
 */
import assert from 'node:assert/strict';
import type { Upstream, UpstreamBlob, UpstreamManifest, UpstreamRequest } from '#content/upstream.ts';
import type { Digest } from '#domain/digest.ts';
import { UnavailableError } from '#domain/errors.ts';
import type { Reference } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';

/** What one request for a blob gets. Positions are of the whole blob. */
export type BlobPlan = {
  /** The blob as this source has it; none: 404. */
  readonly bytes?: Uint8Array;
  /** What it says the size is. Default: the truth. */
  readonly sizeBytes?: number;
  /** Ends the body here, as if it were complete. */
  readonly endAt?: number;
  /** Fails here, as a lost connection does. */
  readonly failAt?: number;
  /** Says nothing any more from here on, until it is left. -1: not even headers. */
  readonly stallAt?: number;
  /** Awaited before the piece that begins here. */
  readonly gate?: (position: number) => Promise<void> | undefined;
  readonly pieceBytes?: number;
};

export type TestUpstreamOptions = {
  readonly kind?: Upstream['kind'];
  /** One plan a request; the last one for all further ones. */
  readonly blobs?: readonly BlobPlan[];
  readonly manifests?: ReadonlyMap<Digest, UpstreamManifest> | UnavailableError;
  /** Told when it has fallen silent: the moment to advance a clock. */
  readonly onStall?: () => void;
};

export class TestUpstream implements Upstream {
  readonly name: string;
  readonly kind: Upstream['kind'];
  /** Offsets of the requests for blobs, in order. */
  readonly opened: number[] = [];
  readonly manifestsAsked: Reference[] = [];
  /** Bodies that ended or were left. */
  closed = 0;
  readonly #options: TestUpstreamOptions;

  constructor(name: string, options: TestUpstreamOptions = {}) {
    this.name = name;
    this.kind = options.kind ?? 'region';
    this.#options = options;
  }

  async openBlob(
    request: UpstreamRequest & { readonly digest: Digest; readonly offset: number },
    context: RequestContext,
  ): Promise<UpstreamBlob | undefined> {
    const plans = this.#options.blobs ?? [];
    const plan = plans[Math.min(this.opened.length, plans.length - 1)];
    this.opened.push(request.offset);
    if (plan?.stallAt === -1) await this.#stall(context.signal);
    if (plan?.failAt === -1) throw new UnavailableError('connection refused');
    if (plan?.bytes === undefined) return undefined;
    const body = this.#body(plan.bytes, { plan, offset: request.offset, signal: context.signal });
    return { sizeBytes: plan.sizeBytes ?? plan.bytes.byteLength, body };
  }

  async fetchManifest(
    request: UpstreamRequest & { readonly reference: Reference },
  ): Promise<UpstreamManifest | undefined> {
    this.manifestsAsked.push(request.reference);
    const { manifests } = this.#options;
    if (manifests instanceof UnavailableError) throw manifests;
    return 'digest' in request.reference ? manifests?.get(request.reference.digest) : undefined;
  }

  async *#body(
    bytes: Uint8Array,
    { plan, offset, signal }: { plan: BlobPlan; offset: number; signal: AbortSignal },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const stops = [plan.endAt, plan.failAt, plan.stallAt].filter((at) => at !== undefined);
    const end = Math.min(bytes.byteLength, ...stops);
    try {
      for (let position = offset; position < end; position += plan.pieceBytes ?? 16 * 1024) {
        await plan.gate?.(position);
        signal.throwIfAborted();
        yield bytes.subarray(position, Math.min(end, position + (plan.pieceBytes ?? 16 * 1024)));
      }
      if (end === plan.failAt) throw new UnavailableError('connection lost');
      if (end === plan.stallAt) await this.#stall(signal);
    } finally {
      this.closed += 1;
    }
  }

  async #stall(signal: AbortSignal): Promise<void> {
    const left = Promise.withResolvers<never>();
    signal.addEventListener('abort', () => left.reject(signal.reason), { once: true });
    this.#options.onStall?.();
    await left.promise;
  }
}

/** A body that must be left without having been read; `left` resolves when it is. */
export function unreadBody(sizeBytes: number): { readonly blob: UpstreamBlob; readonly left: Promise<void> } {
  const left = Promise.withResolvers<void>();
  const iterator: AsyncIterator<Uint8Array> = {
    next: () => assert.fail('it was read'),
    async return() {
      left.resolve();
      return { done: true, value: undefined };
    },
  };
  return { blob: { sizeBytes, body: { [Symbol.asyncIterator]: () => iterator } }, left: left.promise };
}

/** A source of which only the answer to a request for a blob matters. */
export function sourceOf(name: string, openBlob: () => Promise<UpstreamBlob | undefined>): Upstream {
  return { name, kind: 'region', openBlob, fetchManifest: async () => undefined };
}
