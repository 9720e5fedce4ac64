/** What tests of transports speak of: handlers that remember, regions, and well-formed messages. */
import { CLAIM_HEAD_BYTES, CLAIM_LAYOUT_VERSION, stampClaim } from '#domain/claim-layout.ts';
import { type Epoch, parseEpoch, parseRegionNumber, type RegionNumber } from '#domain/region.ts';
import type { DeltaMessage, FollowMessage, Message } from '#mesh/claims/message.ts';
import type {
  HoldingsReply,
  HoldingsRequest,
  LocateReply,
  LocateRequest,
  TransportHandlers,
} from '#mesh/transport/transport.ts';

export const ONE = parseRegionNumber(1);
export const TWO = parseRegionNumber(2);
export const THREE = parseRegionNumber(3);
export const EPOCH: Epoch = parseEpoch('0123456789abcdef');

/** Remembers what it was told, and lets a test wait for it. */
export class RecordingHandlers implements TransportHandlers {
  readonly messages: { readonly from: RegionNumber; readonly message: Message }[] = [];
  readonly ups: RegionNumber[] = [];
  readonly downs: { readonly peer: RegionNumber; readonly reason: string }[] = [];
  readonly asked: { readonly from: RegionNumber; readonly request: LocateRequest | HoldingsRequest }[] = [];
  locateReply: () => Promise<LocateReply> = async () => ({ claims: [] });
  holdingsReply: () => Promise<HoldingsReply> = async () => ({ holdings: [] });
  readonly #waiting: (() => void)[] = [];

  received(from: RegionNumber, message: Message): void {
    this.messages.push({ from, message });
    this.#wake();
  }

  linkUp(peer: RegionNumber): void {
    this.ups.push(peer);
    this.#wake();
  }

  linkDown(peer: RegionNumber, reason: string): void {
    this.downs.push({ peer, reason });
    this.#wake();
  }

  async locate(from: RegionNumber, request: LocateRequest): Promise<LocateReply> {
    this.asked.push({ from, request });
    this.#wake();
    return await this.locateReply();
  }

  async holdings(from: RegionNumber, request: HoldingsRequest): Promise<HoldingsReply> {
    this.asked.push({ from, request });
    this.#wake();
    return await this.holdingsReply();
  }

  /** Resolves once the condition holds; looked at after every event. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      const woken = Promise.withResolvers<void>();
      this.#waiting.push(woken.resolve);
      await woken.promise;
    }
  }

  #wake(): void {
    for (const resume of this.#waiting.splice(0)) resume();
  }
}

/** A well-formed claim of `region` with this sequence and `bodyBytes` bytes after its head. */
export function claimBytes(region: RegionNumber, sequence: number, bodyBytes = 40): Uint8Array {
  const head = new Uint8Array(CLAIM_HEAD_BYTES + bodyBytes).fill(sequence & 0xff, CLAIM_HEAD_BYTES);
  const view = new DataView(head.buffer);
  view.setUint8(0, CLAIM_LAYOUT_VERSION);
  view.setUint16(4, region);
  view.setBigUint64(6, BigInt(`0x${EPOCH}`));
  return stampClaim(head, sequence, { ms: 1_700_000_000_000, counter: 0 });
}

/** A delta of `region` that carries just this sequence. */
export function delta(region: RegionNumber, sequence: number, bodyBytes = 40): DeltaMessage {
  return {
    type: 'delta',
    region,
    epoch: EPOCH,
    from: sequence - 1,
    to: sequence,
    head: sequence,
    exact: true,
    claims: [{ sequence, bytes: claimBytes(region, sequence, bodyBytes) }],
  };
}

export const FOLLOW: FollowMessage = {
  type: 'follow',
  cursors: [{ region: ONE, epoch: EPOCH, have: 5, safe: 3 }],
  creditBytes: 1024 * 1024,
};
