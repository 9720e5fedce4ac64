/**
 * Policies as the rest of the house sees them: plain, checked and complete, with defaults filled in. How they are
 * written down is `schema.ts`'s matter.
 */
import type { RegionName } from '#domain/region.ts';
import type { Place } from './problem.ts';
import type { Selection } from './select.ts';

export const API_VERSION = 'fairway/v1';
export const POLICY_KINDS = ['ReplicationPolicy', 'ProxyCache', 'UpstreamRegistry'] as const;
export type PolicyKind = (typeof POLICY_KINDS)[number];

/** One document: what it says, and the text that it is kept as. */
export type PolicyDocument = DocumentHead & PolicyBody;

export type PolicyBody =
  | { readonly kind: 'ReplicationPolicy'; readonly settings: ReplicationSettings }
  | { readonly kind: 'ProxyCache'; readonly settings: ProxySettings }
  | { readonly kind: 'UpstreamRegistry'; readonly settings: UpstreamSettings };

export type DocumentHead = {
  readonly name: string;
  /** This document alone, normalised (indentation, quotes), its comments kept: equal text, equal policy. */
  readonly text: string;
  /** Where the value at this path stands, or the nearest thing above it that exists. */
  place(path: DocumentPath): Place;
};

export type DocumentPath = readonly (string | number)[];

/** Desired state inside the mesh: the images that it selects are whole in the regions that it names. */
export type ReplicationSettings = {
  readonly name: string;
  readonly selection: Selection;
  readonly to: { readonly regions: 'all' | readonly RegionName[]; readonly except: readonly RegionName[] };
  /** True: it stays known, and copies nothing. */
  readonly suspend: boolean;
};

/** A repository prefix that is backed by other registries. */
export type ProxySettings = {
  readonly name: string;
  /** `hub` serves `hub/library/alpine` from the upstream's `library/alpine`. */
  readonly prefix: string;
  /** Names of upstreams, asked in this order; at least one. */
  readonly upstreams: readonly string[];
  readonly freshness: {
    /** For so long a cached tag is answered without asking the upstream. */
    readonly timeToLiveMs: number;
    /** When the upstream does not answer: serve what is cached, or fail. */
    readonly whenDown: 'stale' | 'fail';
  };
  /** How much of it each region keeps: what was not pulled for longest goes first. Everything when absent. */
  readonly keep?: { readonly perRegionBytes: number };
};

/** A registry outside of the mesh, and how to sign in there. */
export type UpstreamSettings = {
  readonly name: string;
  /** `http(s)://host[:port]`, without a slash at the end. */
  readonly url: string;
  /** Anonymous when absent. */
  readonly credentials?: { readonly username: SecretSource; readonly password: SecretSource };
};

/** Where a region finds a text of its own; only user names stand in a policy themselves. */
export type SecretSource = { readonly value: string } | { readonly env: string } | { readonly file: string };
