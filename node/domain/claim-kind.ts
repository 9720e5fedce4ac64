/**
 * Kinds of claims, as they stand in the claims' bytes and in the store. Numbers are never reused.
 */
export const CLAIM_KIND = {
  tag: 1,
  manifest: 2,
  repository: 3,
  policy: 4,
  account: 5,
  key: 6,
  mark: 7,
  health: 8,
  roster: 9,
} as const;

export type ClaimKindName = keyof typeof CLAIM_KIND;
