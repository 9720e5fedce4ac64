/**
 * The seam to the other regions' control plane. A link carries messages in order or not at all, and says when it
 * comes and goes; requests have deadlines. Two implementations: gRPC with mutual TLS, and one in memory.
 */

import type { RegionNumber } from '#domain/region.ts';
import type { Trace } from '#domain/trace.ts';
import type { Message } from '#mesh/claims/message.ts';
import type { ClaimKey } from '#storage/metadata.ts';

export interface Transport extends AsyncDisposable {
  /** Begins to listen and to dial every peer, again and again until disposed. */
  start(handlers: TransportHandlers): Promise<void>;
  /** False when there is no link, or its queue (1 MiB) is full: the message is dropped, and a summary will mend it. */
  send(to: RegionNumber, message: Message): boolean;
  /** Asks one peer. @throws UnavailableError when it does not answer by the signal's end. */
  locate(to: RegionNumber, request: LocateRequest, signal: AbortSignal): Promise<LocateReply>;
  /** Asks one peer which of these (at most 1,000) manifests it holds whole. @throws UnavailableError. */
  holdings(to: RegionNumber, request: HoldingsRequest, signal: AbortSignal): Promise<HoldingsReply>;
  links(): readonly Link[];
}

export type TransportHandlers = {
  received(from: RegionNumber, message: Message): void;
  /** We reached this peer: its answers to `follow` will arrive. */
  linkUp(peer: RegionNumber): void;
  linkDown(peer: RegionNumber, reason: string): void;
  locate(from: RegionNumber, request: LocateRequest): Promise<LocateReply>;
  holdings(from: RegionNumber, request: HoldingsRequest): Promise<HoldingsReply>;
};

/** "Which claims do you hold for this key?" Never a bare digest: the asker resolves them through its own view. */
/** On whose behalf a peer is asked. */
export type Asking = { readonly requestId: string; readonly trace?: Trace | undefined };

export type LocateRequest = Asking & {
  readonly kind: number;
  readonly repository: string;
  readonly name: string;
  /** Further keys, at most 15; the claims of all are answered together. Each claim says of which key it is. */
  readonly also?: readonly ClaimKey[];
  /** No manifest is wanted, as of a look before a write. Default: false. */
  readonly claimsOnly?: boolean;
};
export type LocateReply = {
  readonly claims: readonly Uint8Array[];
  /** Of the manifest that the answering region resolves the key to, when it knows its bytes (up to 64 KiB). */
  readonly manifest?: { readonly mediaType: string; readonly bytes: Uint8Array };
};

export type HoldingsRequest = Asking & { readonly digests: readonly string[] };
/** One entry for each digest that the answering region knows anything of. */
export type HoldingsReply = { readonly holdings: readonly Holding[] };
export type Holding = {
  readonly digest: string;
  readonly state: 'complete' | 'filling' | 'known';
  readonly sizeBytes: number;
  readonly sizeBytesHere: number;
  /** Source → bytes that came from it. */
  readonly bytesBySource: Readonly<Record<string, number>>;
  /** When its newest blob was stored there; 0 when none is. */
  readonly storedMs: number;
};

/** The link to one peer, as we dial it. */
export type Link = {
  readonly peer: RegionNumber;
  readonly up: boolean;
  /** Since when it is up or down, wall clock ms. */
  readonly sinceMs: number;
  /** Smoothed round trip in ms; 0 before the first measure. */
  readonly roundTripMs: number;
  /** Why it is down; empty while it is up. */
  readonly reason: string;
};
